package run

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"lostbeat/detect/twohosts"
	"lostbeat/ebpf"
	"lostbeat/etw"
	"lostbeat/etw/etl"
	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/model/budget"
	"lostbeat/probes"
	"lostbeat/probes/heartbeat"
	"lostbeat/record"
	"lostbeat/source"
	"lostbeat/source/applog"
	"lostbeat/source/dpcreport"
	"lostbeat/source/eventlog"
	"lostbeat/source/linuxhost"
	"lostbeat/source/pcap"
	"lostbeat/source/perfmon"
	"lostbeat/source/snapshot"
)

// Formats are the kinds of files that can be opened, a line each. The first
// that recognises a file opens it.
var Formats = []source.Format{
	record.Recordings(),
	record.Text(),
	perfmon.Logs(), // before etl: a .blg is an event trace log too
	etl.Format(probes.ETW),
	pcap.Captures(),
	eventlog.Logs(),
	linuxhost.Counters(),
	dpcreport.Reports(),
	snapshot.Tables(),
	// Every text with times fits the last.
	applog.Logs(),
}

// LogFormat is the name of the format of text logs.
const LogFormat = applog.FormatName

// PacketRoom is how many packets of followed flows are kept of all recordings that are joined.
const PacketRoom = twohosts.Room

// IsRecording reports whether a format is that of lostbeat's own recordings, or their text.
func IsRecording(f source.Format) bool {
	return f.Name == record.Recordings().Name || f.Name == record.Text().Name
}

// HasPackets reports whether files of a format may have the packets of flows.
func HasPackets(f source.Format) bool {
	return IsRecording(f) || f.Name == pcap.FormatName || f.Name == etl.FormatName
}

// CounterFormat is the name of the format of performance logs.
const CounterFormat = "perfmon"

// sniffBytes is how much of a file a format is shown.
const sniffBytes = 128 << 10

// FormatOf returns the format of the file, the directory of recordings or the
// name of a recording with rotated files at path.
func FormatOf(path string) (source.Format, error) {
	f, err := os.Open(path)
	if err != nil {
		return claimed(path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return claimed(path, hint.New(
			path+" is a directory in which there is nothing to open",
			"give the directory with the captures, or name the files",
		))
	}
	head := make([]byte, sniffBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return source.Format{}, fmt.Errorf("read %s: %w", path, err)
	}
	if n == 0 {
		return source.Format{}, hint.New(path+" is empty", "nothing was written to it, or the copy failed: copy it again")
	}
	if format, ok := formatOf(head[:n]); ok {
		return format, nil
	}
	if _, err := etw.ParseRPCInternet(bytes.NewReader(head[:n])); err == nil {
		return source.Format{}, hint.New(
			path+" is the configuration of RPC ports from the registry, not a capture",
			"give it with --rpc-ports: lostbeat findings --rpc-ports "+path+" netstat.txt (or a trace)",
		)
	}
	return source.Format{}, hint.New(
		path+" is neither a lostbeat recording nor a Windows capture, and no log whose lines have times",
		"lostbeat opens its own recordings, Windows traces (.etl), captures of packets (.pcap, .pcapng), performance "+
			"logs (.blg, .csv, .tsv), tables of sockets (netstat, ss, Get-NetUDPEndpoint), event logs (.evtx, wevtutil), "+
			"sar, text logs, and archives of these (sosreport, .zip, .tar.xz)",
	)
}

// claimed returns the format that claims a path which is no file, or err.
func claimed(path string, err error) (source.Format, error) {
	for _, format := range Formats {
		if format.Claims != nil && format.Claims(path) {
			return format, nil
		}
	}
	return source.Format{}, err
}

// OpenOptions are how a capture is opened.
type OpenOptions struct {
	source.OpenOptions
	// Pools are ranges of ports to judge as pools.
	Pools []ebpf.Pool
	// RPCPorts is how the captured Windows host gives ports to RPC, nil where it is not known.
	RPCPorts *etw.RPCInternet
	// Logs are those that belong to the capture.
	Logs []applog.Followed
	// Unpacked says what the files are called that are members of bundles; nil without any.
	Unpacked *Unpacked
}

// Capture is an opened file.
type Capture struct {
	source.File
	// Format is what kind of file it is.
	Format source.Format
	// Path is its name for people, Paths and Options are those that it was opened with.
	Path    string
	Paths   []string
	Options OpenOptions
	// Packets is how many packets of followed flows Findings keeps for Together; 0 none.
	Packets int
	// implausible is how many events the last whole run left out.
	implausible uint64
	// lacking is what a slice says of the whole that could not be read, empty where there is no such thing.
	lacking string
}

// Open opens a file of any format.
func Open(path string, o OpenOptions) (*Capture, error) {
	if err := o.Unpacked.failure(path); err != nil {
		return nil, err
	}
	format, err := FormatOf(path)
	if err != nil {
		return nil, err
	}
	boundReading(cmp.Or(o.Memory, budget.Default))
	if o.Follow == nil {
		o.Follow = heartbeat.FollowCaptured(nil)
	}
	o.Host = o.Unpacked.apart([]string{path})
	file, err := format.Open(path, o.OpenOptions)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Unpacked.Name(path), err)
	}
	with, err := openBeside(file, o.Logs)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return capture(with, format, []string{path}, o), nil
}

func capture(file source.File, format source.Format, paths []string, o OpenOptions) *Capture {
	path := o.Unpacked.Name(paths[0])
	if len(paths) > 1 {
		path = fmt.Sprintf("%s and %d more", path, len(paths)-1)
	}
	if len(o.Pools) > 0 || o.RPCPorts != nil {
		file = &pooled{file, o.Pools, o.RPCPorts}
	}
	return &Capture{File: file, Format: format, Path: path, Paths: paths, Options: o}
}

// Groups divides paths into those that are opened together, in the order of the
// first of each: files of a format that makes one source of several. Tables of sockets in bundles
// are opened with those of the same host; those that are files of their own belong to the bundle's where there is one.
func Groups(u *Unpacked, paths []string) (groups [][]string) {
	only := u.onlyHost()
	together := map[string]int{}
	for _, path := range paths {
		format, err := FormatOf(path)
		if err == nil && u.failure(path) == nil && format.OpenAll != nil {
			key := format.Name
			if format.Name == snapshot.FormatName {
				key += " " + cmp.Or(u.hostOf(path), only)
			}
			if i, ok := together[key]; ok {
				groups[i] = append(groups[i], path)
				continue
			}
			together[key] = len(groups)
		}
		groups = append(groups, []string{path})
	}
	return groups
}

// hostOf says whose a table of sockets in a bundle is, empty for a file of its own.
func (u *Unpacked) hostOf(path string) string {
	if u == nil {
		return ""
	}
	return u.hosts[path]
}

// apart returns whose a group is, empty where all tables are of one host.
func (u *Unpacked) apart(paths []string) string {
	if u.onlyHost() != "" {
		return ""
	}
	return u.hostOf(paths[0])
}

// onlyHost is the host of all tables in bundles, empty where there are several or none.
func (u *Unpacked) onlyHost() (only string) {
	if u == nil {
		return ""
	}
	for _, host := range u.hosts {
		if only != "" && host != only {
			return ""
		}
		only = host
	}
	return only
}

// OpenAll opens a group of files as one, see Groups.
func OpenAll(paths []string, o OpenOptions) (*Capture, error) {
	if len(paths) == 1 {
		return Open(paths[0], o)
	}
	format, err := FormatOf(paths[0])
	if err != nil {
		return nil, err
	}
	boundReading(cmp.Or(o.Memory, budget.Default))
	o.Host = o.Unpacked.apart(paths)
	file, err := format.OpenAll(paths, o.OpenOptions)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Unpacked.Name(paths[0]), err)
	}
	with, err := openBeside(file, o.Logs)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return capture(with, format, paths, o), nil
}

// Run implements source.Source.
func (c *Capture) Run(ctx context.Context, emit source.Emit) error {
	left, err := source.Plausible(func(emit source.Emit) error { return c.File.Run(ctx, emit) },
		func(b *model.Batch) error {
			for i := range b.Events {
				if v, ok := b.Meta(&b.Events[i]); ok && v.Key == MetaCutIncomplete {
					c.lacking = v.Value
				}
			}
			return emit(b)
		})
	c.implausible = left
	return err
}

// RunFrom implements source.Seekable.
func (c *Capture) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	_, err := source.Plausible(func(emit source.Emit) error { return c.File.RunFrom(ctx, t, emit) }, emit)
	return err
}

// Span implements source.Seekable.
func (c *Capture) Span() (start, end model.Time) {
	start, end = c.File.Span()
	start = source.PlausibleTime(start)
	return start, max(start, source.PlausibleTime(end))
}

// Outside says which logs beside the capture say nothing of its time, a sentence each.
func (c *Capture) Outside() []string {
	if l, ok := c.File.(*besideLogs); ok {
		return l.Outside()
	}
	return nil
}

// pooled is a capture to which the user has added port pools.
type pooled struct {
	source.File
	pools []ebpf.Pool
	rpc   *etw.RPCInternet
}

// Run implements source.Source.
func (p *pooled) Run(ctx context.Context, emit source.Emit) error {
	return p.File.Run(ctx, p.afterFirst(emit))
}

// RunFrom implements source.Seekable.
func (p *pooled) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	return p.File.RunFrom(ctx, t, p.afterFirst(emit))
}

// afterFirst emits the pools behind the events of the first moment, which may be a keyframe that replaces all
// state. The first batch may hold minutes of a capture.
func (p *pooled) afterFirst(emit source.Emit) source.Emit {
	first := true
	return func(b *model.Batch) error {
		if len(b.Events) == 0 || !first {
			return emit(b)
		}
		first = false
		at := b.Events[0].Time
		n := sort.Search(len(b.Events), func(i int) bool { return b.Events[i].Time > at })
		begin, rest := *b, *b
		begin.Events, rest.Events = b.Events[:n], b.Events[n:]
		if err := emit(&begin); err != nil {
			return err
		}
		var add model.Builder
		for _, pool := range p.pools {
			add.AddPortPool(
				model.PortPool{
					Time:     at,
					Protocol: pool.Protocol,
					Low:      pool.Low,
					High:     pool.High,
					Size:     uint64(pool.High-pool.Low) + 1,
					Source:   model.PoolConfigured,
					Name:     pool.Name,
				},
			)
		}
		if p.rpc != nil {
			if err := p.rpc.AddTo(&add, at, true); err != nil {
				add.AddProbe(model.Probe{
					Time: at, Name: "port", Part: "RPC ports", State: model.ProbeDegraded, Reason: err.Error(),
				})
			}
		}
		if err := emit(add.Take()); err != nil || len(rest.Events) == 0 {
			return err
		}
		return emit(&rest)
	}
}
