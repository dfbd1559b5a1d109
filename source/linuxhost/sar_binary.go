package linuxhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lostbeat/internal/hint"
)

// sadfTime is how long sadf may take.
const sadfTime = 2 * time.Minute

// readBinary has sadf convert a file of sadc: its layout changes between versions, and sadf knows those before its own.
func (s *Set) readBinary(path string) error {
	name := filepath.Base(path)
	command, err := exec.LookPath("sadf")
	if err != nil {
		return hint.New(name+" is a binary file of sar, which only sadf (package sysstat) reads, and it is not installed "+
			"here",
			"convert it where sysstat is, best on the host that wrote it: sadf -x -- -A "+name+" > "+name+
				".xml; a sosreport has that in sos_commands/sar")
	}
	ctx, cancel := context.WithTimeout(context.Background(), sadfTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, "-x", path, "--", "-A")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("sadf: %w", err)
	}
	before := len(s.entries)
	err = s.readXML(out, name)
	cancelled := errors.Join(err, cmd.Wait())
	if len(s.entries) == before {
		text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		if text == "" && cancelled != nil {
			text = cancelled.Error()
		}
		return hint.New(name+": sadf cannot read it: "+text, "convert it with the sadf of the host that wrote it: sadf "+
			"-x -- -A "+
			name+" > "+name+".xml")
	}
	return nil
}
