package run

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lostbeat/detect/all"
	"lostbeat/detect/detecttest"
	"lostbeat/model"
	"lostbeat/source/snapshot/snapshottest"
)

// server is a host at rest: listeners, a few connections, and UDP services.
func server() []snapshottest.Socket {
	list := []snapshottest.Socket{
		{State: "LISTENING", Local: "0.0.0.0", LocalPort: 135, PID: 968, Process: "svchost"},
		{State: "LISTENING", Local: "::", LocalPort: 135, PID: 968, Process: "svchost"},
		{State: "LISTENING", Local: "0.0.0.0", LocalPort: 443, PID: 4, Process: "http"},
		{UDP: true, Local: "0.0.0.0", LocalPort: 123, PID: 1088, Process: "w32time"},
	}
	for i := range 40 {
		list = append(list, snapshottest.Socket{State: "ESTABLISHED", Local: "192.0.2.15", LocalPort: 443,
			Remote: "198.51.100.77", RemotePort: 50000 + i, PID: 4, Process: "http"},
			snapshottest.Socket{
				State:      []string{"ESTABLISHED", "TIME_WAIT", "CLOSE_WAIT"}[i%3],
				Local:      "192.0.2.15",
				LocalPort:  51000 + i,
				Remote:     "198.51.100.5",
				RemotePort: 389,
				PID:        772 * ((i + 2) % 3 / 2 * i % 2),
				Process:    "lsass",
			})
	}
	return list
}

// many are n sockets of a process like s, with ports from the last one down.
func many(s snapshottest.Socket, n int) (list []snapshottest.Socket) {
	for i := range n {
		s.LocalPort = 65000 - i
		list = append(list, s)
	}
	return list
}

// TestSnapshots has one fault a case, in every form that can show it: the verdict does not depend on the form.
func TestSnapshots(t *testing.T) {
	const small = "net.ipv4.ip_local_port_range = 64001\t65000\n"
	names := "\"Image Name\",\"PID\"\r\n"
	for pid, name := range map[string]string{"5316": "relayd", "4312": "batch", "77": "web", "772": "lsass"} {
		names += "\"" + name + "\",\"" + pid + "\"\r\n"
	}
	for _, tt := range []struct {
		name string
		// more are the sockets of the fault in the tables, half an hour apart.
		more [][]snapshottest.Socket
		// bound says that only forms with bound sockets show it.
		bound bool
		want  []string
		never []string
	}{
		{name: "nothing"},
		{name: "one table of a leak", more: [][]snapshottest.Socket{
			many(snapshottest.Socket{UDP: true, Local: "0.0.0.0", PID: 5316, Process: "relayd"}, 950)},
			want: []string{"relayd[5316] holds 950 of the 1,000", "50 are left"}, never: []string{"gained", "gives none back"}},
		{name: "a leak", more: [][]snapshottest.Socket{
			many(snapshottest.Socket{UDP: true, Local: "0.0.0.0", PID: 5316, Process: "relayd"}, 100),
			many(snapshottest.Socket{UDP: true, Local: "0.0.0.0", PID: 5316, Process: "relayd"}, 250),
			many(snapshottest.Socket{UDP: true, Local: "0.0.0.0", PID: 5316, Process: "relayd"}, 400)},
			want: []string{"relayd[5316] holds 400 of the 1,000", "300 more than 60 min earlier, and has released none"}},
		{name: "bound", bound: true, more: [][]snapshottest.Socket{
			many(snapshottest.Socket{State: "BOUND", Local: "0.0.0.0", PID: 4312, Process: "batch"}, 300)},
			want: []string{"batch[4312] holds 300 of the 1,000", "300 of them bound without a connection"}},
		{name: "TIME_WAIT", more: [][]snapshottest.Socket{
			many(snapshottest.Socket{State: "TIME_WAIT", Local: "192.0.2.15", Remote: "198.51.100.20", RemotePort: 8443}, 900)},
			want: []string{"for 198.51.100.20:8443, 900 of them in TIME_WAIT"}, never: []string{"leak", "Restart"}},
		{name: "CLOSE_WAIT", more: [][]snapshottest.Socket{
			many(snapshottest.Socket{State: "CLOSE_WAIT", Local: "192.0.2.15", Remote: "198.51.100.20", RemotePort: 80, PID: 77,
				Process: "web"}, 900)},
			want: []string{"web[77] has 900 connections in CLOSE_WAIT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, form := range snapshottest.Forms {
				if !form.Owners && tt.name != "TIME_WAIT" || tt.bound && !form.Bound {
					continue
				}
				t.Run(form.Name, func(t *testing.T) {
					more := tt.more
					if more == nil {
						more = [][]snapshottest.Socket{nil}
					}
					dir := t.TempDir()
					add := func(name string, content []byte) {
						if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
							t.Fatal(err)
						}
					}
					at := time.Date(2026, 11, 14, 10, 0, 0, 0, time.UTC)
					for i, sockets := range more {
						name := "t" + at.Add(time.Duration(i)*30*time.Minute).Format("20060102_1504")
						add(name, form.Write(append(server(), sockets...)))
					}
					add("range.txt", []byte(small))
					add("tasklist.csv", []byte(names))
					c, err := Open(dir, OpenOptions{})
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					judged, err := Findings(context.Background(), c, all.Settings(), nil)
					if err != nil {
						t.Fatal(err)
					}
					var text strings.Builder
					for _, f := range judged.Findings {
						f = detecttest.Blanks(f)
						if f.Severity > model.SeverityInfo {
							text.WriteString(strings.Join(append(append([]string{f.Title}, f.Causes...), f.Advice...), "\n"))
						}
					}
					for _, want := range tt.want {
						if !strings.Contains(text.String(), want) {
							t.Errorf("it lacks %q", want)
						}
					}
					for _, never := range tt.never {
						if strings.Contains(text.String(), never) {
							t.Errorf("it says %q", never)
						}
					}
					if len(tt.want) == 0 && text.Len() > 0 || t.Failed() {
						t.Errorf("%s", text.String())
					}
				})
			}
		})
	}
}
