package rpcbind

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Names are the names of programs by their numbers.
type Names map[uint32]string

// builtIn are the programs that a host without /etc/rpc may well have.
var builtIn = Names{
	100000: "portmapper",
	100001: "rstatd",
	100002: "rusersd",
	100003: "nfs",
	100004: "ypserv",
	100005: "mountd",
	100007: "ypbind",
	100009: "yppasswdd",
	100011: "rquotad",
	100021: "nlockmgr",
	100024: "status",
	100026: "bootparam",
	100227: "nfs_acl",
	150001: "pcnfsd",
}

// maxNames bounds what is read of a file of names.
const maxNames = 4096

// Programs returns the names in a file in the form of /etc/rpc, and those that
// every host knows. A file that is not there adds none.
func Programs(path string) Names {
	names := Names{}
	for number, name := range builtIn {
		names[number] = name
	}
	f, err := os.Open(path)
	if err != nil {
		return names
	}
	defer f.Close()
	// What is broken in the file costs names, nothing else.
	_ = names.read(f)
	return names
}

// read adds the names of a file in the form of /etc/rpc: in each line a name, its
// number, and further names; # begins a comment.
func (n Names) read(r io.Reader) error {
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		number, err := strconv.ParseUint(fields[1], 10, 32)
		if err == nil && len(fields[0]) <= maxText && (len(n) < maxNames || n[uint32(number)] != "") {
			n[uint32(number)] = fields[0]
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read names of RPC programs: %w", err)
	}
	return nil
}

// Of returns the number of a program with its name, if it has one: "100003 nfs".
func (n Names) Of(program uint32) string {
	text := strconv.FormatUint(uint64(program), 10)
	if name := n[program]; name != "" {
		text += " " + name
	}
	return text
}
