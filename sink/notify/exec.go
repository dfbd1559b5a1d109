package notify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/spawn"
)

// Exec is a program that is run for each finding, with the finding on its standard input.
type Exec struct {
	// Command is the program and its arguments, as [SplitCommand] returns them.
	Command []string
	// Say is told what went wrong.
	Say func(string)
	// Limit is how long the program may run, 30 s when 0.
	Limit time.Duration
	// AtOnce is how many may run at a time, 4 when 0.
	AtOnce int
	// Programs runs it, nil as a child of this process.
	Programs spawn.Run
}

// SplitCommand divides a command line at its blanks; what is in single or double quotes stays together. Nothing else
// has a meaning: no shell is involved.
func SplitCommand(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range text {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	example := "write it like '/usr/local/bin/notify --team net'"
	switch {
	case quote != 0:
		return nil, hint.New("a quote is not closed", example)
	case len(words) == 0 || words[0] == "":
		return nil, hint.New("names no program", example)
	}
	return words, nil
}

// Start returns a Notifier that runs the program.
func (e Exec) Start() (*Notifier, error) {
	path, err := exec.LookPath(e.Command[0])
	if err != nil {
		why := err
		if failed := new(exec.Error); errors.As(err, &failed) {
			why = failed.Err
		}
		return nil, hint.New(fmt.Sprintf("--exec: %s cannot be run: %v", plain.Text(e.Command[0]), why),
			"give the path of a program that can be executed; there is no shell")
	}
	e.Limit, e.AtOnce = cmp.Or(e.Limit, 30*time.Second), cmp.Or(e.AtOnce, 4)
	return start("--exec "+plain.Text(e.Command[0]), e.AtOnce, e.Say,
		func(ctx context.Context, _ <-chan struct{}, m message) error { return e.run(ctx, path, m) }), nil
}

// saidBytes is how much of what a program writes to standard error is kept for the message that it failed.
const saidBytes = 512

// killWait is how long is waited for the output of a program that was killed.
const killWait = 500 * time.Millisecond

// run runs the program once.
func (e Exec) run(ctx context.Context, path string, m message) error {
	ctx, cancel := context.WithTimeout(ctx, e.Limit)
	defer cancel()
	said := &head{most: saidBytes}
	err := spawn.Or(e.Programs)(ctx, spawn.Command{
		Path: path, Args: e.Command[1:], Env: environment(os.Environ(), m), Stdin: bytes.NewReader(m.body), Stderr: said,
		Group: true, WaitDelay: killWait,
	})
	switch text := plain.Text(strings.TrimSpace(string(said.kept))); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("stopped after %v, its time limit", e.Limit)
	case err != nil && text != "":
		return fmt.Errorf("%w: %s", err, text)
	default:
		return err
	}
}

// environment returns the program's environment: ours without settings of lostbeat, and the finding in short.
func environment(ours []string, m message) (env []string) {
	for _, v := range ours {
		if !strings.HasPrefix(v, "LOSTBEAT_") {
			env = append(env, v)
		}
	}
	f := m.finding
	for _, v := range [][2]string{
		{"ID", f.ID}, {"DETECTOR", f.Detector}, {"SEVERITY", f.Severity.String()}, {"TITLE", f.Title},
		{"START", f.Start.String()}, {"END", f.End.String()}, {"ONGOING", strconv.FormatBool(f.Ongoing)},
	} {
		env = append(env, "LOSTBEAT_FINDING_"+v[0]+"="+plain.Text(v[1]))
	}
	return env
}

// head keeps the first bytes that are written to it.
type head struct {
	kept []byte
	most int
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), h.most-len(h.kept))]...)
	return len(p), nil
}
