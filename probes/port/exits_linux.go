package port

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lostbeat/model"
)

const (
	// exitPorts is how many ports a process gives back within an interval for its
	// end to be looked for: what it held has then ended with it or not.
	exitPorts = 4
	// exitLooks is how many intervals long it is looked for: a process gives back
	// its ports before it is gone.
	exitLooks = 3
	// maxExits bounds the processes whose end is looked for.
	maxExits = 256
)

// exits finds the ends of processes that have given back several ports at a time.
type exits struct {
	proc string // "/proc"
	// leaving are the processes whose end is looked for.
	leaving map[int32]*leaver
}

type leaver struct {
	comm string
	// given are the ports that it gave back in this interval, looks how often to look still.
	given, looks int
}

func newExits(proc string) exits { return exits{proc: proc, leaving: make(map[int32]*leaver)} }

// gave notes that a process has given back a port.
func (x *exits) gave(pid int32, comm string) {
	if pid <= 0 {
		return
	}
	s := x.leaving[pid]
	if s == nil {
		if len(x.leaving) >= maxExits {
			return
		}
		s = &leaver{}
		x.leaving[pid] = s
	}
	s.comm = comm
	if s.given++; s.given >= exitPorts {
		s.looks = exitLooks
	}
}

// tell reports which of the leaving have ended.
func (x *exits) tell(now model.Time, b *model.Builder) {
	type exit struct {
		pid  int32
		comm string
	}
	var list []exit
	for pid, s := range x.leaving {
		if s.looks > 0 && hasEnded(x.proc, pid) {
			list = append(list, exit{pid, s.comm})
			s.looks = 0
		}
		if s.given = 0; s.looks > 0 {
			s.looks--
		}
		if s.looks == 0 {
			delete(x.leaving, pid)
		}
	}
	slices.SortFunc(list, func(a, b exit) int { return cmp.Compare(a.pid, b.pid) })
	for _, e := range list {
		b.AddProcess(model.Process{Time: now, PID: e.pid, TID: e.pid, State: model.ProcessExited, Name: e.comm})
	}
}

// hasEnded says that a process is gone, or is left only for its parent to ask
// how it ended.
func hasEnded(proc string, pid int32) bool {
	content, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(int(pid)), "stat"))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	// The name in parentheses may itself contain anything, parentheses included.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:])) // from field 3, the state, on
	const threadsField = 20 - 3
	return len(fields) > threadsField && strings.Contains("ZXx", fields[0]) && fields[threadsField] <= "1"
}
