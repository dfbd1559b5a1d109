// Package ebpf is the Linux engine: it checks what the kernel allows, attaches
// the probes, reads the shared ringbuf, collects the probes' counts once a
// second and turns all of it into one stream, a source.Source called Live.
//
// Probes import this package, never the reverse. The cilium library is always
// imported as cebpf, and only here and in probes/*/*_linux.go.
//
// # Writing a probe
//
// A probe's BPF C includes include/helpers.h, or include/hist.h for
// histograms; bpf2go turns it into an object and Go types. Attach sets the
// constants of its spec and creates an [Loader] for it with [Env.NewLoader],
// which creates the object's maps and puts the shared ones in. The Loader then
// loads each program alone, so that one that this kernel refuses costs its own
// part only:
//
//	loader, err := env.NewLoader(spec)
//	status = append(status, loader.Try("drop", "reason", "drop_kfree_skb")) // on, or off with reason and hint
//	err = loader.AttachAll("port_create", "port_release")                 // all or none
//	link, err := loader.Attach("port_iter_tcp")                           // an iterator, for link.Open
//	program, err := loader.Program("port_bind4")                          // loaded, to be attached otherwise
//	m, v := loader.Map("drops"), loader.Variable("lb_epoch")
//
// Sections that can be attached by name are tp_btf, fentry, fexit, raw_tp,
// tracepoint, iter, sockops and the cgroup hooks. Close of the Loader detaches
// and frees everything.
//
// Records go through the ringbuf with lb_reserve and lb_submit, start with
// struct lb_record, and reach the [Decoder] that the probe has given to
// [Env.Handle]; [Record] reads them as the generated struct. A failed
// reservation is counted and becomes a loss event that names the probe. Records
// that come by the million are decoded straight into their event, with
// model.Builder.Append, model.Interned and [Env.InternedProcess].
//
// Counts stay in maps and are read in Collect. Counters only ever grow, and the
// probe takes differences: then it does not matter when they are read. [Hist]
// does that for histograms, with maxima per interval; [ReadMapped] reads a
// mapped array without a system call.
//
// # Requests
//
// Detail that a detector asks for (model.Request, by [Live.Request]) goes to the
// first probe that is a [Responder] for its kind. The engine bounds it: at most
// so many at once and begun within a minute, each for a limited time, which the
// same request lengthens; see requestLimits. Request events say what became of
// it: asked and on, and off at the end; or asked and refused. A request that an
// [Answerer] cannot answer after all is refused after it was on. The same
// refusal is not repeated within a minute.
//
// Package ebpftest runs a probe on the real kernel in a test.
//
// # Order and time
//
// Event times are the boot clock plus an offset that is sampled once, from the
// tightest of several readings. Intervals end on whole seconds of event time;
// when the engine comes more than 50 ms late, they end when it came. Events are
// held for 25 to 65 ms, up to 200 ms on a quiet host, to be put in order. What is later than that is emitted
// out of order and counted in a loss event with origin "reorder".
//
// Loss events have the origins "ringbuf" (no room; with the CPU), "decode" (a
// malformed record) and "reorder", and their detail names probe and kind; or
// "recursion" (an interrupt came while the same program ran on that CPU, so the
// kernel did not run it), and their detail names the program.
//
// # Cost
//
// Nothing in a BPF program wakes the reader: it polls every 10 ms while many
// records come in, every 40 ms otherwise, and every 100 ms after a second with
// hardly any. What the whole program costs is in
// the stream, as counter events self.cpu and self.kernel_cpu (shares of one
// processor) and self.rss_bytes.
//
// self.kernel_cpu is an estimate of the time in BPF programs: how often they
// run, which probes that are [Counted] know from their own counters, times what
// a run takes. The kernel measures that for one second, for each class of load
// (a factor of four) once in five minutes: measuring all the time would cost a
// flood a quarter of its packets. While it measures, or sysctl
// kernel.bpf_stats_enabled is 1, self.bpf_ns_per_s is what it counts.
//
// Above Options.MaxCPU the engine leaves out the parts of model.ShedParts, one
// step after another, and takes them up again when it has been below half of
// that for a minute; the time doubles each time that it was too early.
package ebpf
