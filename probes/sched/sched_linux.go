package sched

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"lostbeat/ebpf"
	"lostbeat/internal/platform"
	"lostbeat/model"

	cebpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// name is the probe's name.
const name = "sched"

// batch is how many entries of a map are read from the kernel at once.
const batch = 256

// Probe watches how single threads are scheduled, on request.
type Probe struct{}

// New returns the Linux half of the probe.
func New() *Probe { return &Probe{} }

// Name implements ebpf.Probe.
func (*Probe) Name() string { return name }

// Kinds implements ebpf.Probe.
func (*Probe) Kinds() []model.Kind {
	return []model.Kind{model.KindSchedHist, model.KindSchedState, model.KindSchedRival}
}

// parts are the programs by what is lost without them. They are loaded at the
// start and attached while something is watched.
var parts = []struct {
	name     string
	required bool
	programs []string
	without  string
}{
	{"threads", true, []string{"sched_switch", "sched_waking", "sched_list"}, ""},
	{"migrations", false, []string{"sched_migrate"}, "cannot tell what ran on the CPU that a thread was moved from"},
	{"new threads", false, []string{"sched_fork"}, "new threads of a watched process are seen 1 s late"},
	{
		"deferred work",
		false,
		[]string{"sched_softirq_entry", "sched_softirq_exit"},
		"the time of deferred work is counted as that of the interrupted task",
	},
	{
		"interrupts",
		false,
		[]string{"sched_irq_entry", "sched_irq_exit"},
		"the time of interrupts is counted as that of the interrupted task",
	},
}

// listProgram lists the watched threads.
const listProgram = "sched_list"

// attached is the running probe.
type attached struct {
	env    *ebpf.Env
	loader *ebpf.Loader
	status []model.Probe
	// hooks are the programs that are attached while something is watched.
	hooks []string
	// list is the listing of the watched threads, nil while nothing is watched.
	list *link.Iter

	pids, tids, threads, sites, rivals, stacks *cebpf.Map
	marks, epoch                               *cebpf.Variable

	watches []watch
	account accounts
}

// watch is a request that is being served.
type watch struct {
	request    model.Request
	pids, tids []uint32
	ended      bool
}

// Attach implements ebpf.Probe. It loads the programs; nothing is attached
// before something is watched.
func (*Probe) Attach(env *ebpf.Env) (ebpf.Attached, error) {
	a, err := load(env, true)
	if err != nil {
		// Lockdown refuses programs that read arbitrary memory.
		var second error
		if a, second = load(env, false); second != nil {
			return nil, err
		}
		a.status[0].State = model.ProbeDegraded
		a.status[0].Reason = "the kernel does not allow reading tasks other than the current one: a thread that is " +
			"throttled while queued counts as waiting, and what ran before a thread was moved to another CPU is not known"
	}
	return a, nil
}

// load creates the maps and loads the programs.
func load(env *ebpf.Env, probeReads bool) (*attached, error) {
	spec, err := loadSched()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	cpus, err := platform.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	spec.Maps["sched_cpus"].MaxEntries = uint32(slices.Max(cpus) + 1)
	if err := spec.Variables["probe_reads"].Set(probeReads); err != nil {
		return nil, fmt.Errorf("set what may be read: %w", err)
	}
	loader, err := env.NewLoader(spec)
	if err != nil {
		return nil, err
	}
	a := &attached{
		env: env, loader: loader,
		pids: loader.Map("sched_pids"), tids: loader.Map("sched_tids"), threads: loader.Map("sched_threads"),
		sites: loader.Map("sched_sites"), rivals: loader.Map("sched_rivals"), stacks: loader.Map("sched_stacks"),
		marks: loader.Variable("sched_marks"), epoch: loader.Variable("lb_epoch"),
		account: newAccounts("/proc"),
	}
	for _, part := range parts {
		var err error
		for _, program := range part.programs {
			if _, e := loader.Program(program); e != nil {
				err = errors.Join(err, e)
			}
		}
		if err != nil && part.required {
			return nil, errors.Join(err, loader.Close())
		}
		status := ebpf.StatusOf(name, part.name, err)
		if err == nil {
			a.hooks = append(a.hooks, part.programs...)
		} else {
			status.State, status.Reason = model.ProbeDegraded, part.without+": "+status.Reason
		}
		a.status = append(a.status, status)
	}
	a.hooks = slices.DeleteFunc(a.hooks, func(program string) bool { return program == listProgram })
	return a, nil
}

// Status implements ebpf.Attached.
func (a *attached) Status() []model.Probe { return a.status }

// Close implements ebpf.Attached.
func (a *attached) Close() error { return a.loader.Close() }

// Answers implements ebpf.Responder.
func (a *attached) Answers() []model.RequestKind { return []model.RequestKind{model.RequestSched} }

// Begin implements ebpf.Responder.
func (a *attached) Begin(r model.Request) error {
	w, err := targets(a.account.proc, r)
	if err != nil {
		return err
	}
	if err := a.attach(); err != nil {
		return err
	}
	a.watches = append(a.watches, w)
	for _, pid := range w.pids {
		err = errors.Join(err, a.pids.Put(pid, uint32(1)))
	}
	for _, tid := range w.tids {
		err = errors.Join(err, a.tids.Put(tid, uint32(1)))
	}
	if err == nil {
		err = a.takeIn(r)
	}
	if err != nil {
		a.watches[len(a.watches)-1].ended = true
		return errors.Join(fmt.Errorf("watch: %w", err), a.forget())
	}
	return nil
}

// takeIn reads the threads of a new request as they are found.
func (a *attached) takeIn(r model.Request) error {
	before := len(a.account.known)
	at := a.env.Clock.Now()
	read, err := a.read(false)
	if err != nil {
		return err
	}
	a.account.baseline(a.bootTime(at), read)
	if len(a.account.known) == before && !a.account.knows(r) {
		return fmt.Errorf("no thread of process %d, thread %d", r.PID, r.TID)
	}
	return nil
}

// bootTime converts an event time to the boot clock.
func (a *attached) bootTime(t model.Time) uint64 { return uint64(int64(t) - a.env.Clock.Offset) }

// End implements ebpf.Responder. What was found until then is collected with the
// interval, after which the threads are forgotten.
func (a *attached) End(r model.Request) {
	if i := slices.IndexFunc(a.watches, func(w watch) bool { return !w.ended && w.request.Same(r) }); i >= 0 {
		a.watches[i].ended = true
	}
}

// attach attaches the programs, if they are not.
func (a *attached) attach() error {
	if a.list != nil {
		return nil
	}
	if err := a.startInterval(); err != nil {
		return err
	}
	if err := a.loader.AttachAll(a.hooks...); err != nil {
		return err
	}
	lk, err := a.loader.Attach(listProgram)
	if err != nil {
		return errors.Join(err, a.loader.Detach())
	}
	list, ok := lk.(*link.Iter)
	if !ok {
		return errors.Join(fmt.Errorf("attach %s: %T is not an iterator", listProgram, lk), a.loader.Detach())
	}
	a.list = list
	return nil
}

// forget ends the watches that are over; with the last one it detaches the programs.
func (a *attached) forget() error {
	if !slices.ContainsFunc(a.watches, func(w watch) bool { return w.ended }) {
		return nil
	}
	var errs []error
	remove := func(m *cebpf.Map, of func(watch) []uint32) {
		wanted := make(map[uint32]bool)
		for _, w := range a.watches {
			for _, id := range of(w) {
				wanted[id] = wanted[id] || !w.ended
			}
		}
		for id, still := range wanted {
			if !still {
				errs = append(errs, ignoreMissing(m.Delete(id)))
			}
		}
	}
	remove(a.pids, func(w watch) []uint32 { return w.pids })
	remove(a.tids, func(w watch) []uint32 { return w.tids })
	a.watches = slices.DeleteFunc(a.watches, func(w watch) bool { return w.ended })
	if len(a.watches) == 0 {
		a.list = nil
		errs = append(errs, a.loader.Detach(), a.marks.Set([marks]uint64{}))
	}
	wanted := func(pid, tid uint32) bool {
		return slices.ContainsFunc(a.watches, func(w watch) bool {
			return slices.Contains(w.pids, pid) || slices.Contains(w.tids, tid)
		})
	}
	for _, tid := range a.account.unwanted(wanted) {
		errs = append(errs, a.drop(tid))
	}
	if len(a.watches) == 0 {
		a.account.reset()
	}
	return errors.Join(errs...)
}

// marks is the number of words in sched_marks.
const marks = 1024

// drop removes a thread that is not watched any more, or has ended.
func (a *attached) drop(tid uint32) error {
	sites, rivals := a.account.drop(tid)
	err := ignoreMissing(a.threads.Delete(tid))
	for _, site := range sites {
		err = errors.Join(err, ignoreMissing(a.sites.Delete(site)))
	}
	for _, rival := range rivals {
		err = errors.Join(err, ignoreMissing(a.rivals.Delete(rival)))
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, cebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// Collect implements ebpf.Attached.
func (a *attached) Collect(now model.Time, interval time.Duration, b *model.Builder) error {
	if a.list == nil {
		return nil
	}
	ended := a.account.epoch
	a.account.named = a.account.named[:0]
	for _, w := range a.watches {
		a.account.named = append(a.account.named, w.tids...)
	}
	read, err := a.read(true)
	if err != nil {
		return err
	}
	gone := a.account.collect(
		a.env, span{now: now, boot: a.bootTime(now), interval: interval, epoch: ended}, read, b,
	)
	for _, tid := range gone {
		err = errors.Join(err, a.drop(tid))
	}
	if err := errors.Join(err, a.forget()); err != nil {
		return fmt.Errorf("forget threads: %w", err)
	}
	return nil
}
