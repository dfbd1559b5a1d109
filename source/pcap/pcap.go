package pcap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"lostbeat/internal/frame"
	"lostbeat/internal/hint"
	"lostbeat/model"
	"lostbeat/source"
	"lostbeat/source/wire"
)

// FormatName is the name of the format.
const FormatName = "pcap"

// Captures is the format of captures of packets.
func Captures() source.Format {
	return source.Format{
		Name:           FormatName,
		Sniff:          Detect,
		BytesPerSecond: 256 << 20,
		OwnProgress:    true,
		Open:           func(path string, o source.OpenOptions) (source.File, error) { return Open(path, o) },
	}
}

// File is a capture of packets. It implements [source.Seekable] and [source.Verified].
type File struct {
	r       io.ReaderAt
	close   io.Closer
	size    int64
	name    string
	options source.OpenOptions
	info    Info
	view    *viewpoint
	verdict source.Integrity
}

// Info is what a capture holds.
type Info struct {
	// Kind is "pcap" or "pcapng".
	Kind string `json:"kind"`
	// Interfaces are those of the file.
	Interfaces []Interface `json:"interfaces"`
	// Packets are all packets, IP those of them with IP, Bytes what they had on the wire.
	Packets uint64 `json:"packets"`
	IP      uint64 `json:"ip"`
	Bytes   uint64 `json:"bytes"`
	// Cut is how many were cut, Limit the most that was kept of one that was; 0 none.
	Cut   uint64 `json:"cut"`
	Limit int    `json:"limit"`
	// Fragments are parts of packets.
	Fragments uint64 `json:"fragments"`
	// Timeless are packets without a time, Unread those of a link that is not read.
	Timeless uint64 `json:"timeless"`
	Unread   uint64 `json:"unread"`
	// Dropped is what the capture itself says it has dropped.
	Dropped uint64 `json:"dropped"`
	// Host says which host the packets were captured on, empty where that is not known.
	Host string `json:"captured_on"`
	// Start and End are the times of the first and the last packet.
	Start, End model.Time `json:"-"`
}

// Interface is an interface of a capture.
type Interface struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Link        string `json:"link"`
	Filter      string `json:"filter,omitempty"`
	OS          string `json:"os,omitempty"`
	SnapLength  uint32 `json:"snap_length"`
	Packets     uint64 `json:"packets"`
}

// Open opens a capture and reads it once.
func Open(path string, o source.OpenOptions) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	info, err := file.Stat()
	if err == nil {
		var f *File
		if f, err = New(file, info.Size(), path, o); err == nil {
			f.close = file
			return f, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("open capture %s: %w", path, err), file.Close())
}

// New reads a capture of the given size.
func New(r io.ReaderAt, size int64, name string, o source.OpenOptions) (*File, error) {
	var head [12]byte
	n, _ := r.ReadAt(head[:], 0)
	if n < 4 {
		return nil, errors.New("the file is empty")
	}
	if what, ok := foreignMagic(head[:n]); ok {
		return nil, hint.New(what+" is not read", "convert it: editcap -F pcapng FILE FILE.pcapng (Wireshark)")
	}
	f := &File{r: r, size: size, name: name, options: o, view: newViewpoint()}
	if err := f.survey(); err != nil {
		return nil, err
	}
	return f, nil
}

// Close implements io.Closer.
func (f *File) Close() error {
	if f.close == nil {
		return nil
	}
	return f.close.Close()
}

// Info says what the capture holds.
func (f *File) Info() Info { return f.info }

// Notes says what is to be known of it, a sentence each.
func (f *File) Notes() []string { return f.info.Notes() }

// Span implements source.Seekable.
func (f *File) Span() (start, end model.Time) { return f.info.Start, f.info.End }

// Integrity implements source.Verified.
func (f *File) Integrity() source.Integrity { return f.verdict }

// survey reads the file once.
func (f *File) survey() error {
	v := &f.verdict
	v.Unit = "packet"
	r, err := openPackets(f.r, f.size, func(d damage) { v.Add(d.what, d.bytes) })
	if err != nil {
		return err
	}
	info := &f.info
	var c captured
	var p frame.Packet
	counts := make([]uint64, maxIfaces)
	for {
		err := r.next(&c)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		info.Packets++
		info.Bytes += uint64(c.length)
		counts[c.iface]++
		if len(c.data) < c.length {
			info.Cut++
			info.Limit = max(info.Limit, len(c.data))
		}
		if c.link.String() == "" {
			info.Unread++
			continue
		}
		if c.at == 0 {
			info.Timeless++
			continue
		}
		if c.decode(&p) {
			info.IP++
		}
		if p.Fragment {
			info.Fragments++
		}
		f.view.add(&p, c.length)
		if info.Start == 0 || c.at < info.Start {
			info.Start = c.at
		}
		info.End = max(info.End, c.at)
	}
	f.view.settle()
	switch r := r.(type) {
	case *classic:
		info.Kind = "pcap"
		info.Interfaces = []Interface{{
			Link: linkName(frame.Link(r.r.LinkType())), SnapLength: r.order.Uint32(r.head[16:]), Packets: counts[0],
		}}
	case *sections:
		info.Kind = "pcapng"
		for i, n := range r.ifaces {
			info.Interfaces = append(info.Interfaces, Interface{
				n.Name, n.Description, linkName(n.Link), n.Filter, n.OS, n.SnapLength, counts[i],
			})
		}
		for _, n := range r.blocks.lost {
			info.Dropped += n
		}
		info.Packets += r.blocks.simple
		info.Timeless += r.blocks.simple
	}
	switch {
	case f.view.hasMAC:
		info.Host = net.HardwareAddr(f.view.mac[:]).String()
	case f.view.ip.IsValid():
		info.Host = f.view.ip.String()
	case f.view.said > 0:
		info.Host = "the file says of each packet whether it was sent"
	}
	v.Read = info.Packets
	v.Bytes = min(v.Bytes, f.size)
	return nil
}

func linkName(l frame.Link) string { return cmp.Or(l.String(), fmt.Sprintf("link type %d", l)) }

// Notes says what is to be known of the capture, a sentence each.
func (i *Info) Notes() (notes []string) {
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	switch {
	case i.Packets == 0:
		add("the capture holds no packets: a filter let none pass, or it was stopped at once")
	case i.IP == 0:
		add("no packet of the capture has IP")
	}
	if i.Host == "" && i.IP > 0 {
		add("on which host the packets were captured cannot be told from them: each is taken as received by its destination")
	}
	if i.Dropped > 0 {
		add("the capture itself dropped %d packets, at times that are not known: a gap may be one of the capture", i.Dropped)
	}
	if i.Cut > 0 {
		add("%d of %d packets were cut after %d bytes", i.Cut, i.Packets, i.Limit)
	}
	if i.Timeless > 0 {
		add("%d packets have no time that can be, and were left out", i.Timeless)
	}
	if i.Unread > 0 {
		add("%d packets are of a link type that lostbeat does not read", i.Unread)
	}
	var filters []string
	for _, n := range i.Interfaces {
		if n.Filter != "" && !slices.Contains(filters, n.Filter) && len(filters) < 8 {
			filters = append(filters, n.Filter)
		}
	}
	if len(filters) > 0 {
		add("a filter was set, and only packets that match it were captured: %s", strings.Join(filters, "; "))
	}
	return notes
}

// Run implements source.Source.
func (f *File) Run(ctx context.Context, emit source.Emit) error { return f.run(ctx, 0, emit) }

// RunFrom implements source.Seekable. What holds before t are the flows that are followed: the file is read from its
// beginning.
func (f *File) RunFrom(ctx context.Context, t model.Time, emit source.Emit) error {
	return f.run(ctx, t, emit)
}

const (
	// batchEvents is the size of a batch; events are put in order within it.
	batchEvents = 4096
	// progressBytes is how much is read between two reports.
	progressBytes = 8 << 20
)

func (f *File) run(ctx context.Context, from model.Time, emit source.Emit) error {
	r, err := openPackets(f.r, f.size, func(damage) {})
	if err != nil {
		return err
	}
	if from <= f.info.Start {
		from = 0
	}
	seek := source.NewSeek(from, emit)
	var out model.Builder
	flush := func() error {
		out.SortByTime()
		if b := out.Take(); b != nil {
			return seek.Emit(b)
		}
		return nil
	}
	f.introduce(&out)
	flows := wire.NewFlows(f.options.Follow)
	var c captured
	var p frame.Packet
	var reported int64
	for n := 0; ; n++ {
		if n&0xfff == 0 {
			if ctx.Err() != nil {
				return nil
			}
			if at := r.offset(); f.options.Progress != nil && at-reported >= progressBytes {
				reported = at
				f.options.Progress(at, f.size)
			}
		}
		err := r.next(&c)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if c.at == 0 || c.link.String() == "" {
			continue
		}
		c.decode(&p)
		f.view.direct(&p)
		flows.Add(&out, c.at, &p, -1)
		if out.Len() >= batchEvents {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	f.finish(&out)
	if err := flush(); err != nil {
		return err
	}
	if seek.Late > 0 {
		out.AddLoss(model.Loss{
			Time: max(f.info.End, seek.Newest), CPU: -1, Lost: seek.Late, Origin: model.OriginLate,
			Detail: "packets that came too late in the file to be put in order",
		})
		if err := flush(); err != nil {
			return err
		}
	}
	if f.options.Progress != nil {
		f.options.Progress(f.size, f.size)
	}
	return seek.End()
}

// introduce adds the events with which the stream describes itself.
func (f *File) introduce(out *model.Builder) {
	at := f.info.Start
	meta := func(key, value string) { out.AddMeta(model.Meta{Time: at, Key: key, Value: value}) }
	meta("source", FormatName)
	meta("file", f.name)
	meta("start_wall", at.String())
	if f.info.Host != "" {
		meta(model.MetaCapturedOn, f.info.Host)
	}
	for i, note := range f.info.Notes() {
		meta(fmt.Sprint(model.MetaNote, i+1), note)
	}
	out.AddClock(model.Clock{Time: at, Wall: at})
	status := model.Probe{Time: at, Name: "capture", Part: "packets", State: model.ProbeOn}
	if f.info.Dropped > 0 {
		status.State = model.ProbeDegraded
		status.Reason = fmt.Sprintf("the capture itself dropped %d packets", f.info.Dropped)
		status.Hint = "capture with a larger buffer (tcpdump -B 65536), a filter, or fewer bytes of each packet (-s 256)"
	}
	out.AddProbe(status)
	for _, name := range []string{"deferred", "interrupt", "drop", "port"} {
		out.AddProbe(model.Probe{
			Time: at, Name: name, State: model.ProbeOff, Reason: "a capture of packets shows what was on the wire only",
			Hint: "record on the host with lostbeat, and give both files to lostbeat findings",
		})
	}
}

// finish adds what is known at the end: damage, as a loss.
func (f *File) finish(out *model.Builder) {
	for _, what := range f.verdict.Damage {
		out.AddLoss(model.Loss{
			Time: f.info.End, Dur: f.info.End.Sub(f.info.Start), CPU: -1, Lost: 1, Origin: model.OriginFile, Detail: what,
		})
	}
}
