package heartbeatloss

import (
	"cmp"
	"fmt"

	"lostbeat/detect"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// unattended is the finding of packets for the port of a socket that is gone.
func (t *telling) unattended(f *model.Finding) {
	g := &t.at.gap
	program := words.Task(t.who.process, t.who.pid)
	how, advice, planned := t.ended()
	f.Title = fmt.Sprintf("%s %s nothing for %s: %s, and %s for its port found no socket", t.who.name(),
		words.Tense(t.lasts, "has received", "received"), words.Span(g.Length()), how, words.Plural(t.at.exact, "packet"))
	if planned {
		f.Severity = model.SeverityInfo
	}
	f.Evidence = append(f.Evidence, detect.Evidence("packets for "+t.who.local()+" that found no socket",
		float64(t.at.exact), "packets"))
	f.Causes = append(f.Causes, fmt.Sprintf("%s, which read %s, closed its socket: %s", program, t.who.local(), how),
		fmt.Sprintf("Its peers %s to send, and no socket %s the port (drop reason %s)", words.Tense(t.lasts, "continue",
			"continued"), words.Tense(t.lasts, "has", "had"), noSocket))
	if !g.Lasts {
		f.Causes = append(f.Causes, "A socket was opened on the port again after "+words.Span(g.Length()))
	}
	f.RuledOut = append(f.RuledOut, "the peer or the network: the packets reached this host")
	f.Advice = append(f.Advice, advice)
}

// signals are the names of signals that end a program, by their numbers on Linux.
var signals = map[int64]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
	11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 31: "SIGSYS",
}

// ended says what became of the program, what to do, and whether it may have been meant.
func (t *telling) ended() (how, advice string, planned bool) {
	s := t.beat.Socket
	switch s.End {
	case model.ProcessEndSignal:
		name := cmp.Or(signals[s.EndCode], "signal "+words.Itoa(s.EndCode))
		switch name {
		case "SIGTERM", "SIGINT", "SIGHUP":
			return "its program was stopped by " + name, "Start the program again, or have its peers send to where it runs " +
				"now, unless it was stopped on purpose for a while", true
		case "SIGKILL":
			return "its program was killed by " + name, "Start the program again, and find out who killed it: the kernel " +
				"when memory ran out (journalctl -k, dmesg), a supervisor or a person, unless it was intended", false
		}
		return "its program was killed by " + name, "Start the program again, and look at its core dump and log " +
			"(coredumpctl, journalctl), unless it was intended", false
	case model.ProcessEndExit:
		if s.EndCode == 0 {
			return "its program exited", "Start the program again, unless it was stopped on purpose", true
		}
		return "its program exited with status " + words.Itoa(s.EndCode), "Start the program again, and find out from its " +
			"log why it ended, unless it was stopped on purpose", false
	}
	return "its socket was closed", "Find out whether the program ended or closed its socket by itself (its log, " +
		"journalctl), unless it was stopped on purpose", true
}

// taken is the finding of a flow that another socket of the port receives.
func (t *telling) taken(f *model.Finding) {
	g, by := &t.at.gap, &t.at.by
	other := words.Task(by.process, by.pid)
	f.Title = fmt.Sprintf("%s %s nothing for %s: its packets %s to another socket of the port, of %s", t.who.name(),
		words.Tense(t.lasts, "has received", "received"), words.Span(g.Length()), words.Tense(t.lasts, "go", "went"), other)
	if by.pid == t.who.pid {
		f.Severity = model.SeverityInfo
		f.Causes = append(f.Causes, "The program has opened another socket on the port, and receives them there")
		return
	}
	f.Causes = append(f.Causes, fmt.Sprintf("%s has bound %s as well (SO_REUSEPORT, or a more specific address): the "+
		"kernel gives each packet to one socket of the port", other, t.who.local()))
	f.RuledOut = append(f.RuledOut, "the peer or the network: the packets reached this host",
		"loss in this host: the other socket received them")
	f.Advice = append(f.Advice, fmt.Sprintf("Stop the instance that should not run (%s or %s), unless one is about to "+
		"replace the other", words.Task(t.who.process, t.who.pid), other))
}

// otherPort says that as many packets as are missing came for a port on which nothing listens.
func (t *telling) otherPort(f *model.Finding) {
	o := &t.at.other
	port := o.Protocol.String() + "/" + words.Itoa(o.Port)
	f.Title = fmt.Sprintf("%s %s nothing for %s: no packet for its port reached this host, peer or network fault, unless "+
		"a rule of this host sends its packets to %s", t.who.name(), words.Tense(t.lasts, "has received", "received"),
		words.Span(t.at.gap.Length()), port)
	f.Evidence = append(f.Evidence, detect.Evidence("dropped in that time at "+dropText(o), float64(o.count), "packets"))
	f.Causes = append(f.Causes, fmt.Sprintf("%s for %s came meanwhile, where nothing listens: those of the flow, if a "+
		"rule changes their port or the peer's configuration has that port; of another flow otherwise",
		words.Plural(o.count, "packet"), port))
	f.Advice = append(f.Advice, "Look for a rule that changes the port (nft list ruleset, iptables -t nat -nvL), and "+
		"compare the port in the peer's configuration, unless those packets are of another flow")
}
