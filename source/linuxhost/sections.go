package linuxhost

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"lostbeat/internal/lazyregexp"
)

// A file of a supportconfig has the outputs of several commands, each behind such a line and one with the command:
//
//	#==[ Command ]======================================#
//	# /sbin/ss -nap
var sectionMark = []byte("#==[")

// IsSections reports whether a file that begins with head is one of a supportconfig.
func IsSections(head []byte) bool {
	return bytes.Contains(head[:min(len(head), 4<<10)], sectionMark)
}

var notInNames = lazyregexp.New(`[^\w\-./]+`)

// commandName writes a command as sos names the file of its output: without the folder of the program, blanks as "_".
// A file that was copied becomes its path.
func commandName(line string) string {
	line = strings.TrimSpace(strings.TrimLeft(line, "# "))
	program, rest, _ := strings.Cut(line, " ")
	switch {
	case strings.HasPrefix(program, "/proc/"), strings.HasPrefix(program, "/etc/"):
		return strings.TrimPrefix(program, "/")
	case strings.HasPrefix(program, "/var/log/"):
		return strings.ReplaceAll(strings.Trim(program, "/"), "/", "_")
	case strings.HasSuffix(program, "cat") && strings.HasPrefix(rest, "/proc/"):
		return strings.TrimPrefix(rest, "/")
	}
	if i := strings.LastIndexByte(program, '/'); i >= 0 {
		program = program[i+1:]
	}
	name := strings.ReplaceAll(strings.TrimSpace(program+" "+rest), "/", ".")
	return strings.Trim(notInNames.ReplaceAllString(name, "_"), "_")
}

// Sections calls do with each section of a file of a supportconfig: the name of its command, and its output.
func Sections(r io.Reader, do func(command string, text io.Reader) error) error {
	s := &sections{in: bufio.NewReaderSize(r, 64<<10)}
	for {
		if err := s.skipTo(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		line, err := s.line()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.HasPrefix(line, []byte("#")) {
			continue
		}
		name := commandName(string(line))
		s.ended = false
		if err := do(name, s); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, s); err != nil {
			return err
		}
	}
}

// sections reads one section up to the line that begins the next.
type sections struct {
	in   *bufio.Reader
	left []byte
	// ended says that the section is over, more that the line goes on that was read in part.
	ended, more bool
}

// line reads one line, or as much of it as fits.
func (s *sections) line() ([]byte, error) {
	line, err := s.in.ReadSlice('\n')
	s.more = errors.Is(err, bufio.ErrBufferFull)
	if s.more {
		err = nil
	}
	return line, err
}

// skipTo goes behind the next line that begins a section.
func (s *sections) skipTo() error {
	for {
		whole := !s.more
		line, err := s.line()
		if whole && bytes.HasPrefix(line, sectionMark) && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Read implements io.Reader.
func (s *sections) Read(p []byte) (int, error) {
	for len(s.left) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if !s.more {
			if head, _ := s.in.Peek(len(sectionMark)); bytes.Equal(head, sectionMark) {
				s.ended = true
				return 0, io.EOF
			}
		}
		line, err := s.line()
		s.left = line
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		s.ended = s.ended || errors.Is(err, io.EOF)
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}
