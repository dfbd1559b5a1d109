package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"lostbeat/internal/hint"

	"golang.org/x/term"
)

// stopSignals are the signals that end a command cleanly. A command that was
// started to survive its terminal (nohup) does so.
func stopSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// untilStopped returns a context that ends with the first stop signal. The
// second one ends the process at once: whatever it waits for may never come.
func untilStopped(ctx context.Context, stderr io.Writer) (stopped context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	restore := terminalRestorer()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stopSignals()...)
	done := make(chan struct{})
	go func() {
		for count := 0; ; count++ {
			select {
			case <-done:
				return
			case s := <-signals:
				if count == 0 {
					cancel()
					continue
				}
				restore()
				fmt.Fprintf(stderr, "lostbeat: ended at once by a second signal (%s)\n", s)
				os.Exit(exitError)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// terminalRestorer returns what gives the terminal back as it is now, without
// waiting for whoever draws on it.
func terminalRestorer() func() {
	in, out := int(os.Stdin.Fd()), int(os.Stdout.Fd())
	before, err := term.GetState(in)
	if err != nil || !term.IsTerminal(out) {
		return func() {}
	}
	return func() {
		if now, err := term.GetState(in); err == nil && *now != *before {
			fmt.Fprint(os.Stdout, leaveScreen)
		}
		_ = term.Restore(in, before)
	}
}

// leaveScreen ends the alternate screen, mouse reports, bracketed paste and
// attributes, and shows the cursor.
const leaveScreen = "\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m\x1b[?25h\r\n"

// isTerminal says that w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns returns the width of the terminal w, 80 where it does not say.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// useTerminal makes the terminal standard input, after what was piped into it has been read. Without a terminal it
// changes nothing.
func useTerminal() {
	name := "/dev/tty"
	if runtime.GOOS == "windows" {
		name = "CONIN$"
	}
	if f, err := os.OpenFile(name, os.O_RDWR, 0); err == nil {
		os.Stdin = f
	}
}

// requireTerminal says what to use instead when there is no terminal.
func requireTerminal(instead string) error {
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		return nil
	}
	return hint.New("the terminal UI needs a terminal", instead)
}

// hungUp says that err comes from writing to a terminal that was closed: there
// is nobody left to tell.
func hungUp(err error) bool { return errors.Is(err, syscall.EIO) }
