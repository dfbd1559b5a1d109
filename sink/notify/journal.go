package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/model"
)

// JournalSocket is where systemd's journal receives entries.
const JournalSocket = "/run/systemd/journal/socket"

// Journal is systemd's journal, to which findings are sent as entries with fields, so that `journalctl -x` explains
// them: MESSAGE_ID is that of the detector in the catalog.
type Journal struct {
	// Socket is where the journal receives entries, JournalSocket when empty.
	Socket string
	// Say is told what could not be delivered.
	Say func(string)
	// Attempt is how long the journal may take to receive an entry, 5 s when 0.
	Attempt time.Duration
	// Locate returns the recording of a finding, as recording.Locator does; nil for none.
	Locate func(f *model.Finding, deadline time.Time, hurry <-chan struct{}) string
}

// locateWithin is how long a finding may wait for its recording to begin.
const locateWithin = 2 * time.Second

// Start returns a Notifier that sends to the journal.
func (j Journal) Start() *Notifier {
	address := &net.UnixAddr{Name: cmp.Or(j.Socket, JournalSocket), Net: "unixgram"}
	attempt := cmp.Or(j.Attempt, 5*time.Second)
	locate := func(m *message, hurry <-chan struct{}) string {
		if j.Locate == nil {
			return ""
		}
		return j.Locate(&m.finding, m.queued.Add(locateWithin), hurry)
	}
	send := func(_ context.Context, hurry <-chan struct{}, m message) error {
		conn, err := net.DialUnix(address.Net, nil, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetWriteDeadline(time.Now().Add(attempt)); err != nil {
			return err
		}
		_, err = conn.Write(entry(&m.finding, locate(&m, hurry)))
		return err
	}
	n := start("the journal", 1, j.Say, send)
	atOnce := make(chan struct{})
	close(atOnce)
	n.names = func(m *message) string { // for standard error, which is the journal, too
		return ": " + sentence(&m.finding, locate(m, atOnce))
	}
	return n
}

// MessageID is the identifier of a detector's findings in the journal and its catalog, in 32 hexadecimal digits. It is
// made of the name, and so it is the same in all versions.
func MessageID(detector string) string {
	sum := sha256.Sum256([]byte("lostbeat finding " + detector))
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x40 // a random UUID, as the journal wants it
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id)
}

// maxField bounds a field of an entry: the journal takes only what fits into one datagram.
const maxField = 8 << 10

// priorities are those of syslog: 2 is critical, 4 a warning, 5 a notice, 6 information.
var priorities = map[model.Severity]string{
	model.SeverityInfo: "6", model.SeverityWarning: "4", model.SeverityCritical: "2",
}

// sentence is a finding in one line, with its recording unless that is empty.
func sentence(f *model.Finding, recording string) string {
	line := f.Title
	if !f.Ongoing {
		line = "ended: " + line
	}
	if recording != "" {
		line += " (recorded in " + recording + ")"
	}
	return line
}

// entry returns a finding in the journal's native protocol.
func entry(f *model.Finding, recording string) []byte {
	state, priority := "active", priorities[f.Severity]
	if !f.Ongoing {
		state, priority = "ended", "5"
	}
	var b bytes.Buffer
	field := func(name, value string) {
		if value = strings.ToValidUTF8(value, "\uFFFD"); len(value) > maxField {
			value = strings.ToValidUTF8(value[:maxField], "") + "..."
		}
		if !strings.Contains(value, "\n") {
			fmt.Fprintf(&b, "%s=%s\n", name, value)
			return
		}
		fmt.Fprintf(&b, "%s\n", name)
		_ = binary.Write(&b, binary.LittleEndian, uint64(len(value))) // a buffer takes everything
		fmt.Fprintf(&b, "%s\n", value)
	}
	field("MESSAGE", plain.Text(sentence(f, recording)))
	field("MESSAGE_ID", MessageID(f.Detector))
	field("PRIORITY", priority)
	field("SYSLOG_IDENTIFIER", "lostbeat")
	field("LOSTBEAT_DETECTOR", f.Detector)
	field("LOSTBEAT_FINDING", f.ID)
	field("LOSTBEAT_SEVERITY", f.Severity.String())
	field("LOSTBEAT_STATE", state)
	if recording != "" {
		field("LOSTBEAT_RECORDING", recording)
	}
	field("LOSTBEAT_CAUSES", items(f.Causes))
	field("LOSTBEAT_ADVICE", items(f.Advice))
	return b.Bytes()
}

// items are lines for people, an item each.
func items(lines []string) string {
	if len(lines) == 0 {
		return "- none is known"
	}
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("- " + plain.Text(line))
	}
	return b.String()
}
