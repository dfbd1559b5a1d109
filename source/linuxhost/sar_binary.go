package linuxhost

import (
	"bytes"
	"cmp"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lostbeat/internal/hint"
	"lostbeat/internal/spawn"
)

// sadfTime is how long sadf may take.
const sadfTime = 2 * time.Minute

// sadfWait is how long is waited for the rest of what a sadf has written that has ended.
const sadfWait = 2 * time.Second

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
	var said bytes.Buffer
	out, ended := spawn.Output(ctx, s.options.Programs, spawn.Command{
		Path: command, Args: []string{"-x", path, "--", "-A"}, Stderr: &said, WaitDelay: sadfWait,
	})
	before := len(s.entries)
	err = s.readXML(out, name)
	out.Close() // what is not read does not hold it up
	failed := cmp.Or(<-ended, err)
	if len(s.entries) == before {
		text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		if text == "" && failed != nil {
			text = failed.Error()
		}
		return hint.New(name+": sadf cannot read it: "+text, "convert it with the sadf of the host that wrote it: sadf "+
			"-x -- -A "+
			name+" > "+name+".xml")
	}
	return nil
}
