package linuxhost

import (
	"cmp"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/source"
)

var (
	// bundleRoot is the folder of a sosreport or supportconfig in a path, also in one another: the last.
	bundleRoot = lazyregexp.New(`^(?:.*/)?(?:sosreport-|scc_|nts_)[^/]*/`)
	// insideRoot begins what is in such a folder.
	insideRoot = lazyregexp.New(`(?:^|/)(?:sos_commands|var/log|proc|etc)/`)
)

// RootOf returns the folder in a bundle whose files are of one host and time, by the path of one of them. Several
// hosts, or one before and after, have a folder each.
func RootOf(name string) string {
	if root := bundleRoot.FindString(name); root != "" {
		return strings.Trim(root, "/")
	}
	if at := insideRoot.FindStringIndex(name); at != nil {
		return name[:at[0]]
	}
	if root := path.Dir(name); root != "." {
		return root
	}
	return ""
}

// within reports whether a folder is in another, or is that.
func within(folder, root string) bool {
	return root == "" || folder == root || strings.HasPrefix(folder, root+"/")
}

// rooted returns the host of a folder, nil where there are too many.
func (s *Set) rooted(hosts *[]*hostFiles, bundle, root string) *hostFiles {
	const most = 1024
	for _, h := range *hosts {
		if h.root == root {
			return h
		}
	}
	if len(*hosts) >= most {
		s.note("%s has more than %d folders of hosts: the rest was not read", bundle, most)
		return nil
	}
	h := &hostFiles{set: s, bundle: bundle, root: root, have: map[series]bool{}}
	*hosts = append(*hosts, h)
	return h
}

// joinRoots adds a folder that does not say its host to the one around it that does.
func (s *Set) joinRoots(hosts []*hostFiles) []*hostFiles {
	slices.SortFunc(hosts, func(a, b *hostFiles) int { return cmp.Compare(a.root, b.root) })
	var out []*hostFiles
	for _, h := range hosts {
		var around *hostFiles
		for _, o := range out {
			if within(h.root, o.root) {
				around = o // the last is the nearest
			}
		}
		if around == nil || around.name == "" || h.name != "" || !h.said.IsZero() || h.machine != "" || h.boot > 0 {
			out = append(out, h)
			continue
		}
		for _, v := range h.values {
			around.add(v.of.name, v.of.instance, v.of.cpu, v.of.mode, v.of.unit, v.value)
		}
		around.facts = append(around.facts, h.facts...)
		around.kernel, around.up = cmp.Or(around.kernel, h.kernel), cmp.Or(around.up, h.up)
		around.zone, around.utc = cmp.Or(around.zone, h.zone), cmp.Or(around.utc, h.utc)
		if h.modified.After(around.modified) {
			around.modified = h.modified
		}
	}
	return out
}

// label names what the files are from.
func (h *hostFiles) label(several bool) string {
	if several && h.root != "" {
		return h.bundle + ": " + h.root
	}
	return h.bundle
}

// anyHost is the name of a host that was given none.
var anyHost = lazyregexp.New(`^(?i:localhost|localhost\.localdomain|localhost4?\..*|\(none\))?$`)

// identify returns the name of the host. Two machines of one name are two hosts, and what does not say its host is a
// host of its own: it is compared with nothing.
func (s *Set) identify(h *hostFiles, several bool) string {
	if anyHost.MatchString(h.name) && h.machine == "" {
		if h.name == "" {
			return h.label(several)
		}
		s.note("%s is of a host called %s, as many are: it is not compared with other files", h.label(several), h.name)
		return h.name + " (" + h.label(several) + ")"
	}
	name := cmp.Or(h.name, h.label(several))
	if h.machine == "" {
		return name
	}
	known, ok := s.machines[name]
	switch {
	case !ok:
		s.machines[name] = h.machine
	case known != h.machine:
		s.note("%s: %s is another machine than the one of that name before (machine-id): they are not compared",
			h.label(several), name)
		return name + " (machine-id " + h.machine[:8] + ")"
	}
	return name
}

// BundleHost is what a bundle says of a host whose files it has.
type BundleHost struct {
	// Root is the folder of its files, see RootOf; Name is the host's, empty unknown; Machine is its machine-id.
	Root, Name, Machine string
	// Made is when the output of date says that it was made, Boot when the host was started, zero unknown.
	Made, Boot time.Time
}

// bootTolerance is by how much the time of a boot may differ between two bundles: uptime has minutes.
const bootTolerance = 2 * time.Minute

// Restarted reports whether a host was started anew between two bundles of it, as far as both say it.
func Restarted(a, b BundleHost) bool {
	if a.Boot.IsZero() || b.Boot.IsZero() {
		return false
	}
	if b.Boot.Before(a.Boot) {
		a, b = b, a
	}
	return b.Boot.Sub(a.Boot) > bootTolerance && (a.Made.IsZero() || b.Boot.Sub(a.Made) > -bootTolerance)
}

// Hosts returns the hosts whose files a Writer has written at path.
func Hosts(at string) (list []BundleHost) {
	f, err := os.Open(at)
	if err != nil {
		return nil
	}
	defer f.Close()
	hosts, _ := newSet(source.OpenOptions{}).parseHostFiles(f, "")
	for _, h := range hosts {
		b := BundleHost{Root: h.root, Name: h.name, Machine: h.machine}
		if anyHost.MatchString(h.name) && h.machine == "" {
			b.Name = ""
		}
		if !h.said.IsZero() {
			made, _ := h.time()
			b.Made = made.UTC()
		}
		if boot := h.bootTime(b.Made); boot > 0 {
			b.Boot = time.Unix(boot, 0).UTC()
		}
		list = append(list, b)
	}
	return list
}

// HostOf returns the host of a member of a bundle, by its path there.
func HostOf(hosts []BundleHost, name string) (of BundleHost, ok bool) {
	root := RootOf(name)
	for _, h := range hosts {
		if within(root, h.Root) && (!ok || len(h.Root) > len(of.Root)) {
			of, ok = h, true
		}
	}
	return of, ok
}
