package linuxhost

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// hostFilesName is the first member of a tar of host files, see Writer.
const hostFilesName = "lostbeat-host-files"

func isHostFiles(head []byte) bool { return bytes.HasPrefix(head, []byte(hostFilesName)) }

// MaxHostFile is how much of a host file is kept.
const MaxHostFile = 16 << 20

// errLong is the error of a host file that is longer.
var errLong = fmt.Errorf("it is longer than %d MiB: the rest was not read", MaxHostFile>>20)

// Writer collects the host files of one bundle in a file of the format.
type Writer struct {
	tar *tar.Writer
	n   int
	// counters is how many of them have counters.
	counters int
}

// plainFacts are host files that say something of a host and count nothing.
var plainFacts = lazyregexp.New(
	`(?:^|[/_])(?:date|date_--utc|hostname|hostname_-f|uname|uname_-a|uptime|timedatectl|timedatectl_status|sysctl_-a)$|` +
		`(?:^|/)(?:proc/sys/|etc/machine-id$)`)

// NewWriter returns a writer; bundle is the name of what the files are from.
func NewWriter(w io.Writer, bundle string) (*Writer, error) {
	t := &Writer{tar: tar.NewWriter(w)}
	return t, t.put(hostFilesName, time.Time{}, []byte(bundle))
}

// Add adds a file by its path in the bundle. Of one that cannot be read to its end, what there is is added; unread says
// why.
func (w *Writer) Add(name string, modified time.Time, r io.Reader) (unread, err error) {
	data, unread := io.ReadAll(io.LimitReader(r, MaxHostFile+1))
	if len(data) > MaxHostFile {
		data, unread = data[:MaxHostFile], errLong
	}
	w.n++
	if !plainFacts.MatchString(name) {
		w.counters++
	}
	return unread, w.put(name, modified, data)
}

func (w *Writer) put(name string, modified time.Time, data []byte) error {
	if modified.Year() < 1970 || modified.Year() > 2200 {
		modified = time.Time{}
	}
	err := w.tar.WriteHeader(&tar.Header{
		Name: strings.ReplaceAll(strings.ToValidUTF8(name, "_"), "\x00", "_"), Mode: 0o600, Size: int64(len(data)),
		ModTime: modified, Typeflag: tar.TypeReg,
	})
	if err != nil {
		return err
	}
	_, err = w.tar.Write(data)
	return err
}

// Len is how many files were added.
func (w *Writer) Len() int { return w.n }

// Useful reports whether any of the files has counters.
func (w *Writer) Useful() bool { return w.counters > 0 }

// Close ends the file.
func (w *Writer) Close() error { return w.tar.Close() }

// parser reads a host file; netns is the network namespace that it is of, empty for the host's own.
type parser func(h *hostFiles, name, netns string, text []byte)

// parsers are the host files that are read, by what their paths end in; the first that fits counts.
var parsers = []struct {
	path  *lazyregexp.Regexp
	parse parser
}{
	{lazyregexp.New(`(?:^|/)(?:sos_commands/[^/]+/)?(?:date|date_--utc)$`), (*hostFiles).date},
	{lazyregexp.New(`(?:^|/)(?:hostname|hostname_-f|etc/hostname)$`), (*hostFiles).hostname},
	{lazyregexp.New(`(?:^|/)etc/machine-id$`), (*hostFiles).machineID},
	{lazyregexp.New(`(?:^|/)(?:uname|uname_-a)$`), (*hostFiles).uname},
	{lazyregexp.New(`(?:^|/)uptime$`), (*hostFiles).uptime},
	{lazyregexp.New(`(?:^|/)timedatectl(?:_status)?$`), (*hostFiles).timedatectl},
	{lazyregexp.New(`(?:^|/)proc/net/softnet_stat$`), (*hostFiles).softnet},
	{lazyregexp.New(`(?:^|/)proc[/_]net/(?:snmp|netstat)$`), (*hostFiles).snmp},
	{lazyregexp.New(`(?:^|[/_])nstat_-[zas]+$`), (*hostFiles).nstat},
	{lazyregexp.New(`(?:^|[/_])ip_-s(?:tats)?(?:_-d)?_link$`), (*hostFiles).ipLink},
	{lazyregexp.New(`(?:^|/)proc[/_]net/dev$`), (*hostFiles).dev},
	{lazyregexp.New(`(?:^|[/_])ethtool_-S_[^/]+$`), (*hostFiles).ethtoolCounters},
	{lazyregexp.New(`(?:^|[/_])ethtool_-g_[^/]+$`), (*hostFiles).ethtoolRings},
	{lazyregexp.New(`(?:^|/)proc/softirqs$`), (*hostFiles).softirqs},
	{lazyregexp.New(`(?:^|/)proc/stat$`), (*hostFiles).stat},
	{socketFile, (*hostFiles).ss},
	{lazyregexp.New(`(?:^|/)proc/sys/net/core/(?:netdev_\w+|rmem_\w+|dev_weight)$`), (*hostFiles).sysctlFile},
	{lazyregexp.New(`(?:^|[/_])sysctl_-a$`), (*hostFiles).sysctl},
}

func parserOf(name string) parser {
	for _, p := range parsers {
		if p.path.MatchString(name) {
			return p.parse
		}
	}
	return nil
}

// IsHostFile reports whether a member of a bundle is a host file, by its path there.
func IsHostFile(name string) bool { return parserOf(name) != nil }

// socketFile is the output of ss -m.
var socketFile = lazyregexp.New(`(?:^|[/_])ss_-(?:peaonmi|[a-z]*m[a-z]*)$`)

// HasSockets reports whether a host file is a table of sockets, too, by its path in a bundle.
func HasSockets(name string) bool { return socketFile.MatchString(name) }

// netnsOf takes the network namespace from a path of sos.
var netnsOf = lazyregexp.New(`/namespaces/([^/]+)/`)

// hostFiles are those of one host at one time.
type hostFiles struct {
	set *Set
	// bundle is what the files are from, root the folder in it.
	bundle, root string
	// said is the output of date, zone what says its offset, modified the newest time of a file.
	said     time.Time
	saidZone string
	saidFile time.Time
	utc      time.Time
	zone     *time.Location
	modified time.Time
	name     string
	// machine is the machine's identifier, empty unknown.
	machine string
	kernel  string
	up      time.Duration
	// boot is the time of the boot by /proc/stat, in seconds since 1970, 0 unknown.
	boot    int64
	values  []hostValue
	have    map[series]bool
	facts   [][2]string
	sockets int
}

type hostValue struct {
	of    series
	value float64
}

// readHostFiles reads what a Writer has written.
func (s *Set) readHostFiles(r io.Reader, name string) error {
	hosts, err := s.parseHostFiles(r, name)
	if err != nil {
		s.damaged(name, err)
	}
	result, read := error(nil), 0
	for _, h := range hosts {
		err := h.finish(len(hosts) > 1)
		switch {
		case err == nil:
			read++
		case !errors.Is(err, ErrFormat):
			s.note("%v", err)
		}
		result = cmp.Or(result, err)
	}
	if read == 0 {
		return cmp.Or(result, ErrFormat)
	}
	return nil
}

// parseHostFiles reads host files up to the first that cannot be read: those of each folder by themselves, see RootOf.
func (s *Set) parseHostFiles(r io.Reader, bundle string) ([]*hostFiles, error) {
	var hosts []*hostFiles
	t := tar.NewReader(r)
	for first := true; ; first = false {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			return s.joinRoots(hosts), nil
		}
		if err != nil {
			return s.joinRoots(hosts), err
		}
		text, err := io.ReadAll(io.LimitReader(t, MaxHostFile))
		if err != nil {
			return s.joinRoots(hosts), err
		}
		if first && header.Name == hostFilesName {
			bundle = string(text)
			continue
		}
		parse := parserOf(header.Name)
		if parse == nil {
			continue
		}
		h := s.rooted(&hosts, bundle, RootOf(header.Name))
		if h == nil {
			continue
		}
		netns := ""
		if m := netnsOf.FindStringSubmatch(header.Name); m != nil {
			netns = m[1]
		}
		if header.ModTime.Unix() > 0 && header.ModTime.After(h.modified) {
			h.modified = header.ModTime
		}
		if h.saidFile.IsZero() && path.Base(header.Name) == "date" {
			h.saidFile = header.ModTime
		}
		parse(h, header.Name, netns, text)
	}
}

// add takes a total since the boot, or a level.
func (h *hostFiles) add(name, instance string, cpu int32, mode model.CounterMode, unit string, value float64) {
	of := series{name: name, instance: instance, cpu: cpu, mode: mode, unit: unit}
	if h.have[of] || len(h.values) >= 1<<16 {
		return // the same counter in another file
	}
	h.have[of] = true
	h.values = append(h.values, hostValue{of, value})
}

// finish adds the values of the host at their time; several says that the bundle has more hosts, or times.
func (h *hostFiles) finish(several bool) error {
	if len(h.values) == 0 {
		return ErrFormat
	}
	s := h.set
	at, from := h.time()
	from = h.label(several) + " is of " + at.UTC().Format("2006-01-02 15:04:05") + " UTC (" + from + ")"
	if at.IsZero() {
		return fmt.Errorf("nothing in %s says when it was made", h.label(several))
	}
	name := s.identify(h, several)
	s.host(name)
	if h.kernel != "" {
		s.kernels[name] = h.kernel
	}
	s.note("%s", from)
	if h.up > 0 {
		s.fact(name, "uptime", h.up.String())
	}
	if boot := h.bootTime(at); boot > 0 {
		h.add("host/boot_time", "", -1, model.CounterGauge, "s", float64(boot))
	}
	for _, f := range h.facts {
		s.fact(name, f[0], f[1])
	}
	for _, v := range h.values {
		v.of.host = name
		s.add(model.TimeOf(at), 0, v.of, v.value)
	}
	return nil
}

// bootTime returns when the host was started, in seconds since 1970, 0 unknown.
func (h *hostFiles) bootTime(at time.Time) int64 {
	if h.boot > 0 || h.up <= 0 {
		return h.boot
	}
	return at.Add(-h.up).Unix()
}

// time decides when the bundle was made.
func (h *hostFiles) time() (at time.Time, from string) {
	const near = 2 * time.Minute
	switch {
	case h.said.IsZero():
		return h.modified, "the newest time of its files"
	case h.saidZone == "UTC" || h.saidZone == "GMT" || h.saidZone == "Z":
		h.set.said(h.name, time.UTC)
		return h.said, "the output of date in it"
	case !h.utc.IsZero():
		return h.utc, "the output of date --utc in it"
	}
	local := func(zone *time.Location) time.Time {
		t := h.said
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, zone)
	}
	if h.zone != nil {
		h.set.said(h.name, h.zone)
		return local(h.zone), "the output of date in it, with the zone of timedatectl"
	}
	if h.saidFile.Unix() > 0 {
		// The file was written at that moment: their difference is the zone.
		offset := local(time.UTC).Sub(h.saidFile)
		if off := offset.Round(15 * time.Minute); (offset-off).Abs() < near && off.Abs() <= 14*time.Hour {
			zone := time.FixedZone(h.saidZone, int(off/time.Second))
			h.set.said(h.name, zone)
			return local(zone), "the output of date in it, with the zone by its " +
				"file's time"
		}
	}
	h.set.assume("the zone %q of %s is not known; its time is read as %s (--log-time says it)", h.saidZone, h.bundle,
		h.set.zone)
	return local(h.set.zone), "the output of date in it"
}

// dateLayouts are outputs of date in the locales that put numbers and English words.
var dateLayouts = []string{
	time.UnixDate, "Mon 02 Jan 2006 03:04:05 PM MST", "Mon 02 Jan 2006 15:04:05 MST", "Mon 2 Jan 15:04:05 MST 2006",
	"Mon Jan 2 03:04:05 PM MST 2006", "Mon Jan  2 03:04:05 PM MST 2006", "Mon Jan 2 15:04:05 MST 2006",
	time.RFC1123Z, time.RFC3339, "2006-01-02 15:04:05 MST",
}

func (h *hostFiles) date(name, _ string, text []byte) {
	for line := range bytes.Lines(text) {
		line := strings.Join(strings.Fields(string(line)), " ")
		for _, layout := range dateLayouts {
			t, err := time.ParseInLocation(strings.Join(strings.Fields(layout), " "), line, time.UTC)
			if err != nil || t.Year() < 1990 || t.Year() > 2200 {
				continue
			}
			if strings.HasSuffix(name, "--utc") {
				h.utc = t
				return
			}
			h.said = t
			zone, offset := t.Zone()
			if offset != 0 || zone == "" {
				h.utc = t
			}
			h.saidZone = zone
			return
		}
	}
}

func (h *hostFiles) hostname(_, _ string, text []byte) {
	const longest = 255
	if f := strings.Fields(string(text[:min(len(text), 4<<10)])); len(f) == 1 && h.name == "" && len(f[0]) <= longest {
		h.name = f[0]
	}
}

// machineID reads /etc/machine-id: 32 hexadecimal digits.
func (h *hostFiles) machineID(_, _ string, text []byte) {
	if id := strings.TrimSpace(string(text)); len(id) == 32 && h.machine == "" {
		h.machine = id
	}
}

func (h *hostFiles) uname(_, _ string, text []byte) {
	if f := strings.Fields(string(text)); len(f) >= 3 && f[0] == "Linux" {
		h.kernel = f[2]
		h.name = cmp.Or(h.name, f[1])
	}
}

var upDays = lazyregexp.New(`\bup\s+(?:(\d+) days?,\s*)?(?:(\d+):(\d+)|(\d+) min)`)

func (h *hostFiles) uptime(_, _ string, text []byte) {
	m := upDays.FindSubmatch(text)
	if m == nil {
		return
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(m[i])); return n }
	minutes := number(1)*24*60 + number(2)*60 + number(3) + number(4)
	h.up = time.Duration(minutes) * time.Minute
}

var zoneLine = lazyregexp.New(`(?m)^\s*Time zone:\s*(\S+)\s+\(\S+,\s*([+-]\d{2})(\d{2})\)`)

func (h *hostFiles) timedatectl(_, _ string, text []byte) {
	m := zoneLine.FindSubmatch(text)
	if m == nil {
		return
	}
	hours, _ := strconv.Atoi(string(m[2]))
	minutes, _ := strconv.Atoi(string(m[3]))
	if hours < 0 {
		minutes = -minutes
	}
	h.zone = time.FixedZone(string(m[1]), hours*3600+minutes*60)
}

func (h *hostFiles) total(name, instance string, cpu int32, unit string, value uint64) {
	h.add(name, instance, cpu, model.CounterTotal, unit, float64(value))
}

// softnet reads /proc/net/softnet_stat: a line of hexadecimal numbers for each CPU that is online. The 13th is the
// CPU's number; without it the line's number is taken.
func (h *hostFiles) softnet(_, netns string, text []byte) {
	if netns != "" {
		return // it is the host's as a whole in every namespace
	}
	line := int32(-1)
	for l := range bytes.Lines(text) {
		f := strings.Fields(string(l))
		if len(f) < 3 {
			continue
		}
		line++
		var n [3]uint64
		bad := false
		for i := range n {
			var err error
			n[i], err = strconv.ParseUint(f[i], 16, 32)
			bad = bad || err != nil
		}
		cpu := line
		if len(f) >= 13 {
			v, err := strconv.ParseUint(f[12], 16, 13)
			bad = bad || err != nil
			cpu = int32(v)
		}
		if bad {
			return
		}
		h.total("softnet/processed", "", cpu, "packets", n[0])
		h.total("softnet/dropped", "", cpu, "packets", n[1])
		h.total("softnet/squeezed", "", cpu, "runs", n[2])
	}
}

// udpNames are the counters of UDP, as /proc/net/snmp and nstat name them.
var udpNames = map[string]string{
	"UdpInDatagrams": "udp/received", "UdpInErrors": "udp/errors", "UdpRcvbufErrors": "udp/buffer_errors",
	"UdpNoPorts": "udp/no_port", "Udp6InDatagrams": "udp6/received", "Udp6InErrors": "udp6/errors",
	"Udp6RcvbufErrors": "udp6/buffer_errors", "TcpExtTCPBacklogDrop": "tcp/backlog_drops",
	"TcpExtListenDrops": "tcp/listen_drops",
}

func (h *hostFiles) network(name, netns, value string) {
	known, ok := udpNames[name]
	if !ok {
		return
	}
	if v, err := strconv.ParseUint(value, 10, 64); err == nil {
		h.total(known, netns, -1, "datagrams", v)
	}
}

// snmp reads /proc/net/snmp and /proc/net/netstat: pairs of lines, names and values.
func (h *hostFiles) snmp(_, netns string, text []byte) {
	var names []string
	for l := range bytes.Lines(text) {
		f := strings.Fields(string(l))
		if len(f) < 2 {
			continue
		}
		if names == nil || names[0] != f[0] || len(names) != len(f) {
			names = f
			continue
		}
		for i := 1; i < len(f); i++ {
			h.network(strings.TrimSuffix(f[0], ":")+names[i], netns, f[i])
		}
		names = nil
	}
}

// nstat reads the output of nstat -az. Without -a it prints what is new since its last call: that is no total.
func (h *hostFiles) nstat(name, netns string, text []byte) {
	if !strings.Contains(path.Base(name)[strings.LastIndex(path.Base(name), "-"):], "a") {
		return
	}
	for l := range bytes.Lines(text) {
		if f := strings.Fields(string(l)); len(f) == 3 && f[0][0] != '#' {
			h.network(f[0], netns, f[1])
		}
	}
}

// device names an interface, with its namespace where it has one.
func device(dev, netns string) string {
	if netns == "" {
		return dev
	}
	return netns + "/" + dev
}

// linkLine begins an interface in the output of ip link.
var linkLine = lazyregexp.New(`^\d+:\s+([^:@\s]+)[@:]`)

// ipLink reads the output of ip -s link: names of columns, then the values.
func (h *hostFiles) ipLink(_, netns string, text []byte) {
	dev := ""
	var names []string
	for l := range bytes.Lines(text) {
		if m := linkLine.FindSubmatch(l); m != nil {
			dev, names = string(m[1]), nil
			continue
		}
		f := strings.Fields(string(l))
		if len(f) > 1 && f[0] == "RX:" {
			names = f[1:]
			continue
		}
		if names == nil || dev == "" {
			continue
		}
		for i, n := range names[:min(len(names), len(f))] {
			known := map[string]string{"packets": "rx_packets", "dropped": "rx_dropped", "missed": "rx_missed",
				"errors": "rx_errors"}[n]
			if v, err := strconv.ParseUint(f[i], 10, 64); err == nil && known != "" {
				h.total("device/"+known, device(dev, netns), -1, "packets", v)
			}
		}
		names = nil
	}
}

// dev reads /proc/net/dev. A colon may touch the first number.
func (h *hostFiles) dev(_, netns string, text []byte) {
	for l := range bytes.Lines(text) {
		dev, rest, ok := strings.Cut(string(l), ":")
		f := strings.Fields(rest)
		dev = strings.TrimSpace(dev)
		if !ok || len(f) < 16 || strings.ContainsAny(dev, " |") {
			continue
		}
		for i, n := range []string{"", "rx_packets", "rx_errors", "rx_dropped", "rx_fifo"} {
			if v, err := strconv.ParseUint(f[i], 10, 64); err == nil && n != "" {
				h.total("device/"+n, device(dev, netns), -1, "packets", v)
			}
		}
	}
}

// ringCounters are the names that drivers give to packets for which there was no room.
var ringCounters = lazyregexp.New(
	`^(?:rx_missed(?:_errors)?|rx_no_buffer(?:_count)?|rx_fifo_errors|rx_out_of_buffer|rx_no_dma_resources|` +
		`rx_over_errors|rx_discards(?:_phy)?|rx_dropped\.nic|port\.rx_dropped|pkts_rx_OOB|ring full)$`)

// ethtoolCounters reads the output of ethtool -S: names of the driver's own. Zeros clear nothing and are not kept.
func (h *hostFiles) ethtoolCounters(name, netns string, text []byte) {
	_, dev, _ := strings.Cut(path.Base(name), "ethtool_-S_")
	for l := range bytes.Lines(text) {
		k, v, ok := strings.Cut(string(l), ":")
		k = strings.TrimSpace(k)
		if !ok || !ringCounters.MatchString(k) {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64); err == nil {
			h.total("device/"+k, device(dev, netns), -1, "packets", n)
		}
	}
}

// ethtoolRings reads the output of ethtool -g: the largest and the present sizes.
func (h *hostFiles) ethtoolRings(name, netns string, text []byte) {
	_, dev, _ := strings.Cut(path.Base(name), "ethtool_-g_")
	var sizes []string
	for l := range bytes.Lines(text) {
		if k, v, ok := strings.Cut(string(l), ":"); ok && strings.TrimSpace(k) == "RX" {
			sizes = append(sizes, strings.TrimSpace(v))
		}
	}
	if len(sizes) == 2 {
		h.facts = append(h.facts, [2]string{"rx_ring:" + device(dev, netns), sizes[1] + " of " + sizes[0]})
	}
}

// softirqs reads the runs of NET_RX of each CPU from /proc/softirqs.
func (h *hostFiles) softirqs(_, _ string, text []byte) {
	var cpus []int32
	for l := range bytes.Lines(text) {
		f := strings.Fields(string(l))
		switch {
		case len(f) == 0:
		case strings.HasPrefix(f[0], "CPU"):
			for _, c := range f {
				n, err := strconv.ParseUint(strings.TrimPrefix(c, "CPU"), 10, 13)
				if err != nil {
					return
				}
				cpus = append(cpus, int32(n))
			}
		case f[0] == "NET_RX:" && len(f) == len(cpus)+1:
			for i, c := range cpus {
				if v, err := strconv.ParseUint(f[i+1], 10, 64); err == nil {
					h.total("softirq/NET_RX", "", c, "runs", v)
				}
			}
		}
	}
}

// stat reads the times of each CPU from /proc/stat, in ticks of 10 ms, and the time of the boot.
func (h *hostFiles) stat(_, _ string, text []byte) {
	for l := range bytes.Lines(text) {
		f := strings.Fields(string(l))
		if len(f) == 2 && f[0] == "btime" {
			if boot, err := strconv.ParseInt(f[1], 10, 40); err == nil && boot > 0 {
				h.boot = boot
			}
		}
		if len(f) < 8 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			continue
		}
		cpu, err := strconv.ParseUint(f[0][3:], 10, 13)
		if err != nil {
			continue
		}
		for i, n := range []string{6: "cpu/irq", 7: "cpu/softirq", 8: "cpu/steal"} {
			if n == "" || i >= len(f) {
				continue
			}
			if v, err := strconv.ParseUint(f[i], 10, 64); err == nil {
				h.add(n, "", int32(cpu), model.CounterTotal, "s", float64(v)/100)
			}
		}
	}
}

var (
	// skmem is the memory of a socket in the output of ss -m.
	skmem   = lazyregexp.New(`skmem:\(r(\d+),rb(\d+),[^)]*?d(\d+)\)`)
	ssOwner = lazyregexp.New(`users:\(\("([^"]*)",pid=(\d+)`)
)

// socketDrops is what the sockets of one address and process lost together: with SO_REUSEPORT there are several.
type socketDrops struct{ dropped, queued, size uint64 }

// mostSockets is how many sockets are kept of a host.
const mostSockets = 256

// ss reads sockets with their drops from the output of ss -m: a row, and its memory behind it or on the next line.
func (h *hostFiles) ss(_, netns string, text []byte) {
	const most = 4096
	var order []string
	found := map[string]*socketDrops{}
	row := ""
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, len(text)+1) // a line may be all of it
	for in.Scan() {
		line := in.Text()
		if len(line) > 0 && line[0] != ' ' && line[0] != '\t' {
			row = line
		}
		m := skmem.FindStringSubmatch(line)
		f := strings.Fields(row)
		if m == nil || len(f) < 6 || (f[0] != "udp" && f[0] != "tcp") {
			continue
		}
		queued, _ := strconv.ParseUint(m[1], 10, 64)
		size, _ := strconv.ParseUint(m[2], 10, 64)
		drops, _ := strconv.ParseUint(m[3], 10, 64)
		if drops == 0 || f[0] != "udp" {
			continue
		}
		instance := "UDP " + f[4]
		if netns != "" {
			instance += " in namespace " + netns
		}
		if o := ssOwner.FindStringSubmatch(row); o != nil {
			instance += " of " + o[1] + " (" + o[2] + ")"
		}
		d := found[instance]
		if d == nil {
			if len(order) >= most {
				continue
			}
			d = &socketDrops{}
			found[instance] = d
			order = append(order, instance)
		}
		d.dropped, d.queued, d.size = d.dropped+drops, d.queued+queued, d.size+size
	}
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(found[b].dropped, found[a].dropped) })
	for _, instance := range order {
		if h.sockets++; h.sockets > mostSockets {
			return
		}
		d := found[instance]
		h.total("socket/dropped", instance, -1, "datagrams", d.dropped)
		h.add("socket/queued_bytes", instance, -1, model.CounterGauge, "bytes", float64(d.queued))
		h.add("socket/buffer_bytes", instance, -1, model.CounterGauge, "bytes", float64(d.size))
	}
}

func (h *hostFiles) sysctlFile(name, _ string, text []byte) {
	h.setting("net.core."+path.Base(name), string(text))
}

// settings are the sysctls that findings name.
var settings = []string{
	"net.core.netdev_max_backlog", "net.core.netdev_budget", "net.core.netdev_budget_usecs", "net.core.rmem_max",
	"net.core.rmem_default", "net.core.dev_weight",
}

func (h *hostFiles) sysctl(_, netns string, text []byte) {
	if netns != "" {
		return
	}
	for l := range bytes.Lines(text) {
		if k, v, ok := strings.Cut(string(l), "="); ok {
			h.setting(strings.TrimSpace(k), v)
		}
	}
}

func (h *hostFiles) setting(name, value string) {
	value = strings.TrimSpace(value)
	if _, err := strconv.ParseUint(value, 10, 64); err == nil && slices.Contains(settings, name) {
		if f := [2]string{name, value}; !slices.Contains(h.facts, f) {
			h.facts = append(h.facts, f)
		}
	}
}
