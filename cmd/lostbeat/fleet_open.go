package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"lostbeat/fleet"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/record"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

const (
	// fetchLimit is how large the part of a recording may be that is fetched from a host.
	fetchLimit = 1 << 30
	// connectTimeout is how many seconds ssh tries to reach a host.
	connectTimeout = 10
)

// openFrom opens what a host has recorded of its worst finding: the part is cut out there, comes by ssh, and is kept as
// out, or in the working directory where out is empty.
func openFrom(cmd *cobra.Command, groups []fleet.Group, host, here, out string, utc bool) error {
	f := fleet.Worst(groups, host)
	if f == nil {
		return hint.New("no finding of "+plain.Text(host)+" names a recording",
			"look at the names of hosts in the list, or further back with --since")
	}
	if out == "" {
		out = fmt.Sprintf("%s-%s%s", host, f.Start.Std().UTC().Format("20060102T150405Z"), record.Extension)
	}
	if err := checkOutput(out); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cut := []string{"cut", "--finding=" + f.ID, "-o", "-", "--", f.Recording}
	command, advice := exec.CommandContext(cmd.Context(), self, cut...), ""
	if host != here {
		words := []string{"sudo", "-n", "lostbeat"}
		for _, word := range cut {
			words = append(words, shellWord(word))
		}
		timeout := fmt.Sprintf("ConnectTimeout=%d", connectTimeout)
		command = exec.CommandContext(cmd.Context(), "ssh", "-o", timeout, "--", host, strings.Join(words, " "))
		advice = "ssh has to reach the host, and sudo to run lostbeat there without a password; "
	}
	if err := fetch(command, cmd.ErrOrStderr(), out); err != nil {
		advice = cmp.Or(hint.Of(err), advice+"by hand: "+openCommand(*f, here))
		return hint.New("fetch the recording of "+plain.Text(host)+": "+plain.Text(err.Error()), plain.Text(advice))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "lostbeat: kept as %s\n", plain.Text(out))
	show := []string{"findings", out}
	if isTerminal(cmd.OutOrStdout()) {
		show[0] = "replay"
	}
	if utc {
		show = append(show, "--utc")
	}
	view := exec.CommandContext(cmd.Context(), self, show...)
	view.Stdin, view.Stdout, view.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	var status *exec.ExitError
	if err := view.Run(); errors.As(err, &status) && status.ExitCode() == exitIncomplete {
		return errIncomplete // it has said why
	} else if err != nil {
		return fmt.Errorf("open %s: %w", plain.Text(out), err)
	}
	return nil
}

// fetch writes what a command prints to a new file. A command that fails, or prints too much, leaves none.
func fetch(command *exec.Cmd, stderr io.Writer, path string) (err error) {
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return hint.New(plain.Text(path)+" exists already", "give another name with -o")
	} else if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	command.Stdin, command.Stderr, command.WaitDelay = os.Stdin, stderr, time.Second
	from, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	n, copyErr := io.Copy(to, io.LimitReader(from, fetchLimit+1))
	if copyErr == nil && n > fetchLimit {
		copyErr = errors.New("the part is larger than " + humanize.IBytes(fetchLimit))
	}
	if copyErr != nil {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
		return copyErr
	}
	err = command.Wait()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == exitIncomplete && n > 0 {
		return nil // the part says what is missing in it
	}
	return err
}

// checkHost refuses what is no name of a host: it becomes an argument of ssh and part of a file's name.
func checkHost(host string) error {
	if !hostName.MatchString(host) {
		return hint.New("--open "+plain.Text(host)+" is not a valid host name", "write it as in the list: --open web-1")
	}
	return nil
}
