package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"lostbeat/etw"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/spawn"
	"lostbeat/model/budget"
	"lostbeat/probes/heartbeat"
	"lostbeat/run"
	"lostbeat/source"
	"lostbeat/source/snapshot"

	"github.com/spf13/cobra"
)

// leastMemory is what reading a file takes with hardly anything kept of it.
const leastMemory = 96 << 20

// captureFlags are the flags of every command that opens files.
type captureFlags struct {
	utcOffset string
	codePage  string
	names     []string
	trace     bool
	pools     []string
	rpcPorts  string
	memory    byteSize
	// heartbeats are flows of captured packets to follow.
	heartbeats []string
	// logTime and logPatterns are for text logs; logZone is that of the captures beside them, nil unknown.
	logTime     string
	logPatterns []string
	logZone     *source.LogTime
	// logs are those that belong to the capture.
	logs []string
	// everything asks for what no detector reads, too: uninterpreted records
	// of a trace, every counter of a performance log.
	everything bool
	// scratch is a folder in that of temporary files which the command makes and removes, empty for none.
	scratch string
	// said says that the command itself prints what is incomplete.
	said bool
	// confinement is the value of --confine; programs runs programs for this process where it is confined.
	confinement confineFlag
	programs    spawn.Run
	// unpacked is what the paths are from that are members of bundles, nil before they were unpacked.
	unpacked *run.Unpacked
}

func (f *captureFlags) register(cmd *cobra.Command) {
	cmd.Flags().
		StringVar(&f.utcOffset, "utc-offset", "", "UTC `OFFSET` of the captured machine, e.g. +01:00, for performance logs "+
			"without one")
	cmd.Flags().
		StringVar(&f.codePage, "code-page", "", "ANSI `CODEPAGE` of the names in a performance log, e.g. cp1251, if it is "+
			"not recognised")
	cmd.Flags().
		StringArrayVar(
			&f.names, "counter-name", nil,
			`English name of a localised performance counter: 'OBJECT\COUNTER=OBJECT/COUNTER', e.g. `+
				`'Procesor\Czas DPC=Processor/% DPC Time' (repeatable)`,
		)
	registerLogFlags(cmd.Flags(), &f.logTime, &f.logPatterns)
	cmd.Flags().
		StringArrayVar(&f.heartbeats, "heartbeat", nil, "judge this `FLOW` of captured packets (pcap, pktmon, netsh trace) "+
			"as a heartbeat, in addition to known protocols: udp:5405, tcp:10.0.0.2:2380, a protocol (corosync, etcd, ...); "+
			"udp:5405=1s sets the timeout after which the peer counts as dead (repeatable)")
	registerMemory(cmd, &f.memory)
	f.registerConfine(cmd)
	cmd.Flags().
		BoolVar(&f.trace, "trace", false, "list every DPC and ISR of a Windows capture, not only those above the "+
			"threshold")
}

// registerMemory adds the flag that says how much memory a capture may take.
func registerMemory(cmd *cobra.Command, memory *byteSize) {
	*memory = budget.Default
	cmd.Flags().
		Var(memory, "memory", "memory limit of this command; data beyond it is skipped and counted as lost")
}

// checkMemory refuses a size in which nothing can be read.
func checkMemory(s string) error {
	var size byteSize
	if err := size.Set(s); err != nil {
		return err
	}
	if size < leastMemory {
		return hint.New("too little", fmt.Sprintf("give at least %v", new(byteSize(leastMemory))))
	}
	return nil
}

// registerLogs adds the flag of the commands that judge what they open.
func (f *captureFlags) registerLogs(cmd *cobra.Command) {
	cmd.Flags().
		StringArrayVar(&f.logs, "log", nil, "an application's log of the captured host, `[HOST=]FILE`: its silences and "+
			"lines become part of the findings (repeatable)")
}

// registerPools adds the flag of the commands that judge ports.
func (f *captureFlags) registerPools(cmd *cobra.Command) {
	cmd.Flags().
		StringArrayVar(&f.pools, "pool", nil, "port range to judge as a pool: `NAME=PROTOCOL:LOW-HIGH`, e.g. "+
			"rpc=udp:5000-5100 (repeatable)")
	cmd.Flags().
		StringVar(&f.rpcPorts, "rpc-ports", "", "`FILE` with the RPC port settings of the captured Windows: output of reg "+
			`export or reg query for HKLM\Software\Microsoft\Rpc\Internet`)
}

// rpcInternet reads --rpc-ports; nil when it was not given.
func (f *captureFlags) rpcInternet() (*etw.RPCInternet, error) {
	if f.rpcPorts == "" {
		return nil, nil
	}
	file, err := os.Open(f.rpcPorts)
	if err != nil {
		return nil, fmt.Errorf("--rpc-ports: %w", err)
	}
	defer file.Close()
	c, err := etw.ParseRPCInternet(file)
	if err != nil {
		return nil, fmt.Errorf("--rpc-ports %s: %w", f.rpcPorts, err)
	}
	return &c, nil
}

// offset parses --utc-offset; nil when it was not given.
func (f *captureFlags) offset() (*time.Duration, error) {
	if f.utcOffset == "" {
		return nil, nil
	}
	return parseOffset(f.utcOffset)
}

func parseOffset(s string) (*time.Duration, error) {
	t, err := time.Parse("Z07:00", s)
	if err != nil {
		return nil, hint.New("not an offset from UTC", "write it like +01:00, -05:30 or Z")
	}
	_, seconds := t.Zone()
	d := time.Duration(seconds) * time.Second
	return &d, nil
}

// counterNames parses --counter-name.
func (f *captureFlags) counterNames() (map[string]string, error) {
	names := make(map[string]string)
	for _, s := range f.names {
		name, err := parseCounterName(s)
		if err != nil {
			return nil, err
		}
		names[name[0]] = name[1]
	}
	return names, nil
}

// parseCounterName parses one --counter-name: the counter's own name, and the English one.
func parseCounterName(s string) ([2]string, error) {
	local, english, ok := strings.Cut(s, "=")
	if !ok || !strings.Contains(local, `\`) || !strings.Contains(english, "/") {
		return [2]string{}, hint.New("names no counter", `write it like 'Procesor\Czas DPC=Processor/% DPC Time'`)
	}
	return [2]string{local, english}, nil
}

// open opens a file of any kind that lostbeat reads, or several that are one source.
func (f *captureFlags) open(paths []string, progress source.Progress) (*run.Capture, error) {
	o, err := f.options(progress)
	if err != nil {
		return nil, err
	}
	c, err := run.OpenAll(paths, o)
	if name := f.unpacked.Name(paths[0]); err != nil && name != paths[0] && !f.unpacked.Member(paths[0]) {
		return c, hint.New(strings.ReplaceAll(err.Error(), paths[0], name), hint.Of(err)) // not a path that nobody gave
	}
	return c, err
}

// options returns how files are to be opened.
func (f *captureFlags) options(progress source.Progress) (run.OpenOptions, error) {
	o := run.OpenOptions{Unpacked: f.unpacked, OpenOptions: source.OpenOptions{
		CodePage: f.codePage, Trace: f.trace, Everything: f.everything, Progress: progress,
		Memory: int64(f.memory), Programs: f.programs,
	}}
	flows, err := parseHeartbeats(f.heartbeats)
	if err != nil {
		return o, err
	}
	o.Follow = heartbeat.FollowCaptured(flows)
	if o.Pools, err = parsePools(f.pools); err != nil {
		return o, err
	}
	if o.RPCPorts, err = f.rpcInternet(); err != nil {
		return o, err
	}
	if o.UTCOffset, err = f.offset(); err != nil {
		return o, err
	}
	if o.Names, err = f.counterNames(); err != nil {
		return o, err
	}
	if o.LogTime, err = parseLogTime(f.logTime); err != nil {
		return o, err
	}
	if o.LogTime == nil {
		o.LogTime = f.logZone
	}
	o.LogPatterns = f.logPatterns
	for i := range f.logs {
		if _, err := os.Stat(f.logs[i]); err != nil && !strings.Contains(f.logs[i], "=") {
			return o, fmt.Errorf("--log: %w", err)
		}
	}
	if o.Logs, err = parseLogs(f.logs, o.OpenOptions); err != nil {
		return o, err
	}
	return o, nil
}

// parseLogTime parses --log-time; nil when it was not given.
func parseLogTime(s string) (*source.LogTime, error) {
	if s == "" {
		return nil, nil
	}
	t := &source.LogTime{Source: "--log-time"}
	date, zone, ok := strings.Cut(s, " ")
	if !ok {
		date, zone = "", s
	}
	for _, layout := range []string{"2006", time.DateOnly} {
		if d, err := time.Parse(layout, date); err == nil {
			t.Year = d.Year()
			if layout == time.DateOnly {
				t.Month, t.Day = int(d.Month()), d.Day()
			}
		}
	}
	if date != "" && t.Year == 0 {
		return nil, hint.New("no year or date before the zone", "write it like '2013 -05:00' or '2013-03-30 -05:00'")
	}
	if d, err := time.Parse("Z07:00", zone); err == nil {
		_, seconds := d.Zone()
		t.Zone = time.FixedZone(d.Format("-07:00"), seconds)
		return t, nil
	}
	if zone == "local" {
		t.Zone = time.Local
		return t, nil
	}
	var err error
	if t.Zone, err = time.LoadLocation(zone); err != nil {
		return nil, hint.New("no such zone",
			"give the offset, like +01:00; names like Europe/Berlin need this system's time zone files")
	}
	return t, nil
}

// eachCapture opens the files in turn and calls do with each. A terminal is
// told how far a long one has been read. One that cannot be opened or read does
// not stop the others: what is wrong with it is printed. What is incomplete is
// said on terminal, too, and makes the error errIncomplete.
func eachCapture(
	ctx context.Context,
	paths []string,
	flags captureFlags,
	terminal io.Writer,
	do func(c *run.Capture, reading *readingLine) error,
) error {
	var result error
	groups := run.Groups(flags.unpacked, paths)
	for _, group := range groups {
		if ctx.Err() != nil {
			return nil
		}
		complete, err := oneCapture(group, flags, terminal, do)
		switch {
		case err != nil && (len(groups) == 1 || ctx.Err() != nil || stops(err)):
			return err
		case err != nil && flags.unpacked.Member(group[0]): // the rest of the bundle counts
			if companion := new(snapshot.CompanionError); errors.As(err, &companion) {
				continue // a list of processes without a table of sockets
			}
			fmt.Fprintf(terminal, "%s was not opened: %v\n", plain.Text(flags.unpacked.Name(group[0])), err)
		case err != nil:
			printError(terminal, err)
			result = errSaid
		case !complete && result == nil:
			result = errIncomplete
		}
	}
	return result
}

// unpack puts what is in the bundles among the paths in their place, until close is called.
func (f *captureFlags) unpack(ctx context.Context, paths []string) (rest []string, done func(), err error) {
	for _, path := range paths {
		if err := checkRegular(path); err != nil {
			return nil, nil, err
		}
	}
	u, err := run.Unpack(ctx, paths)
	if err != nil {
		return nil, nil, err
	}
	f.unpacked = u
	if len(u.Bundles) > 0 {
		signal.Ignore(syscall.SIGPIPE) // a reader that ends is an error like others, after which the files are removed
	}
	return u.Paths, func() { u.Close() }, nil
}

// checkRegular refuses what cannot be read twice, and would be waited for: pipes and devices.
func checkRegular(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().IsRegular() || info.IsDir() {
		return nil // what is not there is said when it is opened
	}
	return hint.New(plain.Text(path)+" is not a file", "a pipe is read as standard input: lostbeat findings - < PIPE")
}

// stops reports whether an error is not one of the file but ends the command.
func stops(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, errPastEnd)
}

// oneCapture is eachCapture for one file, or several that are one source.
func oneCapture(
	paths []string, flags captureFlags, terminal io.Writer, do func(c *run.Capture, reading *readingLine) error,
) (complete bool, err error) {
	path := flags.unpacked.Name(paths[0])
	line := showReading(terminal, path)
	defer line.end()
	c, err := flags.open(paths, line.progress())
	if err != nil {
		return false, err
	}
	err = do(c, line)
	line.end()
	integrity := c.Integrity()
	if err = errors.Join(err, c.Close()); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if complete = integrity.Complete(); !complete && !flags.said {
		fmt.Fprintf(terminal, "%s: %s\n", plain.Text(path), plain.Text(run.IntegrityLine(integrity)))
	}
	return complete, nil
}
