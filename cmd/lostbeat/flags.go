package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/hint"
	"lostbeat/internal/lazyregexp"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/probes/heartbeat"
	"lostbeat/run"
	"lostbeat/source"
	"lostbeat/source/applog"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// liveFlags are the flags of every command that traces this host.
type liveFlags struct {
	trace  bool
	stacks bool
	pools  []string
	probes []string
	// heartbeats are the flows to follow; rootGroup follows those of the root control group, too.
	heartbeats []string
	rootGroup  bool
	// logs are those to follow, logTime and logPatterns how they are read.
	logs, logPatterns []string
	logTime           string

	threshold time.Duration
	audit     time.Duration
	ring      byteSize
	// maxCPU bounds what lostbeat takes itself.
	maxCPU cpuShare
	// rawBuffers reads whole buffers of trace sessions.
	rawBuffers bool
	// confinement is the value of --confine.
	confinement confineFlag
	detect      detectFlags
	also        alsoFlag
	// metrics are registered by the commands that serve them.
	metrics metricsFlags
}

func (f *liveFlags) register(cmd *cobra.Command) {
	f.ring, f.maxCPU = 8<<20, defaultMaxCPU
	flags := cmd.Flags()
	flags.BoolVar(
		&f.trace,
		"trace",
		false,
		"record every run of deferred work and interrupts, not only those above --threshold",
	)
	flags.BoolVar(&f.stacks, "stacks", false, "record the user stack of every port allocation")
	flags.StringArrayVar(
		&f.pools,
		"pool",
		nil,
		"port range to watch as a pool: `NAME=PROTOCOL:LOW-HIGH`, e.g. rpc=udp:5000-5100 (repeatable)",
	)
	flags.StringArrayVar(
		&f.heartbeats,
		"heartbeat",
		nil,
		"follow the packets of this `FLOW` through the host: udp:5405, tcp:10.0.0.2:2380, vrrp, a protocol (corosync, "+
			"etcd, ...), or auto, which follows the flows of known programs and proposes others that look like heartbeats; "+
			"udp:5405=1s sets the timeout after which the peer counts as dead (repeatable)",
	)
	flags.BoolVar(
		&f.rootGroup,
		"heartbeat-root",
		false,
		"also follow flows of programs in the root cgroup, at a cost to every packet of the host",
	)
	flags.StringArrayVar(
		&f.logs,
		"log",
		nil,
		"follow an application's log, `[HOST=]FILE`: silences, and lines that report lost heartbeats or connections, "+
			"become part of the findings; journal or journal:UNIT reads systemd's journal (repeatable)",
	)
	registerLogFlags(flags, &f.logTime, &f.logPatterns)
	flags.StringSliceVar(&f.probes, "probe", nil, "run only these `PROBES`: "+strings.Join(run.ProbeNames(), ", "))
	flags.DurationVar(
		&f.threshold,
		"threshold",
		time.Millisecond,
		"record single runs and waits that are at least this long",
	)
	flags.DurationVar(
		&f.audit,
		"audit",
		10*time.Second,
		"how often to compare the tracked ports with the kernel's tables",
	)
	flags.Var(&f.ring, "ring-size", "size of the kernel ring buffer, a power of two, at most 1GiB")
	flags.Var(&f.maxCPU, "max-cpu", "CPU time that lostbeat may take itself, in percent of one core; above it, detail is "+
		"left out: --trace, kernel stacks, zoom, suspected threads; 0 sets no bound (Linux)")
	flags.BoolVar(&f.rawBuffers, "raw-buffers", false, "on Windows 11 22H2, Server 2022 and later: read whole buffers of "+
		"trace sessions instead of single records, which costs less; not yet tested on a real Windows")
	if runtime.GOOS != "windows" {
		_ = flags.MarkHidden("raw-buffers") // it fails for a flag that does not exist
	}
	f.registerConfine(cmd)
	f.detect.register(cmd)
	f.also.register(cmd)
}

// checkRingSize refuses sizes that the kernel refuses.
func checkRingSize(s string) error {
	var size byteSize
	if err := size.Set(s); err != nil {
		return err
	}
	if n := int64(size); n < int64(os.Getpagesize()) || n&(n-1) != 0 || n > 1<<30 {
		return hint.New(
			fmt.Sprintf("%s bytes: not a power of two from a page to 1GiB", humanize.Comma(n)),
			"write it like 16MiB (16M means 16,000,000)",
		)
	}
	return nil
}

// noArgs is the check of the arguments of a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return hint.New(fmt.Sprintf("%s takes no arguments, but got %q", cmd.Name(), args[0]), "usage: "+cmd.UseLine())
}

// knownCommand is the check of the arguments of lostbeat itself: what is no
// command ends here.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("'%s --help' lists the commands", cmd.Name())
	if info, err := os.Stat(args[0]); err == nil && !info.IsDir() {
		text = fmt.Sprintf("to open a file: %s replay %s", cmd.Name(), plain.Text(args[0]))
	} else if near := nearestCommand(cmd, args[0]); near != "" {
		text = fmt.Sprintf("did you mean '%s %s'? %s", cmd.Name(), near, text)
	}
	return hint.New(fmt.Sprintf("there is no command %q", args[0]), text)
}

// nearestCommand is the command that begins with a word, or is most like it; empty when there is none.
func nearestCommand(root *cobra.Command, word string) string {
	var names []string
	for _, c := range root.Commands() {
		switch {
		case !c.IsAvailableCommand():
		case word != "" && strings.HasPrefix(c.Name(), word):
			return c.Name()
		default:
			names = append(names, c.Name())
		}
	}
	return hint.Nearest(word, names)
}

// fileArgs is the check of a command's arguments: one file, or several where many is set.
func fileArgs(many bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return hint.New(cmd.Name()+" needs a recording or capture to open", "usage: "+cmd.UseLine())
		case len(args) > 1 && !many:
			return hint.New(cmd.Name()+" opens one file", "usage: "+cmd.UseLine())
		}
		return nil
	}
}

// parsePool parses NAME=PROTOCOL:LOW-HIGH.
func parsePool(s string) (ebpf.Pool, error) {
	fail := func(why string) (ebpf.Pool, error) {
		return ebpf.Pool{}, hint.New(why, "write it like rpc=udp:5000-5100")
	}
	name, rest, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fail("no name")
	}
	protocol, ports, ok := strings.Cut(rest, ":")
	if !ok {
		return fail("no protocol")
	}
	p := ebpf.Pool{Name: name}
	switch strings.ToLower(protocol) {
	case "tcp":
		p.Protocol = model.ProtocolTCP
	case "udp":
		p.Protocol = model.ProtocolUDP
	default:
		return fail("the protocol is neither tcp nor udp")
	}
	low, high, ok := strings.Cut(ports, "-")
	if !ok {
		high = low
	}
	l, errLow := strconv.ParseUint(low, 10, 16)
	h, errHigh := strconv.ParseUint(high, 10, 16)
	switch {
	case errLow != nil || errHigh != nil || l == 0:
		return fail("ports are numbers from 1 to 65535")
	case l > h:
		return fail("the range is empty")
	}
	p.Low, p.High = uint16(l), uint16(h)
	return p, nil
}

func parsePools(specs []string) ([]ebpf.Pool, error) {
	var pools []ebpf.Pool
	for _, s := range specs {
		p, err := parsePool(s)
		if err != nil {
			return nil, err
		}
		pools = append(pools, p)
	}
	return pools, nil
}

func parseHeartbeats(specs []string) ([]ebpf.Heartbeat, error) {
	var flows []ebpf.Heartbeat
	for _, s := range specs {
		more, err := parseHeartbeat(s)
		if err != nil {
			return nil, err
		}
		flows = append(flows, more...)
	}
	return flows, nil
}

// parseHeartbeat parses one --heartbeat, which may stand for several flows.
func parseHeartbeat(s string) ([]ebpf.Heartbeat, error) {
	flows, err := heartbeat.ParseFlow(s)
	if err != nil {
		return nil, hint.New(plain.Text(err.Error()),
			"write it like udp:5405, udp:5405=1s, tcp:10.0.0.2:2380, corosync or auto")
	}
	return flows, nil
}

// registerLogFlags adds the flags that say how text logs are read.
func registerLogFlags(flags *pflag.FlagSet, logTime *string, patterns *[]string) {
	flags.StringVar(logTime, "log-time", "", "time `ZONE` of text logs without one: +01:00, UTC, local or "+
		"Europe/Berlin; put a year or date before it if the log's times have none, e.g. '2013 -05:00'")
	flags.StringArrayVar(patterns, "log-pattern", nil, "report log lines that match this `REGEXP`, in addition to the "+
		"built-in patterns (repeatable)")
}

// hostName is a name of a host, as it may stand before the equals sign of --log.
var hostName = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// parseLogs parses --log.
func parseLogs(specs []string, o source.OpenOptions) ([]applog.Followed, error) {
	var logs []applog.Followed
	for _, s := range specs {
		l := applog.Followed{Path: s, Options: o}
		if host, path, ok := strings.Cut(s, "="); ok && hostName.MatchString(host) {
			if _, err := os.Stat(s); err != nil { // no file has the equals sign in its name
				l.Host, l.Path = host, path
			}
		}
		if l.Path == "" {
			return nil, hint.New(fmt.Sprintf("--log %q names no file", plain.Text(s)),
				"write it like --log /var/log/app.log, --log web-08=/mnt/web-08/app.log or --log journal:corosync.service")
		}
		if info, err := os.Stat(l.Path); err == nil && !info.Mode().IsRegular() {
			return nil, hint.New(fmt.Sprintf("--log %s is not a regular file", plain.Text(l.Path)),
				"a missing file is waited for; a pipe or directory cannot be followed")
		}
		logs = append(logs, l)
	}
	return logs, nil
}

// byteSize is a flag value such as 64M or 1GiB.
type byteSize int64

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return hint.New("not a size", "write it like 64MiB, 1GiB or 0")
	}
	*b = byteSize(n)
	return nil
}

// String implements pflag.Value. 0, which is no limit, is without a unit: help names no default then.
func (b *byteSize) String() string {
	if *b == 0 {
		return "0"
	}
	return strings.NewReplacer(" ", "", ".0", "").Replace(humanize.IBytes(uint64(*b)))
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }

// defaultMaxCPU is the share of one CPU that lostbeat may take.
const defaultMaxCPU cpuShare = 0.03

// cpuShare is a share of one CPU, written in percent.
type cpuShare float64

// Set implements pflag.Value.
func (c *cpuShare) Set(s string) error {
	text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "%"))
	percent, err := strconv.ParseFloat(text, 64)
	if err != nil || !(percent >= 0 && percent <= 100*1024) {
		return hint.New("not a share of a core", "write percent of one core, like 3 or 0.5%; 0 sets no bound")
	}
	*c = cpuShare(percent / 100)
	return nil
}

// String implements pflag.Value.
func (c *cpuShare) String() string { return strconv.FormatFloat(float64(*c)*100, 'g', 6, 64) + "%" }

// Type implements pflag.Value.
func (c *cpuShare) Type() string { return "percent" }

// zoneFlag chooses the zone in which times are shown and read.
type zoneFlag struct{ utc bool }

func (f *zoneFlag) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.utc, "utc", false, "show and read times in UTC instead of this machine's zone")
}

func (f zoneFlag) zone() *time.Location {
	if f.utc {
		return time.UTC
	}
	return time.Local
}

// momentForms says how parseMoment wants a time.
const momentForms = "14:03:09, '2026-11-22 14:03:09', RFC 3339, +90s after the start, -90s before the end"

// momentSlack is how far outside a capture a time may be: whoever copies a time to the second is no further away.
const momentSlack = model.Time(time.Second)

// parseMoment parses a time within a capture that runs from start to end: RFC
// 3339, a date and time or a time of day in the given zone, +DURATION after the
// start, or -DURATION before the end. A time of day is that of the first day
// that has it in the capture. A time outside the capture is an error.
func parseMoment(s string, start, end model.Time, zone *time.Location) (model.Time, error) {
	at, err := readMoment(s, start, end, zone)
	if err != nil {
		return 0, err
	}
	if at < start-momentSlack || at > end+momentSlack {
		return 0, hint.New(
			fmt.Sprintf("%s is outside the capture", plain.Moment(at.Std(), zone)),
			fmt.Sprintf("it runs from %s to %s", plain.Moment(start.Std(), zone), plain.Moment(end.Std(), zone)),
		)
	}
	return min(max(at, start), end), nil
}

// timeOf converts a time of any year: one that no event can have becomes the first or the last that one can.
func timeOf(t time.Time) model.Time {
	switch {
	case t.Before(model.Time(0).Std()):
		return 0
	case t.After(model.MaxTime.Std()):
		return model.MaxTime
	}
	return model.TimeOf(t)
}

func readMoment(s string, start, end model.Time, zone *time.Location) (model.Time, error) {
	if d, err := time.ParseDuration(strings.TrimPrefix(s, "+")); err == nil && s != "" {
		if s[0] == '-' {
			return end.Add(d), nil
		}
		return start.Add(d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return timeOf(t), nil
	}
	for _, layout := range []string{
		"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04",
	} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return timeOf(t), nil
		}
	}
	for _, layout := range []string{"15:04:05.999999999", "15:04"} {
		clock, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		first := start.Std().In(zone)
		on := func(day int) model.Time {
			return model.TimeOf(time.Date(first.Year(), first.Month(), day, clock.Hour(), clock.Minute(), clock.Second(),
				clock.Nanosecond(), zone))
		}
		if at, next := on(first.Day()), on(first.Day()+1); at >= start || next > end+momentSlack {
			return at, nil
		}
		return on(first.Day() + 1), nil
	}
	return 0, hint.New("not a time", "write "+momentForms)
}
