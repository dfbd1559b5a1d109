package perfmon

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFormat is the error of a file that is no performance log.
var ErrFormat = errors.New("not a Windows performance log (PDH CSV, TSV or BLG)")

var errCodePage = errors.New("want cp1250 to cp1258, cp874, cp932, cp936, cp949 or cp950")

// OffsetError is returned for a text log that does not say how far its local
// times are from UTC. It is never guessed: every finding would be at the wrong
// time, and could not be compared with another log.
type OffsetError struct {
	// Zone is what stands where the zone should, empty when nothing does.
	Zone string
}

func (e *OffsetError) Error() string {
	if e.Zone == "" {
		return "the log has local times and does not say their offset from UTC"
	}
	return fmt.Sprintf("the log has local times and does not say their offset from UTC (its zone is cut off: %q)", e.Zone)
}

// Hint implements the convention for faults that a user can fix.
func (e *OffsetError) Hint() string {
	return "give the offset that the machine's clock had when the log was made, for example --utc-offset +03:00; a " +
		"log in binary form (.blg) carries it"
}

// ForeignError is returned for a file in this format that another system wrote.
type ForeignError struct {
	// Program is what wrote it.
	Program string
}

func (e *ForeignError) Error() string {
	return "the file has the format of a Windows performance log but is the output of " + e.Program
}

// Hint implements the convention for faults that a user can fix.
func (e *ForeignError) Hint() string {
	return "lostbeat reads the counters of Windows; record them inside the virtual machine, with logman or perfmon"
}

// printable makes what stands in a log safe for a message.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "..."
	}
	return s
}
