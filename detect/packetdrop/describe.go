package packetdrop

import (
	"cmp"
	"slices"
	"time"

	"lostbeat/detect"
	"lostbeat/fold"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// describe writes the finding.
func (d *packetDrop) describe(w *detect.Tick, in *detect.Case[loss]) model.Finding {
	data := &in.Data
	if data.rest != nil {
		return d.describeRest(w, in)
	}
	length := max(in.Seen.Sub(in.Start), time.Second)
	f := model.Finding{
		Severity: d.severity(data),
		Title:    d.title(data, in.Ongoing(), length),
		Subject:  model.Subject{Kind: "drop", CPU: -1, PID: -1, Protocol: protocolText(data.protocol), Port: data.port},
		RuledOut: slices.Clone(data.ruledOut),
		Advice:   []string{data.advice()},
	}
	if data.device.Name != "" {
		f.Subject.Device = fold.Printable(data.device.Name)
	}
	f.Subject.Netns = fold.Printable(cmp.Or(data.netnsName, w.NetnsName(data.netns)))
	if data.pid > 0 {
		f.Subject.PID = data.pid
	}
	f.Evidence = append(f.Evidence, detect.Evidence("packets lost", float64(data.lost), "packets"))
	if share, ok := data.share(); ok {
		of := words.Tense(data.transmit, "share of what it had to send", "share of what it received")
		name := words.Tense(data.transmit, "sent by ", "received by ") + deviceName(data.device) + " meanwhile"
		f.Evidence = append(f.Evidence,
			detect.Evidence(name, float64(data.carried), "packets"), detect.Evidence(of, share, "ratio"))
	}
	if owners := data.ranked(); len(owners) > 0 {
		for _, o := range owners {
			if f.Subject.PID < 0 && o.pid > 0 {
				f.Subject.PID, f.Subject.Process = o.pid, fold.Printable(o.process)
			}
		}
		if data.port == 0 || len(owners) > 1 {
			f.Evidence = append(f.Evidence, data.evidence()...)
		}
	}
	f.Causes = d.causes(data, f.Subject.Netns)
	return f
}

// advice is that of the reason, with the name of the device.
func (l *loss) advice() string {
	return adviceFor(l.reason, l.device.Name)
}

// causes are what a finding says of its cause: what the reason means, and what was seen of it.
func (d *packetDrop) causes(data *loss, netns string) (list []string) {
	switch at := data.at.Std().Format("15:04:05"); {
	case data.at == 0:
		list = []string{data.reason.Meaning}
	case data.gone == model.DeviceRemoved:
		list = []string{"It was removed at " + at + ", and packets were still sent through it."}
	default:
		list = []string{"It went down at " + at + ", and packets were still sent through it."}
	}
	if data.regular && data.reason.Healthy {
		list = append(list, "About as many packets are lost each second: a regular flow, not background noise.")
	}
	from := ""
	if len(data.locations.list) > 0 {
		from = ", dropped in " + data.locations.String()
	}
	switch reason := data.reasons.String(); {
	case reason != "":
		list = append(list, "Drop reason "+reason+from+".")
	case data.match == MatchFunction:
		list = append(list, "The kernel gives no reason"+from+": the cause is concluded from the function.")
	default:
		list = append(list, "The kernel gives no reason"+from+".")
	}
	list = append(list, data.confirmed...)
	if netns != "" {
		list = append(list, "In network namespace "+netns+".")
	}
	return list
}

// goneSeconds is in how many seconds packets must be lost by a device that has gone: a container that ends loses what
// was in its queues.
const goneSeconds = 3

// severity says how bad a loss is. What healthy hosts show is a fault only where it hits a flow that comes regularly,
// or takes a large share of what is meant for this host.
func (d *packetDrop) severity(data *loss) model.Severity {
	share, _ := data.share()
	large := share >= d.settings.CriticalLoss
	switch {
	case data.match == MatchNone:
		return model.SeverityInfo
	case data.gone != "" && data.lossy < goneSeconds:
		return model.SeverityInfo
	case data.gone != "" || data.full != "":
		return model.SeverityWarning
	case data.reason.Healthy && data.reason.Cause == CauseFilter && data.place == model.PlaceFilter &&
		!data.reason.Noise:
		return model.SeverityWarning // its share has been judged
	case data.reason.Healthy && !data.regular && (data.reason.Noise || !large):
		return model.SeverityInfo
	case large && !data.reason.Healthy:
		return model.SeverityCritical
	}
	return model.SeverityWarning
}

func lostText(n uint64, length time.Duration) string {
	return words.Plural(n, "packet") + " lost in " + words.Span(length)
}

func protocolText(p model.Protocol) string {
	if p == model.ProtocolUnknown {
		return ""
	}
	return p.String()
}
