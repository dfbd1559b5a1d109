package spawn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Argument is the only argument of this program as a helper process.
const Argument = "__run-programs"

// socketFD is the helper's end of the connection.
const socketFD = 3

// maxMessage bounds a message; the kernel's limit for arguments and environment is lower.
const maxMessage = 8 << 20

// Program is what a helper may run: a program, and the arguments with which its arguments begin.
type Program struct {
	Path string
	Args []string
}

func (p Program) allows(r *request) bool {
	return p.Path == r.Path && len(r.Args) >= len(p.Args) && slices.Equal(r.Args[:len(p.Args)], p.Args)
}

// setup is the first message to a helper.
type setup struct {
	Programs []Program
	// Confine is given to the function of the same name of Child.
	Confine []byte
}

// request asks a helper to run a program, or to kill the one of the same ID. The descriptors of standard input, output
// and error come with it, as far as Streams says so.
type request struct {
	ID      uint64
	Kill    bool
	Path    string
	Args    []string
	Env     []string
	Streams [3]bool
	Group   bool
}

// answer says that a program has ended; Err is empty for status 0.
type answer struct {
	ID  uint64
	Err string
}

// ErrHelperEnded is the error of a helper that is no longer there.
var ErrHelperEnded = errors.New("the helper process that runs programs has ended")

// Helper is a process that runs programs for this one.
type Helper struct {
	socket *os.File
	fd     int

	send    sync.Mutex
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan string
	ended   chan struct{}
}

// Start starts a helper that runs the given programs. confine is what Child's function of that name is given.
func Start(confine []byte, programs ...Program) (*Helper, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connect a helper process: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "helper"), os.NewFile(uintptr(pair[1]), "helper")
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", Argument)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process alone
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("start a helper process: %w", err)
	}
	h := &Helper{
		socket: ours, fd: pair[0], waiting: make(map[uint64]chan string), ended: make(chan struct{}),
	}
	go h.receive()
	go func() { _ = cmd.Wait() }() // its status says nothing
	if err := sendMessage(h.fd, setup{programs, confine}); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// receive hands answers to those who wait for them.
func (h *Helper) receive() {
	defer close(h.ended)
	in := bufio.NewReader(h.socket)
	for {
		var a answer
		if err := readMessage(in, &a); err != nil {
			return
		}
		h.mu.Lock()
		done := h.waiting[a.ID]
		delete(h.waiting, a.ID)
		h.mu.Unlock()
		if done != nil {
			done <- a.Err
		}
	}
}

// Close ends the connection, upon which the helper ends what it runs, and itself.
func (h *Helper) Close() error {
	// Close alone does not wake the reader: the descriptor is a blocking one.
	_ = unix.Shutdown(h.fd, unix.SHUT_RDWR)
	return h.socket.Close()
}

// Run runs a program in the helper. It is a [Run].
func (h *Helper) Run(ctx context.Context, c Command) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := request{Path: c.Path, Args: c.Args, Env: c.Env, Group: c.Group}
	s, err := newStreams(&c, &r)
	if err != nil {
		return err
	}
	done := make(chan string, 1)
	h.mu.Lock()
	h.last++
	r.ID = h.last
	h.waiting[r.ID] = done
	h.mu.Unlock()
	defer h.forget(r.ID)
	h.send.Lock()
	err = sendMessage(h.fd, &r, s.theirs...)
	h.send.Unlock()
	s.sent()
	if err != nil {
		return errors.Join(fmt.Errorf("ask the helper process: %w", err), s.end(0))
	}
	stop := context.AfterFunc(ctx, func() {
		h.send.Lock()
		defer h.send.Unlock()
		_ = sendMessage(h.fd, &request{ID: r.ID, Kill: true}) // a helper that has ended runs nothing
	})
	defer stop()
	select {
	case text := <-done:
		if text != "" {
			err = errors.New(text)
		}
	case <-h.ended:
		err = ErrHelperEnded
	}
	return errors.Join(err, s.end(c.WaitDelay))
}

// forget ends the wait for an answer.
func (h *Helper) forget(id uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, id)
}

// streams are the ends of the pipes between this process and a program.
type streams struct {
	theirs []*os.File
	ours   []*os.File
	copies sync.WaitGroup
	mu     sync.Mutex
	err    error
}

func newStreams(c *Command, r *request) (*streams, error) {
	s := &streams{}
	for i, wanted := range []bool{c.Stdin != nil, c.Stdout != nil, c.Stderr != nil} {
		if !wanted {
			continue
		}
		in, out, err := os.Pipe()
		if err != nil {
			s.sent()
			return nil, errors.Join(err, s.end(0))
		}
		r.Streams[i] = true
		theirs, ours := out, in
		from, to := io.Reader(in), io.Writer(nil)
		switch i {
		case 0:
			theirs, ours = in, out
			from, to = c.Stdin, out
		case 1:
			to = c.Stdout
		case 2:
			to = c.Stderr
		}
		s.theirs, s.ours = append(s.theirs, theirs), append(s.ours, ours)
		s.copies.Go(func() {
			_, err := io.Copy(to, from)
			ours.Close()
			if i != 0 && err != nil && !errors.Is(err, os.ErrClosed) { // a program need not read its input
				s.mu.Lock()
				defer s.mu.Unlock()
				s.err = errors.Join(s.err, err)
			}
		})
	}
	return s, nil
}

// sent closes what the helper has.
func (s *streams) sent() {
	for _, f := range s.theirs {
		f.Close()
	}
}

// end waits for what the program has written; delay bounds that, 0 does not.
func (s *streams) end(delay time.Duration) error {
	if delay > 0 {
		timer := time.AfterFunc(delay, func() {
			for _, f := range s.ours {
				f.Close()
			}
		})
		defer timer.Stop()
	}
	s.copies.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// sendMessage writes a message: its length, with the descriptors, and its text.
func sendMessage(socket int, message any, files ...*os.File) error {
	var text bytes.Buffer
	if err := gob.NewEncoder(&text).Encode(message); err != nil { // names and arguments need not be valid UTF-8
		return err
	}
	raw := append(binary.LittleEndian.AppendUint32(nil, uint32(text.Len())), text.Bytes()...)
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	for len(raw) > 0 {
		n, err := unix.SendmsgN(socket, raw, rights, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		raw, rights = raw[n:], nil
	}
	return nil
}

// readMessage reads a message without descriptors.
func readMessage(r io.Reader, message any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxMessage {
		return fmt.Errorf("a message of %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	return gob.NewDecoder(bytes.NewReader(text)).Decode(message)
}

// child is the helper process.
type child struct {
	programs []Program
	answers  sync.Mutex
	mu       sync.Mutex
	running  map[uint64]context.CancelFunc
	wait     sync.WaitGroup
}

// Child runs this process as a helper where args say so, until the process that started it ends. confine is called
// before any program runs.
func Child(args []string, confine func(rules []byte)) (handled bool, status int) {
	if len(args) != 1 || args[0] != Argument {
		return false, 0
	}
	// What stops the other process ends the connection; systemd signals both.
	// Ignoring the signals would make the programs ignore them, too.
	signal.Notify(make(chan os.Signal, 1),
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1)
	unix.CloseOnExec(socketFD)
	in := &descriptorReader{fd: socketFD}
	var s setup
	if err := readMessage(in, &s); err != nil {
		return true, 1
	}
	confine(s.Confine)
	c := &child{programs: s.Programs, running: make(map[uint64]context.CancelFunc)}
	c.serve(in)
	c.mu.Lock()
	for _, cancel := range c.running {
		cancel()
	}
	c.mu.Unlock()
	c.wait.Wait()
	return true, 0
}

// serve takes requests until the connection ends.
func (c *child) serve(in *descriptorReader) {
	for {
		var r request
		if err := readMessage(in, &r); err != nil {
			return
		}
		files := in.take()
		if r.Kill {
			c.mu.Lock()
			if cancel := c.running[r.ID]; cancel != nil {
				cancel()
			}
			c.mu.Unlock()
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		c.mu.Lock()
		c.running[r.ID] = cancel
		c.mu.Unlock()
		c.wait.Go(func() {
			text := ""
			if err := c.run(ctx, &r, files); err != nil {
				text = err.Error()
			}
			cancel()
			c.mu.Lock()
			delete(c.running, r.ID)
			c.mu.Unlock()
			c.answers.Lock()
			defer c.answers.Unlock()
			_ = sendMessage(socketFD, answer{r.ID, text}) // nobody waits when the connection has ended
		})
	}
}

// run runs one program; files are its streams, which are closed.
func (c *child) run(ctx context.Context, r *request, files []*os.File) error {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if !slices.ContainsFunc(c.programs, func(p Program) bool { return p.allows(r) }) {
		return fmt.Errorf("the helper process was not started to run %s", r.Path)
	}
	command := Command{Path: r.Path, Args: r.Args, Env: r.Env, Group: r.Group}
	rest := files
	next := func(there bool) *os.File {
		if !there || len(rest) == 0 {
			return nil
		}
		f := rest[0]
		rest = rest[1:]
		return f
	}
	if f := next(r.Streams[0]); f != nil {
		command.Stdin = f
	}
	if f := next(r.Streams[1]); f != nil {
		command.Stdout = f
	}
	if f := next(r.Streams[2]); f != nil {
		command.Stderr = f
	}
	return Direct(ctx, command)
}

// descriptorReader reads from a socket and keeps the descriptors that come with what it reads.
type descriptorReader struct {
	fd    int
	files []*os.File
}

// Read implements io.Reader.
func (d *descriptorReader) Read(p []byte) (int, error) {
	rights := make([]byte, unix.CmsgSpace(3*4))
	for {
		n, rightsLen, _, _, err := unix.Recvmsg(d.fd, p, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		messages, err := unix.ParseSocketControlMessage(rights[:rightsLen])
		if err != nil {
			return n, err
		}
		for i := range messages {
			fds, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				continue
			}
			for _, fd := range fds {
				d.files = append(d.files, os.NewFile(uintptr(fd), "stream"))
			}
		}
		return n, nil
	}
}

// take returns the descriptors that have come with the last message.
func (d *descriptorReader) take() []*os.File {
	files := d.files
	d.files = nil
	return files
}
