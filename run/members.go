package run

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/internal/words"
	"lostbeat/record"
	"lostbeat/source"
	"lostbeat/source/bundle"
	"lostbeat/source/linuxhost"
	"lostbeat/source/snapshot"
)

// unpacking is one bundle that is being unpacked.
type unpacking struct {
	*Unpacked
	b *Bundle
	// hostFiles are collected in a file, hostPath.
	hostFiles *linuxhost.Writer
	hostFile  *os.File
	members   []unpackedMember
	// taken are the names of members that are read, links those of hard links with their targets.
	taken map[string]bool
	links [][2]string
}

// unpackedMember is a member that can be opened.
type unpackedMember struct{ path, name, format string }

// link remembers a hard link in an archive.
func (p *unpacking) link(name, target string) {
	const most = 10_000
	if len(p.links) < most {
		p.links = append(p.links, [2]string{name, target})
	}
}

// reportLinks says which hard links would have been read, and were not, because the target has a name that says
// nothing.
func (p *unpacking) reportLinks() {
	for _, m := range p.members {
		p.taken[m.name] = true
	}
	for _, l := range p.links {
		name, target := l[0], l[1]
		switch {
		case p.taken[target]:
		case linuxhost.IsHostFile(name):
			p.unread(name, fmt.Errorf("it is a hard link to %s, which is not read under that name", target))
		default:
			p.b.leave(name, "a hard link to "+target)
		}
	}
}

// linuxBundle is the path of a member of a sosreport or supportconfig, linuxUseful one that may be opened there, and
// linuxLogs one that may be read as a log.
var (
	linuxBundle = lazyregexp.New(`(?:^|/)(?:sosreport-|scc_|nts_)[^/]*/|(?:^|/)sos_commands/`)
	linuxUseful = lazyregexp.New(`(?:^|/)(?:var/log/|sos_commands/(?:logs|networking|sar|pacemaker|corosync|cluster|` +
		`process|crm)/|sar/|proc/net/[^/]+$)|^[^/]+/[^/]+$|\.(?:pcap(?:ng)?|cap|etl)\d*$`)
	linuxLogs = lazyregexp.New(`(?:^|/)(?:var/log/|sos_commands/(?:logs|pacemaker|corosync|cluster|crm)/)`)
	// portRangeFile is the setting of the range of ephemeral ports: two numbers without a name.
	portRangeFile = lazyregexp.New(`(?:^|/)proc/sys/net/ipv4/ip_local_port_range$`)
)

// member looks at one file; at is its path where it is a file already, empty in an archive.
func (p *unpacking) member(ctx context.Context, m bundle.Member, r io.Reader, at string) error {
	linux := linuxBundle.MatchString(m.Name)
	switch {
	case linuxhost.IsHostFile(m.Name) && (linux || !strings.Contains(m.Name, "/proc/sys/")):
		if linuxhost.HasSockets(m.Name) {
			return p.addSockets(m, r, at)
		}
		return p.addHostFile(m, r)
	case linux && portRangeFile.MatchString(m.Name):
		text, err := io.ReadAll(io.LimitReader(r, 64))
		if err != nil {
			return nil
		}
		return p.keep(m, "sysctl.txt", snapshot.FormatName,
			strings.NewReader("net.ipv4.ip_local_port_range = "+strings.TrimSpace(string(text))+"\n"))
	case linux && !linuxUseful.MatchString(m.Name):
		p.b.leave(m.Name, "")
		return nil
	}
	b := bufio.NewReaderSize(r, sniffBytes)
	head, err := b.Peek(sniffBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		if len(head) == 0 {
			p.unread(m.Name, err)
			return nil
		}
	}
	if linux && linuxhost.IsSections(head) {
		return p.sections(m, b)
	}
	if at != "" && bundle.Detect(head) && !record.IsRecording(head) {
		return p.inner(ctx, m, at)
	}
	format, ok := formatOf(head)
	switch {
	case !ok:
		p.b.leave(m.Name, "")
		return nil
	case linux && format.Name == LogFormat && !linuxLogs.MatchString(m.Name):
		p.b.leave(m.Name, "")
		return nil
	case linux && format.Name == snapshot.FormatName && strings.Contains(m.Name, "/namespaces/"):
		p.b.leave(m.Name, "sockets of another network namespace are not judged")
		return nil
	}
	if at != "" {
		p.members = append(p.members, unpackedMember{at, m.Name, format.Name})
		return nil
	}
	return p.keep(m, path.Base(m.Name), format.Name, b)
}

// inner unpacks an archive that is a file of a folder.
func (p *unpacking) inner(ctx context.Context, m bundle.Member, at string) error {
	report, err := bundle.Walk(ctx, at, p.dir, bundle.Limits{
		Plain: record.IsRecording,
		Link:  func(name, target string) { p.link(path.Join(m.Name, name), path.Join(m.Name, target)) },
	},
		func(inner bundle.Member, r io.Reader) error {
			inner.Name = path.Join(m.Name, inner.Name)
			p.b.Members++
			return p.member(ctx, inner, r, "")
		})
	p.b.Damage = append(p.b.Damage, report.Damage...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.b.Damage = append(p.b.Damage, fmt.Sprintf("%s: %v", m.Name, err))
	}
	return nil
}

// formatOf returns the format of a file that begins with head.
func formatOf(head []byte) (source.Format, bool) {
	for _, format := range Formats {
		if format.Sniff(head) {
			return format, true
		}
	}
	return source.Format{}, false
}

// unsafeName are the characters that the name of a file does without that is made from a member's.
var unsafeName = lazyregexp.New(`[^A-Za-z0-9._-]+`)

// safeName returns a name that can be that of a file on every system.
func safeName(name string) string {
	const longest = 120
	name = strings.TrimLeft(unsafeName.ReplaceAllString(name, "_"), ".")
	return cmp.Or(name[max(0, len(name)-longest):], "member")
}

// keep writes a member into a file. Only the last part of its name becomes that of the file: formats find times in it.
func (p *unpacking) keep(m bundle.Member, base, format string, r io.Reader) error {
	base = safeName(base)
	p.count++
	dir := filepath.Join(p.dir, strconv.Itoa(p.count))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	at := filepath.Join(dir, base)
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	var full *fs.PathError
	if closed := f.Close(); closed != nil || errors.As(err, &full) { // the disk
		return fmt.Errorf("keep %s: %w", m.Name, cmp.Or(err, closed))
	}
	if err != nil {
		p.unread(m.Name, err)
		if n == 0 {
			return nil
		}
	}
	if !m.Modified.IsZero() {
		if err := os.Chtimes(at, m.Modified, m.Modified); err != nil {
			return err
		}
	}
	p.members = append(p.members, unpackedMember{at, m.Name, format})
	return nil
}

// addHostFile takes a host file.
func (p *unpacking) addHostFile(m bundle.Member, r io.Reader) error {
	if p.hostFiles == nil {
		p.count++
		f, err := os.Create(filepath.Join(p.dir, fmt.Sprintf("%d.hostfiles", p.count)))
		if err != nil {
			return err
		}
		p.hostFile = f
		if p.hostFiles, err = linuxhost.NewWriter(f, filepath.Base(p.b.Path)); err != nil {
			return err
		}
	}
	p.taken[m.Name] = true
	unread, err := p.hostFiles.Add(m.Name, m.Modified, r)
	if unread != nil {
		p.unread(m.Name, unread)
	}
	return err
}

// addSockets takes a host file that is a table of sockets, too; at is its path where it is a file already.
func (p *unpacking) addSockets(m bundle.Member, r io.Reader, at string) error {
	n := len(p.members)
	if at == "" {
		if err := p.keep(m, path.Base(m.Name), snapshot.FormatName, r); err != nil || len(p.members) == n {
			return err
		}
		at = p.members[n].path
		p.members = p.members[:n]
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, sniffBytes)
	size, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		p.unread(m.Name, err)
		return nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := p.addHostFile(m, f); err != nil {
		return err
	}
	switch format, ok := formatOf(head[:size]); {
	case !ok || format.Name != snapshot.FormatName:
	case strings.Contains(m.Name, "/namespaces/"):
		p.b.leave(m.Name, "sockets of another network namespace are not judged")
	default:
		p.members = append(p.members, unpackedMember{at, m.Name, format.Name})
	}
	return nil
}

// unread notes that a member could not be read to its end.
func (p *unpacking) unread(name string, err error) {
	p.b.Damage = append(p.b.Damage, fmt.Sprintf("%s: %v", name, err))
}

func (p *unpacking) closeHostFiles() error {
	if p.hostFiles == nil {
		return nil
	}
	p.b.HostFiles = p.hostFiles.Len()
	if err := errors.Join(p.hostFiles.Close(), p.hostFile.Close()); err != nil {
		return err
	}
	if !p.hostFiles.Useful() {
		p.b.HostFiles = 0
		return nil
	}
	p.members = append(p.members, unpackedMember{
		p.hostFile.Name(), words.Plural(p.b.HostFiles, "file") + " of the host's counters", linuxhost.FormatName,
	})
	return nil
}

// sections takes the outputs of commands in a file of a supportconfig apart.
func (p *unpacking) sections(m bundle.Member, r io.Reader) error {
	return linuxhost.Sections(r, func(command string, text io.Reader) error {
		inner := bundle.Member{Name: m.Name + "/" + command, Modified: m.Modified}
		if linuxhost.HasSockets(inner.Name) {
			return p.addSockets(inner, text, "")
		}
		if linuxhost.IsHostFile(inner.Name) {
			return p.addHostFile(inner, text)
		}
		b := bufio.NewReaderSize(text, sniffBytes)
		head, err := b.Peek(sniffBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		switch format, ok := formatOf(head); {
		case ok && format.Name == snapshot.FormatName,
			ok && format.Name == LogFormat && strings.Contains(command, "var_log_"):
			return p.keep(inner, command, format.Name, b)
		}
		return nil
	})
}

// sarFile is the name of a file of sar: its day, and what it is.
var sarFile = lazyregexp.New(`(?:^|/)(sar?)((?:20\d{6})|\d{2})(\.(?:xml|json))?[^/]*$`)

// choose leaves out what other members say as well: of sar, XML is better than text, and text than the binary file.
// Only files of the same host and day are the same, and none is left out for one that breaks off.
func (p *unpacking) choose() {
	better := map[string]bool{}
	rank := func(m unpackedMember) (day string, rank int) {
		f := sarFile.FindStringSubmatch(m.name)
		if f == nil || m.format != linuxhost.FormatName {
			return "", 0
		}
		day = linuxhost.RootOf(m.name) + "/" + f[2] + "/"
		switch {
		case f[3] != "":
			return day, 3
		case f[1] == "sar":
			return day, 2
		}
		return day, 1
	}
	for _, m := range p.members {
		if day, n := rank(m); n > 1 && (n == 2 || whole(m.path)) {
			better[fmt.Sprint(day, n-1)] = true
			better[fmt.Sprint(day, 1)] = true
		}
	}
	p.members = slices.DeleteFunc(p.members, func(m unpackedMember) bool {
		day, n := rank(m)
		if n == 0 || !better[fmt.Sprint(day, n)] {
			return false
		}
		p.b.leave(m.name, "the same samples of sar are there in a better form")
		return true
	})
}

// whole reports whether XML or JSON ends as it has to.
func whole(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	const tail = 256
	if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return false
		}
	}
	end, err := io.ReadAll(f)
	text := strings.TrimSpace(strings.ReplaceAll(string(end), "\x00", "")) // also of UTF-16
	return err == nil && (strings.HasSuffix(text, "</sysstat>") || strings.HasSuffix(text, "}"))
}

// ofHosts says of tables of sockets whose they are, and writes when the bundle was made into those that do not say it.
// The files of a folder stay as they are. Tables of several hosts are not one series.
func (p *unpacking) ofHosts() error {
	var hosts []linuxhost.BundleHost
	if p.hostFile != nil {
		hosts = linuxhost.Hosts(p.hostFile.Name())
	}
	for _, m := range p.members {
		if m.format != snapshot.FormatName {
			continue
		}
		if p.b.Members > 1 { // a table that is compressed alone is as good as one that is not
			p.Unpacked.hosts[m.path] = p.b.Path
		}
		if linuxBundle.MatchString(m.name) {
			p.Unpacked.hosts[m.path] = p.b.Path + ": " + linuxhost.RootOf(m.name)
		}
		host, ok := linuxhost.HostOf(hosts, m.name)
		if !ok {
			continue
		}
		if host.Name != "" {
			p.Unpacked.hosts[m.path] = p.runOf(host)
		}
		if host.Made.IsZero() || !strings.HasPrefix(m.path, p.dir) {
			continue
		}
		if err := prepend(m.path, host.Made.Format("2006-01-02T15:04:05Z")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// runOf names a host, and its machine and start where there are several of it.
func (u *Unpacked) runOf(host linuxhost.BundleHost) string {
	key := host.Name + " " + host.Machine
	i := slices.IndexFunc(u.runs[key], func(o linuxhost.BundleHost) bool {
		return o.Boot.IsZero() == host.Boot.IsZero() && !linuxhost.Restarted(o, host)
	})
	if i < 0 {
		i = len(u.runs[key])
		u.runs[key] = append(u.runs[key], host)
	}
	name := host.Name
	if host.Machine != "" {
		name += " (machine-id " + host.Machine[:8] + ")"
	}
	if boot := u.runs[key][i].Boot; !boot.IsZero() {
		name += ", started at about " + boot.Format(time.DateTime) + " UTC"
	}
	return name
}

// prepend writes a line before a text.
func prepend(path, line string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	out, err := os.Create(path + ".dated")
	if err != nil {
		in.Close()
		return err
	}
	_, err = io.Copy(out, io.MultiReader(strings.NewReader(line), in))
	// Windows replaces no file that is open.
	if err = errors.Join(err, in.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}

// distinguish puts the name of the folder before those of logs that are called the same, as the logs of the nodes in a
// crm report are: findings name logs by their files.
func (p *unpacking) distinguish() error {
	count := map[string]int{}
	for _, m := range p.members {
		if m.format == LogFormat {
			count[path.Base(m.name)]++
		}
	}
	for i := range p.members {
		m := &p.members[i]
		folder := path.Base(path.Dir(m.name))
		if m.format != LogFormat || count[path.Base(m.name)] < 2 || !strings.HasPrefix(m.path, p.dir) || folder == "." {
			continue
		}
		to := filepath.Join(filepath.Dir(m.path), safeName(folder+"_"+filepath.Base(m.path)))
		if err := os.Rename(m.path, to); err != nil {
			return err
		}
		m.path = to
	}
	return nil
}
