package redact

import (
	"strings"
	"testing"
	"unicode/utf8"

	"lostbeat/model"
)

// known is a Redactor that has seen a host.
func known() *Redactor {
	var b model.Builder
	b.AddMeta(model.Meta{Time: 1, Key: "host", Value: "db-17.corp.example"})
	b.AddProcess(model.Process{
		Time: 1, PID: 7, TID: 7, Name: "billingd", Cmdline: "/opt/acme/billingd --token s3cret",
		Cgroup: "/system.slice/acme.service", Unit: "acme.service",
	})
	b.AddProcess(model.Process{Time: 1, PID: 8, TID: 8, Name: "time"})
	b.AddProcess(model.Process{Time: 1, PID: 9, TID: 9, Name: "bad\x1b[31m\u202ename"})
	b.AddProcess(model.Process{Time: 1, PID: 15, TID: 15, PPID: 2, Name: "scsi_eh_0"})
	b.AddProcess(model.Process{Time: 1, PID: 16, TID: 16, PPID: 1, Name: "Été-日本"})
	r := New()
	r.Learn(b.Take())
	return r
}

func TestText(t *testing.T) {
	for _, test := range [][2]string{
		{"udp/7000 of billingd[7] was late", "udp/7000 of process-1[7] was late"},
		{"BILLINGD's", "process-1's"},
		{"billingd2 and xbillingd are others", "billingd2 and xbillingd are others"},
		{"on db-17.corp.example and DB-17, not db-170", "on host-1 and host-1, not db-170"},
		{"all the time, time[8] waits", "all the time, process-2[8] waits"},
		{"time", "process-2"},
		{"bad\ufffd[31m\u202ename", "process-3"},
		{"bad·[31m·name[9]", "process-3[9]"},
		{"ksoftirqd/0, kworker/1:2-events, scsi_eh_0, swapper/0", "ksoftirqd/0, kworker/1:2-events, scsi_eh_0, swapper/0"},
		{"von Été-日本[16]", "von process-4[16]"},
		{"/opt/acme/billingd --token s3cret", "command-1"},
		{"in /system.slice/acme.service, acme.service", "in /cgroup-1, unit-1"},
		{"10.1.2.3:80 and 10.1.2.3, 10.1.2.4", "198.18.0.1:80 and 198.18.0.1, 198.18.0.2"},
		{"127.0.0.1, 0.0.0.0:53, ::, [::1]:80, 224.0.0.18, 255.255.255.255",
			"127.0.0.1, 0.0.0.0:53, ::, [::1]:80, 224.0.0.18, 255.255.255.255"},
		{"[2a02:12::7]:443 fe80::1%eth0 ::ffff:10.1.2.3", "[2001:db8::1]:443 2001:db8::2%eth0 ::ffff:198.18.0.1"},
		{"at 14:03:09.123, 2026-11-22T14:03:09Z, 1.2.3 and 1.2.3.4.5",
			"at 14:03:09.123, 2026-11-22T14:03:09Z, 1.2.3 and 1.2.3.4.5"},
		{"52:54:00:AB:cd:01, 52-54-00-ab-cd-01", "02:00:00:00:00:01, 02:00:00:00:00:01"},
		{"open /srv/data/x.db: see /proc/7/stack and /sys/class/net/eth0/queues", "open /path-1: see /proc/7/stack and " +
			"/sys/class/net/eth0/queues"},
		{`C:\Users\anna\x.log, \\files\share\y, C:\Windows\System32\drivers\ndis.sys`,
			`/path-2, /path-3, C:\Windows\System32\drivers\ndis.sys`},
		{"tcp/22, udp/7000, and/or, 3/4", "tcp/22, udp/7000, and/or, 3/4"},
		{"“billingd gave up 10.1.2.3”: billingd…", "“process-1 gave up 198.18.0.1”: process-1…"},
		{"", ""},
	} {
		r := known()
		r.Text("10.1.2.3 2a02:12::7 /srv/data/x.db")
		if got := r.Text(test[0]); got != test[1] {
			t.Errorf("%q: %q, want %q", test[0], got, test[1])
		}
	}
}

func TestBatch(t *testing.T) {
	var b model.Builder
	b.AddPortAcquire(model.PortAcquire{
		Time: 2, PID: 7, TID: 7, Process: "billingd", LocalAddr: "10.1.2.3", LocalPort: 5000, Protocol: model.ProtocolUDP,
		Stack: model.Stack{{Addr: 0x4000, Name: "billingd+0x12"}, {Addr: 0x5000, Name: "Billing::Pay"}},
	})
	b.AddRaw(model.Raw{Time: 3, Provider: "p", Name: "n", Payload: "73656372657420"})
	f := model.Finding{
		ID: "port-leak/billingd/1", Title: "billingd[7] leaks", Start: 1, End: 3, Causes: []string{"10.1.2.3"},
		Subject: model.Subject{PID: 7, CPU: -1, Process: "billingd"},
	}
	b.AddFinding(4, f)
	b.AddLogLine(model.LogLine{Time: 5, Log: "/var/log/acme/app.log", Text: "db-17 lost 10.1.2.9", Host: "db-18"})
	in := b.Take()
	out := known().Batch(in)
	var text []byte
	for i := range out.Events {
		text = append(model.AppendText(text, out, &out.Events[i]), '\n')
	}
	for _, secret := range []string{"illing", "10.1.2", "7365", "acme", "db-1"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is still there:\n%s", secret, text)
		}
	}
	for _, pseudonym := range []string{"198.18.0.1", "file-1.log"} {
		if len(out.Events) != 4 || !strings.Contains(string(text), pseudonym) {
			t.Errorf("%d events, %s:\n%s", len(out.Events), pseudonym, text)
		}
	}
	if got, ok := out.Finding(&out.Events[2]); !ok || got.Title != "process-1[7] leaks" {
		t.Errorf("the finding became %+v", got)
	}
	if out.Events[2].Flags != in.Events[2].Flags || out.Events[2].Dur != in.Events[2].Dur {
		t.Error("the event of the finding has changed")
	}
	if f.Causes[0] != "10.1.2.3" || in.String(in.Events[0].Str[0]) != "10.1.2.3" {
		t.Error("the input was changed")
	}
}

// TestEveryFieldHasAClass wants a decision for each text of each kind of event.
func TestEveryFieldHasAClass(t *testing.T) {
	for _, s := range model.Specs {
		for _, f := range s.Strings {
			if classOf(s.Name, f.Name) == 0 {
				t.Errorf("%s of %s: may it hold a name? Say it in fields", f.Name, s.Name)
			}
		}
	}
}

// Workers of one program differ in numbers only, and so do the pseudonyms of their command lines.
func TestCommandLinesOfOneProgram(t *testing.T) {
	r := New()
	one := r.field(command, "", "/opt/acme/work --id 7")
	two := r.field(command, "", "/opt/acme/work --id 8")
	other := r.field(command, "", "/opt/acme/other --id 7")
	if one == two || one == other || model.WithoutNumbers(one) != model.WithoutNumbers(two) ||
		model.WithoutNumbers(one) == model.WithoutNumbers(other) {
		t.Errorf("%q, %q, %q", one, two, other)
	}
}

// A Redactor with a bound leaks nothing when it is full: what it knows keeps its pseudonym, the rest has none of its
// own.
func TestBounded(t *testing.T) {
	r := NewBounded(2)
	for _, name := range []string{"billingd", "mailerd"} {
		r.field(process, "", name)
	}
	if r.Full() || r.Text("mailerd") != "process-2" {
		t.Errorf("full %t, %q", r.Full(), r.Text("mailerd"))
	}
	if got := r.field(process, "", "secretd"); got != "process-other" || !r.Full() {
		t.Errorf("%q, full %t", got, r.Full())
	}
	if got := r.Text("mailerd asked secretd"); got != leftOut {
		t.Errorf("%q", got)
	}
	if got := r.field(process, "", "billingd"); got != "process-1" {
		t.Errorf("%q", got)
	}
	identity := func(id string) string { return r.Finding(model.Finding{ID: id}).ID }
	one, other := identity("port-leak/secretd/1"), identity("port-leak/secretd/2")
	if one == other || one != identity("port-leak/secretd/1") || strings.Contains(one, "secretd") {
		t.Errorf("identities %q and %q", one, other)
	}
	r = NewBounded(1)
	if a, b := r.Address("10.1.1.1"), r.Address("10.1.1.2"); a != "198.18.0.1" || b != lastIPv4 || r.Full() {
		t.Errorf("%s, %s", a, b)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{
		"billingd[7] on db-17.corp.example", "::1:2:3.4.5.6:", "[2a02::7]:443", "/a/b/c", `C:\x\y`, "52:54:00:AB:cd:01",
		"\xff\xfe10.1.2.3", "Été-日本", "255.255.255.2555", "fe80::%x%y",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := known().Text(s)
		if utf8.ValidString(s) && !utf8.ValidString(out) {
			t.Errorf("%q became %q", s, out)
		}
		if known().Text(s) != out {
			t.Errorf("%q does not always become %q", s, out)
		}
	})
}
