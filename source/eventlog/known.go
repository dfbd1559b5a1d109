package eventlog

import (
	"cmp"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// known says what entries report, by provider in lower case and number.
var known = map[string]map[int64]model.HostEventWhat{
	"microsoft-windows-failoverclustering": {
		1135: model.HostNodeRemoved, 1177: model.HostQuorumLost, 1672: model.HostClusterResource,
		1069: model.HostClusterResource, 5120: model.HostClusterResource,
		1126: model.HostClusterNetwork, 1127: model.HostClusterNetwork, 1129: model.HostClusterNetwork,
		1130: model.HostClusterNetwork,
	},
	"tcpip": {
		4201: model.HostLinkUp, 4202: model.HostLinkDown, 4227: model.HostTCPPortReused, 4231: model.HostTCPPortsOut,
		4265: model.HostUDPPortsOut, 4266: model.HostUDPPortsOut,
	},
	"mssqlserver": {
		35206: model.HostReplicaTimeout, 19407: model.HostLeaseExpired, 19419: model.HostLeaseExpired,
		19421: model.HostLeaseExpired,
	},
	"microsoft-windows-ndis":           {10400: model.HostAdapterReset, 10317: model.HostAdapterReset},
	"b57nd60a":                         {4: model.HostLinkDown},
	"k57nd60a":                         {4: model.HostLinkDown},
	"l2nd":                             {4: model.HostLinkDown},
	"microsoft-windows-kernel-power":   {41: model.HostCrashed},
	"microsoft-windows-kernel-general": {1: model.HostClockSet, 12: model.HostStarted, 13: model.HostShutdown},
	"eventlog":                         {6008: model.HostCrashed, 6005: model.HostStarted, 6006: model.HostShutdown},
	"user32":                           {1074: model.HostShutdown},
	"disk":                             {153: model.HostDisk},
	"storahci":                         {129: model.HostDisk},
	"microsoft-windows-resource-exhaustion-detector": {2004: model.HostMemory},
	"microsoft-windows-distributedcom":               {10028: model.HostUnreachable, 10009: model.HostUnreachable},
	"netlogon":                                       {5719: model.HostUnreachable},
	"microsoft-windows-grouppolicy":                  {1129: model.HostUnreachable},
}

// intel are the drivers of Intel's adapters, which number their entries alike: 27 is a link that was lost, 32 and 33
// one that is there.
var intel = lazyregexp.New(`^(?:e[12][a-z]{0,2}express|ixgb[a-z]{1,2}|i40e[a-z]\w*|icea)$`)

// whatOf returns what an entry reports; ok is false for one that bears on nothing.
func whatOf(provider string, id int64) (what model.HostEventWhat, ok bool) {
	provider = strings.ToLower(nameOf(provider))
	if intel.MatchString(provider) {
		switch id {
		case 27:
			return model.HostLinkDown, true
		case 32, 33:
			return model.HostLinkUp, true
		}
		return 0, false
	}
	if strings.HasPrefix(provider, "mssql$") { // a named instance
		provider = "mssqlserver"
	}
	what, ok = known[provider][id]
	return what, ok
}

// aliases are other names of providers.
var aliases = map[string]string{
	"microsoft-windows-tcpip": "Tcpip", "dcom": "Microsoft-Windows-DistributedCOM",
	"microsoft-windows-eventlog": "EventLog",
}

// nameOf is the name of a provider by which it is known.
func nameOf(provider string) string { return cmp.Or(aliases[strings.ToLower(provider)], provider) }

var (
	quotedName = lazyregexp.New(`['‘“"«]([^'’”"»]{1,80})['’”"»]`)
	isoTimes   = lazyregexp.New(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`)
)

// leastStep is the smallest step of the clock that is reported: smaller ones are the steps of its own discipline.
const leastStep = time.Second

// event returns what an entry becomes; ok is false for none.
func (e *entry) event(log string) (v model.HostEvent, ok bool) {
	what, ok := whatOf(e.provider, e.id)
	if !ok {
		return v, false
	}
	v = model.HostEvent{Time: e.at, What: what, ID: e.id, Provider: nameOf(e.provider), Log: log, Host: e.host}
	switch what {
	case model.HostNodeRemoved, model.HostClusterNetwork, model.HostClusterResource, model.HostAdapterReset,
		model.HostLinkDown, model.HostLinkUp, model.HostReplicaTimeout, model.HostLeaseExpired:
		v.About = e.about()
	case model.HostClockSet:
		step, ok := e.step()
		if ok && step.Abs() < leastStep {
			return v, false
		}
		v.StepNS = int64(step)
	}
	return v, true
}

// aboutNames are the names of data that say which node, adapter or resource an entry is about.
var aboutNames = []string{"NodeName", "AdapterName", "ResourceName", "VolumeName", "InterfaceName", "NetworkName"}

// about names what an entry is about.
func (e *entry) about() string {
	for _, name := range aboutNames {
		for _, d := range e.data {
			if d.name == name && d.value != "" {
				return short(d.value)
			}
		}
	}
	for _, d := range e.data {
		if text := strings.TrimSpace(d.value); text != "" && !strings.HasPrefix(text, `\Device\`) && d.name != messageName {
			return short(text)
		}
	}
	for _, d := range e.data {
		if m := quotedName.FindStringSubmatch(d.value); m != nil && d.name == messageName {
			return short(m[1])
		}
	}
	return ""
}

// short cuts a name to one line that fits.
func short(text string) string {
	const most = 80
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if r := []rune(text); len(r) > most {
		text = string(r[:most])
	}
	return strings.TrimSpace(text)
}

// step returns by how much the clock was set.
func (e *entry) step() (time.Duration, bool) {
	at := map[string]time.Time{}
	for _, d := range e.data {
		if t, err := time.Parse(time.RFC3339Nano, d.value); err == nil {
			at[d.name] = t
		}
		if times := isoTimes.FindAllString(strings.Map(plainMark, d.value), 2); d.name == messageName && len(times) == 2 {
			to, errTo := time.Parse(time.RFC3339Nano, times[0])
			from, errFrom := time.Parse(time.RFC3339Nano, times[1])
			if errTo == nil && errFrom == nil {
				return to.Sub(from), true
			}
		}
	}
	to, from := at["NewTime"], at["OldTime"]
	if to.IsZero() || from.IsZero() {
		return 0, false
	}
	return to.Sub(from), true
}

// plainMark takes away the marks of direction that Windows puts around times.
func plainMark(r rune) rune {
	if r == '\u200e' || r == '\u200f' {
		return -1
	}
	return r
}
