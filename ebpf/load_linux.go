package ebpf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"lostbeat/internal/hint"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Loader loads the programs of one object one by one, so that a program which
// this kernel refuses costs only its own part of the probe. All of them share
// the object's maps, and the engine's.
type Loader struct {
	env   *Env
	spec  *cebpf.CollectionSpec
	maps  map[string]*cebpf.Map
	vars  map[string]*cebpf.Variable
	colls []*cebpf.Collection
	links []link.Link
}

// kernelTypes is the kernel's BTF, parsed once for all programs that are loaded
// at the start: it takes longer than loading them.
type kernelTypes struct {
	cache *btf.Cache // nil after the start, when the memory is given back
}

// NewLoader creates the maps of an object: spec is what bpf2go's load function
// returned, with variables set and map sizes adapted as the probe wishes. The
// shared maps (include/helpers.h) are the engine's.
func (e *Env) NewLoader(spec *cebpf.CollectionSpec) (*Loader, error) {
	l := &Loader{env: e, spec: spec.Copy()}
	shared := make(map[string]*cebpf.Map)
	for name, m := range e.Maps {
		if s, ok := l.spec.Maps[name]; ok {
			s.MaxEntries = m.MaxEntries()
			shared[name] = m
		}
	}
	only := *l.spec
	only.Programs = nil
	coll, err := cebpf.NewCollectionWithOptions(
		only.Copy(),
		cebpf.CollectionOptions{MapReplacements: shared, Cache: e.types.cache},
	)
	if err != nil {
		return nil, fmt.Errorf("create maps: %w", explain(err))
	}
	l.colls = append(l.colls, coll)
	l.maps, l.vars = coll.Maps, coll.Variables
	return l, nil
}

// Map returns a map of the object, nil when there is none of that name. It
// belongs to the Loader.
func (l *Loader) Map(name string) *cebpf.Map { return l.maps[name] }

// Variable returns a global variable of the object, nil when there is none of
// that name.
func (l *Loader) Variable(name string) *cebpf.Variable { return l.vars[name] }

// Program loads one program, or returns it when it is loaded already. It
// belongs to the Loader.
func (l *Loader) Program(name string) (*cebpf.Program, error) {
	for _, coll := range l.colls {
		if p := coll.Programs[name]; p != nil {
			return p, nil
		}
	}
	spec := l.spec.Programs[name]
	if spec == nil {
		return nil, fmt.Errorf("load %s: no such program in the object", name)
	}
	if err := l.env.interrupted(); err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	one := *l.spec
	one.Programs = map[string]*cebpf.ProgramSpec{name: spec}
	options := cebpf.CollectionOptions{MapReplacements: l.maps, Cache: l.env.types.cache}
	coll, err := cebpf.NewCollectionWithOptions(one.Copy(), options)
	if errors.Is(err, cebpf.ErrRestrictedKernel) && withoutAddresses(spec.Instructions) {
		coll, err = cebpf.NewCollectionWithOptions(one.Copy(), options)
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, explain(err))
	}
	spec.Instructions = nil // the kernel has them
	l.colls = append(l.colls, coll)
	l.env.track(name, coll.Programs[name], spec.AttachType == cebpf.AttachTraceIter)
	return coll.Programs[name], nil
}

// withoutAddresses makes the addresses of kernel functions, which are hidden
// without CAP_SYSLOG, zero as for a function that the kernel does not have: the
// library does so only where the kernel shows the others. It returns false when
// a program uses none. All such symbols (__ksym) must be weak.
func withoutAddresses(program asm.Instructions) (changed bool) {
	for i := range program {
		ins := &program[i]
		if ins.OpCode.IsDWordLoad() && ins.Src == asm.R0 && ins.Reference() != "" {
			*ins = asm.LoadImm(ins.Dst, 0, asm.DWord).WithSource(ins.Source()).WithSymbol(ins.Symbol())
			changed = true
		}
	}
	return changed
}

// Attach loads a program and attaches it to what its section names: tp_btf,
// fentry, fexit, raw_tp, tracepoint, iter, sockops and the cgroup hooks. The
// link belongs to the Loader.
func (l *Loader) Attach(name string) (link.Link, error) {
	p, err := l.Program(name)
	if err != nil {
		return nil, err
	}
	spec := l.spec.Programs[name]
	lk, err := l.attach(spec, p)
	if err != nil {
		return nil, fmt.Errorf("attach %s to %q: %w", name, spec.AttachTo, explain(err))
	}
	l.links = append(l.links, lk)
	return lk, nil
}

func (l *Loader) attach(spec *cebpf.ProgramSpec, p *cebpf.Program) (link.Link, error) {
	switch spec.Type {
	case cebpf.Tracing:
		if spec.AttachType == cebpf.AttachTraceIter {
			return link.AttachIter(link.IterOptions{Program: p})
		}
		return link.AttachTracing(link.TracingOptions{Program: p})
	case cebpf.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: p})
	case cebpf.TracePoint:
		group, event, ok := strings.Cut(spec.AttachTo, "/")
		if !ok {
			return nil, errors.New("that names no tracepoint")
		}
		if l.env.TracefsError != nil {
			return nil, l.env.TracefsError
		}
		return link.Tracepoint(group, event, p, nil)
	case cebpf.CGroupSKB, cebpf.CGroupSock, cebpf.CGroupSockAddr, cebpf.CGroupSockopt, cebpf.SockOps:
		if l.env.CgroupError != nil {
			return nil, l.env.CgroupError
		}
		return link.AttachCgroup(link.CgroupOptions{Path: l.env.CgroupRoot, Attach: spec.AttachType, Program: p})
	}
	return nil, fmt.Errorf("programs of type %s are not attached by name", spec.Type)
}

// Release detaches what Attach has attached.
func (l *Loader) Release(lk link.Link) error {
	l.links = slices.DeleteFunc(l.links, func(o link.Link) bool { return o == lk })
	return lk.Close()
}

// AttachGroup loads a cgroup program and attaches it to one control group, given
// by its folder. The caller closes the link.
func (l *Loader) AttachGroup(name, folder string) (link.Link, error) {
	p, err := l.Program(name)
	if err != nil {
		return nil, err
	}
	options := link.CgroupOptions{Path: folder, Attach: l.spec.Programs[name].AttachType, Program: p}
	lk, err := link.AttachCgroup(options)
	if err != nil {
		return nil, fmt.Errorf("attach %s to %s: %w", name, folder, explain(err))
	}
	return lk, nil
}

// AttachAll attaches programs, all or none.
func (l *Loader) AttachAll(programs ...string) error {
	before := len(l.links)
	for _, name := range programs {
		if _, err := l.Attach(name); err != nil {
			for _, lk := range l.links[before:] {
				err = errors.Join(err, lk.Close())
			}
			l.links = slices.Delete(l.links, before, len(l.links))
			return err
		}
	}
	return nil
}

// Try attaches the programs of one part of a probe, all or none, and returns
// the part's state: on, or off with what went wrong and what would fix it.
func (l *Loader) Try(probe, part string, programs ...string) model.Probe {
	return StatusOf(probe, part, l.AttachAll(programs...))
}

// Set is a group of programs of which all are attached or none.
type Set struct {
	Programs []string
	// Unseen says what these programs do not see, empty nothing.
	Unseen string
}

// SocketSets are the programs that see calls on sockets, the best set first: those of the tracepoints of Linux 6.3, and
// those of the functions of both address families. Where the kernel has no IPv6, those of IPv4 alone follow; elsewhere
// every IPv6 socket would seem to be idle.
func SocketSets(tracepoints, ipv4, ipv6 []string) []Set {
	_, err := os.Stat("/proc/net/if_inet6")
	return socketSets(tracepoints, ipv4, ipv6, !errors.Is(err, fs.ErrNotExist))
}

func socketSets(tracepoints, ipv4, ipv6 []string, hasIPv6 bool) []Set {
	sets := []Set{{Programs: tracepoints}, {Programs: slices.Concat(ipv4, ipv6)}}
	if !hasIPv6 {
		sets = append(sets, Set{Programs: ipv4, Unseen: "IPv6 sockets are not seen"})
	}
	return sets
}

// TryInTurn attaches the first set of programs that the kernel accepts, and returns the part's state: on, degraded with
// what the set does not see, or off with what went wrong with the first set.
func (l *Loader) TryInTurn(probe, part string, sets []Set) model.Probe {
	set, err := FirstOf(sets, l.AttachAll)
	return set.Status(probe, part, err)
}

// FirstOf returns the first set of programs with which use succeeds, or the error of the first set.
func FirstOf(sets []Set, use func(programs ...string) error) (set Set, err error) {
	for _, set := range sets {
		failed := use(set.Programs...)
		if failed == nil {
			return set, nil
		}
		err = cmp.Or(err, failed)
	}
	return Set{}, err
}

// Status is the state of a part that is done by the set, or could not be done because of err.
func (s Set) Status(probe, part string, err error) model.Probe {
	status := StatusOf(probe, part, err)
	if err == nil && s.Unseen != "" {
		status.State, status.Reason = model.ProbeDegraded, s.Unseen
	}
	return status
}

// Detach detaches everything; maps stay readable until Close.
func (l *Loader) Detach() error {
	var errs []error
	for _, lk := range slices.Backward(l.links) {
		errs = append(errs, lk.Close())
	}
	l.links = nil
	return errors.Join(errs...)
}

// Close detaches everything and frees programs and maps.
func (l *Loader) Close() error {
	err := l.Detach()
	for _, coll := range l.colls {
		coll.Close()
	}
	return err
}

// StatusOf describes a part of a probe: on when err is nil, otherwise off with
// the error as its reason and the error's hint.
func StatusOf(probe, part string, err error) model.Probe {
	p := model.Probe{Name: probe, Part: part, State: model.ProbeOn}
	if err == nil {
		return p
	}
	p.State = model.ProbeOff
	p.Reason = oneLine(err.Error())
	p.Hint = hint.Of(err)
	return p
}

// RefusedError is a program, map or link that this kernel does not accept.
type RefusedError struct {
	// Advice is what would fix it, empty when nothing is known.
	Advice string
	// Err is the kernel's answer.
	Err error
}

// guess is what the library adds to each refusal. The limit on locked memory is lifted before anything is loaded.
const guess = " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)"

func (e *RefusedError) Error() string { return strings.Replace(e.Err.Error(), guess, "", 1) }

func (e *RefusedError) Unwrap() error { return e.Err }

// Hint says what would fix it.
func (e *RefusedError) Hint() string { return e.Advice }

// explain adds to an error of the library what a user can do about it.
func explain(err error) error {
	if hint.Of(err) != "" {
		return err
	}
	var verifier *cebpf.VerifierError
	switch {
	case errors.Is(err, cebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist):
		return &RefusedError{
			Advice: "this kernel does not have it, a newer one may; the other parts work without it",
			Err:    err,
		}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && !errors.As(err, &verifier):
		return &RefusedError{
			Advice: "the kernel refuses this by policy (lockdown, a security module or missing capabilities)",
			Err:    err,
		}
	}
	return err
}

// oneLine shortens a message to its first line, at most 240 bytes.
func oneLine(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	if len(message) > 240 {
		message = message[:240] + "..."
	}
	return message
}
