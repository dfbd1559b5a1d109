// Package redact replaces what tells whose a host is by pseudonyms: addresses, hosts, processes, command lines, control
// groups, units, network namespaces and paths. One [Redactor] gives the same name the same pseudonym, in events, in the
// texts of findings and in quoted lines of logs.
//
// Names are learned from the fields of events that hold them and then replaced wherever they stand as words. Addresses
// and paths are found in any text by their form. What stays: loopback, unspecified and multicast addresses, ports,
// devices, drivers, kernel threads, programs that every system has, paths below /proc, /sys and /dev. A name that
// stands in a line of a log and nowhere else is not known as one, and stays.
package redact

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// Redactor replaces names. The zero Redactor is not ready for use: see New. It is not safe for concurrent use.
type Redactor struct {
	// names are the pseudonyms of what was learned, by the name in lower case.
	names map[string]string
	// index are the names by how they begin, the longest first.
	index map[string][]string
	// counts are how many pseudonyms there are of each kind.
	counts map[string]int
	// kernel are the threads of the kernel that the stream names.
	kernel map[string]bool
	// texts are results for texts that come often; learned is how many names there were then.
	texts   map[string]string
	learned int
	// programs are the command lines that are known, without their numbers.
	programs map[string]*commandLine
	// limit bounds how many names are learned, 0 sets no bound; known is how many are, full says that there were more.
	limit, known int
	full         bool
	// salt keeps identities from being guessed once names are left out.
	salt string
}

// commandLine is a command line without its numbers.
type commandLine struct {
	pseudonym string
	variants  int
}

// maxTexts bounds the memory of texts.
const maxTexts = 1 << 14

// NewBounded returns a Redactor that knows no names and will learn at most so many, for streams without an end. From
// then on new names share a pseudonym, and texts, which may have such names in them, are left out.
func NewBounded(names int) *Redactor {
	r := New()
	r.limit, r.salt = names, rand.Text()
	return r
}

// Full says that there were more names than NewBounded allows.
func (r *Redactor) Full() bool { return r.full }

// New returns a Redactor that knows no names.
func New() *Redactor {
	return &Redactor{
		names: map[string]string{}, index: map[string][]string{}, counts: map[string]int{}, kernel: map[string]bool{},
		texts: map[string]string{}, programs: map[string]*commandLine{},
	}
}

// Kinds of pseudonyms.
const (
	kindHost    = "host"
	kindProcess = "process"
	kindCommand = "command"
	kindCgroup  = "/cgroup"
	kindUnit    = "unit"
	kindNetns   = "netns"
	kindFile    = "file"
	kindPath    = "/path"
	kindBoot    = "boot"
)

// name returns the pseudonym of a name, which it learns.
func (r *Redactor) name(kind, name string) string {
	if name == "" || r.public(kind, name) {
		return name
	}
	key := lower(name)
	if known, ok := r.names[key]; ok {
		return known
	}
	if r.limit > 0 && r.known >= r.limit {
		r.full = true
		return kind + "-other"
	}
	r.known++
	pseudonym := r.next(kind, name)
	if kind == kindFile {
		pseudonym += extension(name)
	}
	r.add(key, pseudonym)
	if shown := printable(key, '·'); shown != key {
		r.add(shown, pseudonym)
		r.add(printable(key, '\ufffd'), pseudonym)
	}
	switch short, _, dotted := strings.Cut(name, "."); {
	case kind == kindHost && dotted && len(short) > 1 && !isNumber(short):
		if _, ok := r.names[lower(short)]; !ok {
			r.add(lower(short), pseudonym)
		}
	case kind == kindFile:
		if base := baseName(name); base != name && base != "" {
			if _, ok := r.names[lower(base)]; !ok {
				r.add(lower(base), pseudonym)
			}
		}
	}
	return pseudonym
}

// next returns a new pseudonym. Command lines that differ in numbers only, as those of the workers of a program, get
// pseudonyms that do, too: detectors see that they are of one program.
func (r *Redactor) next(kind, name string) string {
	if kind != kindCommand {
		r.counts[kind]++
		return fmt.Sprintf("%s-%d", kind, r.counts[kind])
	}
	program := model.WithoutNumbers(name)
	line := r.programs[program]
	if line == nil {
		r.counts[kind]++
		line = &commandLine{pseudonym: fmt.Sprintf("%s-%d", kind, r.counts[kind])}
		r.programs[program] = line
	}
	if line.variants++; line.variants == 1 {
		return line.pseudonym
	}
	return fmt.Sprintf("%s %d", line.pseudonym, line.variants)
}

// printable replaces the control characters of a name as those do who print it.
func printable(name string, by rune) string {
	return strings.Map(func(c rune) rune {
		steers := by == '·' && (c >= 0x2028 && c <= 0x202e || c >= 0x2066 && c <= 0x2069)
		if c < 0x20 || c >= 0x7f && c < 0xa0 || steers {
			return by
		}
		return c
	}, name)
}

// lower writes ASCII letters small: it keeps the length of a text.
func lower(s string) string {
	upper := func(c byte) bool { return c >= 'A' && c <= 'Z' }
	for i := range len(s) {
		if upper(s[i]) {
			out := []byte(s)
			for j := range out {
				if upper(out[j]) {
					out[j] += 'a' - 'A'
				}
			}
			return string(out)
		}
	}
	return s
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// baseName is the last part of a path of any system.
func baseName(name string) string { return name[strings.LastIndexAny(name, `/\`)+1:] }

// extension is the ending of a file's name, as far as it is one of a format.
func extension(name string) string {
	ext := path.Ext(baseName(name))
	if len(ext) < 2 || len(ext) > 9 || strings.ContainsFunc(ext[1:], func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	}) {
		return ""
	}
	return ext
}

// add learns that a name in lower case has a pseudonym.
func (r *Redactor) add(name, pseudonym string) {
	r.names[name] = pseudonym
	r.learned++
	start := beginning(name)
	list := r.index[start]
	at, _ := slices.BinarySearchFunc(list, name, func(a, b string) int { return len(b) - len(a) })
	r.index[start] = slices.Insert(list, at, name)
}

// beginning is by what names are looked up.
func beginning(s string) string { return s[:min(len(s), 2)] }

// File returns the pseudonym of a file that the user named or that a text is from.
func (r *Redactor) File(name string) string { return r.name(kindFile, name) }

// Host returns the pseudonym of a host.
func (r *Redactor) Host(name string) string { return r.name(kindHost, name) }

// Boot returns what tells one boot of a host from the next and does not tell its boot id.
func Boot(id string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("lostbeat " + id))
	return hex.EncodeToString(sum[:16])
}

// kernelThread are the names of the kernel's own threads.
var kernelThread = lazyregexp.New(`^(swapper|ksoftirqd|kworker|migration|cpuhp|irq|irq_work|rcu[a-z_]*|napi|` +
	`ktimers|kthreadd|kcompactd|kswapd|khugepaged|idle_inject|watchdog|posixcputmr|kauditd|oom_reaper|kdevtmpfs|jbd2|` +
	`kblockd)(/.*|[0-9]*)$`)

// everywhere are what fields of processes hold beside names of programs, and programs that every system has and that
// advice names.
var everywhere = map[string]bool{
	"hi": true, "timer": true, "net_tx": true, "net_rx": true, "block": true, "irq_poll": true, "tasklet": true,
	"sched": true, "hrtimer": true, "rcu": true, "idle": true, "system": true, "lostbeat": true, "hardirq": true,
	"kernel": true, "localhost": true, "interrupt": true, "the kernel": true, "interrupts": true, "softirq": true,
	"ip": true, "tc": true, "ss": true, "sh": true, "bash": true, "ethtool": true, "sysctl": true, "nstat": true,
	"chrt": true, "taskset": true, "bpftool": true, "netstat": true, "dmesg": true, "perf": true, "nft": true,
	"iptables": true, "conntrack": true, "kill": true, "cat": true, "systemd": true, "renice": true, "init": true,
}

// public says that a name tells nothing of whose the host is.
func (r *Redactor) public(kind, name string) bool {
	key := lower(name)
	switch kind {
	case kindProcess:
		return everywhere[key] || r.kernel[key] || kernelThread.MatchString(key)
	case kindHost:
		return key == "localhost" || addressOnly(name)
	case kindNetns:
		return isNumber(name)
	case kindCgroup:
		return name == "/"
	}
	return false
}

// leftOut takes the place of a text in which names may be that were too many to learn.
const leftOut = "(left out: too many names)"

// Text replaces all names, addresses and paths in a text.
func (r *Redactor) Text(s string) string {
	if s == "" {
		return ""
	}
	if r.full {
		return leftOut
	}
	if r.learned != 0 || len(r.texts) >= maxTexts {
		clear(r.texts)
		r.learned = 0
	}
	if known, ok := r.texts[s]; ok {
		return known
	}
	out := r.replace(s)
	r.texts[s] = out
	return out
}

// replace is Text without its memory.
func (r *Redactor) replace(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if !wordBefore(s, i) || !wordAt(s, i) {
			if n, pseudonym := r.at(s, i); n > 0 {
				b.WriteString(pseudonym)
				i += n
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// wordAt says that a word goes on, or begins, at a place of a text: names begin and end where words do.
func wordAt(s string, i int) bool {
	c, _ := utf8.DecodeRuneInString(s[i:])
	return isWord(c)
}

// wordBefore says that a word goes on, or ends, before a place of a text.
func wordBefore(s string, i int) bool {
	c, _ := utf8.DecodeLastRuneInString(s[:i])
	return isWord(c)
}

func isWord(c rune) bool {
	return c == '_' || c != utf8.RuneError && (unicode.IsLetter(c) || unicode.IsDigit(c))
}

// at returns the pseudonym of what stands at a place of a text, and how long that is; 0 where there is nothing.
func (r *Redactor) at(s string, i int) (n int, pseudonym string) {
	if n := r.nameAt(s, i); n > 0 {
		return n, r.names[lower(s[i:i+n])]
	}
	if n, pseudonym := r.addressAt(s, i); n > 0 {
		return n, pseudonym
	}
	return r.pathAt(s, i)
}

// nameAt is the length of the longest name at a place of a text.
func (r *Redactor) nameAt(s string, i int) int {
	for _, name := range r.index[lower(s[i:min(len(s), i+2)])] {
		end := i + len(name)
		if end > len(s) || lower(s[i:end]) != name {
			continue
		}
		if wordAt(s, end) && wordBefore(s, end) {
			continue
		}
		if common[name] && (end == len(s) || s[end] != '[') && (i > 0 || end < len(s)) {
			continue // a word of a sentence rather than a name
		}
		return end - i
	}
	return 0
}

// common are words of our own sentences: of a program with such a name only name[pid] is its name.
var common = wordSet(`a an the in on at to of is it as by or and not no for from with was were be had has have that this
	these those then than too all any each one two time times packet packets port ports cpu cpus host hosts process
	program programs memory network test check find read reads write sent lost queue queues socket sockets buffer disk
	work run runs wait waits flow flows late peer file files pool pools size limit rate rule rules table tables driver
	device devices interrupt interrupts kernel user task tasks thread threads reason place udp tcp vrrp rx tx net rpc
	log logs line lines text name id unit cgroup data server client app more less most after before during while if so
	up down out over under into its other others same new old first last main make go`)

func wordSet(list string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(list) {
		out[w] = true
	}
	return out
}

// identity replaces the names in the identity of a finding. Those of different findings stay different, also when there
// were too many names.
func (r *Redactor) identity(id string) string {
	if !r.full {
		return r.Text(id)
	}
	sum := sha256.Sum256([]byte(r.salt + id))
	return "finding-" + hex.EncodeToString(sum[:16])
}

// Finding replaces all names in a finding.
func (r *Redactor) Finding(f model.Finding) model.Finding {
	all := func(list []string) []string {
		out := slices.Clone(list)
		for i := range out {
			out[i] = r.Text(out[i])
		}
		return out
	}
	f.ID, f.Title = r.identity(f.ID), r.Text(f.Title)
	f.Causes, f.RuledOut, f.Advice = all(f.Causes), all(f.RuledOut), all(f.Advice)
	f.Evidence = slices.Clone(f.Evidence)
	for i := range f.Evidence {
		f.Evidence[i].Name = r.Text(f.Evidence[i].Name)
	}
	s := &f.Subject
	s.Process = r.name(kindProcess, s.Process)
	s.Netns = r.name(kindNetns, s.Netns)
	s.Vector, s.Driver, s.Device = r.Text(s.Vector), r.Text(s.Driver), r.Text(s.Device)
	s.Queue, s.Pool = r.Text(s.Queue), r.Text(s.Pool)
	return f
}
