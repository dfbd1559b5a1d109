// Package spawn runs other programs: in this process, or through a helper process that was started before this one gave
// up the right to execute programs. A helper runs only the programs that it was started for.
package spawn

import (
	"context"
	"io"
	"os/exec"
	"time"
)

// Command is a program that is run to its end.
type Command struct {
	// Path is the program, Args are its arguments without its name.
	Path string
	Args []string
	// Env is its environment, nil that of this process, or of the helper.
	Env []string
	// Stdin, Stdout and Stderr are its standard streams, nil for none.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Group makes the program and what it starts a process group, which is killed as a whole. Ctrl-C is not for it.
	Group bool
	// WaitDelay is how long is waited for the streams after the program has ended, 0 without end.
	WaitDelay time.Duration
}

// Run runs a program and returns why it failed. When ctx ends, the program is killed.
type Run func(ctx context.Context, c Command) error

// Direct runs a program as a child of this process.
func Direct(ctx context.Context, c Command) error {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Env, c.Stdin, c.Stdout, c.Stderr
	cmd.WaitDelay = c.WaitDelay
	if c.Group {
		ownGroup(cmd)
	}
	return cmd.Run()
}

// Output has run, or Direct where it is nil, run a program, and returns what that writes to its standard output. It is
// to be read and closed; why the program failed is received after that.
func Output(ctx context.Context, run Run, c Command) (out io.ReadCloser, ended <-chan error) {
	out, in := io.Pipe()
	c.Stdout = in
	result := make(chan error, 1)
	go func() {
		err := Or(run)(ctx, c)
		in.Close()
		result <- err
	}()
	return out, result
}

// Or returns run, or Direct where it is nil.
func Or(run Run) Run {
	if run != nil {
		return run
	}
	return Direct
}
