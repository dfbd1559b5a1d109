package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"lostbeat/etw/etl"
	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/record"
	"lostbeat/run"
	"lostbeat/source/pcap"
	"lostbeat/source/perfmon"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// captureInfo is what `info --json` prints of a recording or a performance log.
type captureInfo struct {
	File        string      `json:"file"`
	Format      string      `json:"format"`
	Host        string      `json:"host"`
	OS          string      `json:"os"`
	Kernel      string      `json:"kernel"`
	Start       model.Time  `json:"-"`
	End         model.Time  `json:"-"`
	StartText   string      `json:"start"`
	EndText     string      `json:"end"`
	EventsTotal uint64      `json:"events_total"`
	Events      []kindCount `json:"events"`
	Lost        uint64      `json:"lost"`
	// CutFrom is what the recording is a part of, LostBefore what was lost before it begins; empty for others.
	CutFrom    string `json:"cut_from,omitempty"`
	LostBefore string `json:"cut_lost_before,omitempty"`
	// WholeIncomplete is what could not be read of what it was cut from.
	WholeIncomplete string      `json:"cut_incomplete,omitempty"`
	Probes          []probeInfo `json:"probes"`
	Notes           []string    `json:"notes"`
	// Complete says that nothing is known to be damaged or missing, Damage what is.
	Complete  bool     `json:"complete"`
	Damage    []string `json:"damage,omitempty"`
	Integrity string   `json:"integrity"`
	// Log is the inventory of a performance log, nil for everything else.
	Log *perfmon.Info `json:"log,omitempty"`
	// Capture is what a capture of packets holds, nil for everything else.
	Capture *pcap.Info `json:"capture,omitempty"`
}

// Names and versions of the schemas of what `info --json` prints: of a Windows trace, a bundle, anything else.
const (
	traceSchema  = "lostbeat.trace/1"
	bundleSchema = "lostbeat.bundle/1"
	infoSchema   = "lostbeat.info/1"
)

type kindCount struct {
	Kind  string `json:"kind"`
	Count uint64 `json:"count"`
}

type probeInfo struct {
	Name   string `json:"name"`
	Part   string `json:"part,omitempty"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

func infoOfProbe(p model.Probe) probeInfo {
	return probeInfo{p.Name, p.Part, p.State.String(), p.Reason, p.Hint}
}

func newInfo() *cobra.Command {
	var files captureFlags
	var format formatFlag
	var verify bool
	var zone zoneFlag
	cmd := &cobra.Command{
		Use:   "info FILE...",
		Short: "Show what a recording or capture holds: host, time span, probes, counts, loss",
		Long: `Print what a recording or capture holds: host, kernel, time span, which probes were on and why
others were not, events by kind, and how many were lost. For Windows traces it lists every
provider, event and version with its count.

For a recording that was closed properly, only the index is read, whatever the size; --verify
reads every block. Other files are read to the end. The line "input" says how much could be
read; the exit status is 3 if not all.`,
		Example: `  lostbeat info night.lostbeat
  lostbeat info --verify night.lostbeat             is every block readable?
  lostbeat info --json capture.etl | jq '.events[] | select(.count > 1000)'`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			form, err := format.form()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			files.said = form != asJSON
			// show prints text, for Markdown as a block.
			show := func(write func(io.Writer) error) error {
				if form == asMarkdown {
					return fenced(out, write)
				}
				return write(out)
			}
			defer files.confine(cmd, args)()
			args, done, err := files.unpack(cmd.Context(), args)
			if err != nil {
				return err
			}
			defer done()
			defer func() {
				for _, b := range files.unpacked.Bundles {
					var bundleErr error
					if form == asJSON {
						bundleErr = plain.Object(out, bundleSchema, bundleInfo{b, "bundle"})
					} else {
						bundleErr = show(func(w io.Writer) error { return writeBundle(w, b) })
					}
					if err == nil {
						err = bundleErr
					}
					if len(b.Damage) > 0 {
						err = cmp.Or(err, errIncomplete)
					}
				}
			}()
			return eachCapture(cmd.Context(), args, files, cmd.ErrOrStderr(), func(c *run.Capture, reading *readingLine) error {
				if f, ok := c.File.(*etl.File); ok {
					inventory, err := f.Inventory(cmd.Context())
					reading.end()
					if err != nil {
						return err
					}
					if form == asJSON {
						return plain.Object(out, traceSchema, inventory)
					}
					return show(func(w io.Writer) error { return writeInventory(w, c.Path, inventory, zone.zone()) })
				}
				info, err := describe(cmd.Context(), c, verify)
				reading.end()
				if err != nil {
					return err
				}
				if form == asJSON {
					if l, ok := c.File.(*perfmon.Log); ok {
						if info.Log, err = l.Info(cmd.Context()); err != nil {
							return err
						}
					}
					return plain.Object(out, infoSchema, info)
				}
				return show(func(w io.Writer) error { return info.write(w, zone.zone()) })
			})
		},
	}
	files.register(cmd)
	zone.register(cmd)
	format.register(cmd, "one JSON object per file", asText, asJSON, asMarkdown)
	cmd.Flags().BoolVar(&verify, "verify", false, "read every block of a recording instead of its index")
	return cmd
}

// bundleInfo is what `info --json` prints of a bundle, after its members.
type bundleInfo struct {
	run.Bundle
	Format string `json:"format"`
}

// shownLeft is how many files that were not understood are listed of a bundle.
const shownLeft = 40

// writeBundle says what of a bundle was opened, and what was not.
func writeBundle(w io.Writer, b run.Bundle) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(label, value string) { fmt.Fprintf(t, "%s\t%s\n", label, plain.Text(value)) }
	row("file", b.Path+" (bundle)")
	row("members", humanize.Comma(int64(b.Members)))
	for _, name := range b.Opened {
		row("opened", name)
	}
	for _, text := range b.Damage {
		row("damaged", text)
	}
	for _, name := range b.Left[:min(len(b.Left), shownLeft)] {
		row("not opened", name)
	}
	if more := len(b.Left) - shownLeft + b.LeftMore; more > 0 {
		row("not opened", humanize.Comma(int64(more))+" more files (--json lists the first 200)")
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// describe says what a capture holds. A recording whose index is whole is asked
// for it, unless verify says otherwise; anything else is read to its end.
func describe(ctx context.Context, c *run.Capture, verify bool) (captureInfo, error) {
	info := captureInfo{
		File:   c.Path,
		Format: c.Format.Name,
		Events: []kindCount{},
		Probes: []probeInfo{},
		Notes:  []string{},
	}
	var err error
	if r, ok := c.File.(*record.Reader); ok && !verify && r.Closed() {
		info.index(r)
	} else {
		err = info.scan(ctx, c)
	}
	if err != nil {
		return info, err
	}
	info.Start, info.End = c.Span()
	if info.Start != 0 { // a file that was cut off in its first block has no span
		info.StartText, info.EndText = info.Start.String(), info.End.String()
	}
	slices.SortFunc(info.Events, func(a, b kindCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind))
	})
	slices.SortFunc(
		info.Probes,
		func(a, b probeInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Part, b.Part)) },
	)
	c.PartOfIncomplete(info.WholeIncomplete)
	integrity := c.Integrity()
	info.Complete, info.Damage, info.Integrity = integrity.Complete(), integrity.Damage, run.IntegrityLine(integrity)
	if f, ok := c.File.(*pcap.File); ok {
		capture := f.Info()
		info.Capture = &capture
	}
	if noter, ok := c.File.(interface{ Notes() []string }); ok {
		info.Notes = append(info.Notes, noter.Notes()...)
	}
	return info, nil
}

// index takes what a recording's index says.
func (i *captureInfo) index(r *record.Reader) {
	s := r.Stat()
	i.EventsTotal, i.Lost = s.Events, s.Lost
	i.of(s.Meta)
	for _, k := range s.Kinds {
		i.Events = append(i.Events, kindCount{k.Kind.String(), k.Count})
	}
	for _, p := range s.Probes {
		i.probe(p)
	}
}

// scan reads a capture to its end.
func (i *captureInfo) scan(ctx context.Context, c *run.Capture) error {
	st := state.New()
	counts := map[model.Kind]uint64{}
	err := c.Run(ctx, func(b *model.Batch) error {
		st.Apply(b)
		for n := range b.Events {
			e := &b.Events[n]
			if e.Flags&model.FlagKeyframe != 0 {
				continue
			}
			counts[e.Kind]++
			i.EventsTotal++
			if loss, ok := b.Loss(e); ok && loss.Origin != model.OriginLate {
				i.Lost += loss.Lost
			}
		}
		return nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	i.of(st.Meta)
	for kind, n := range counts {
		i.Events = append(i.Events, kindCount{kind.String(), n})
	}
	for _, p := range st.Probes {
		i.probe(p)
	}
	return nil
}

func (i *captureInfo) of(meta map[string]string) {
	i.Host, i.OS, i.Kernel = meta["host"], meta["os"], meta["kernel"]
	i.CutFrom, i.LostBefore = meta[run.MetaCutFrom], meta[run.MetaCutLost]
	i.WholeIncomplete = meta[run.MetaCutIncomplete]
}

func (i *captureInfo) probe(p model.Probe) {
	i.Probes = append(i.Probes, infoOfProbe(p))
}

func (i captureInfo) write(w io.Writer, zone *time.Location) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(label, value string) { fmt.Fprintf(t, "%s\t%s\n", label, plain.Text(cmp.Or(value, "unknown"))) }
	row("file", i.File+" ("+i.Format+")")
	row("host", i.Host)
	row("system", strings.TrimSpace(i.OS+" "+i.Kernel))
	if i.StartText != "" {
		row("start", plain.Moment(i.Start.Std(), zone))
		row("end", plain.Moment(i.End.Std(), zone)+" ("+plain.Span(i.End.Sub(i.Start))+")")
	} else {
		row("start", "")
	}
	if i.CutFrom != "" {
		row("cut from", i.CutFrom)
	}
	if i.LostBefore != "" {
		row("note", i.LostBefore)
	}
	row("events", humanize.Comma(int64(i.EventsTotal)))
	row("lost", humanize.Comma(int64(i.Lost)))
	if i.Integrity != "" {
		row("input", i.Integrity)
	}
	if c := i.Capture; c != nil {
		writeCapture(row, c)
	}
	for _, note := range i.Notes {
		if !slices.Contains(i.Damage, note) {
			row("note", note)
		}
	}
	fmt.Fprintln(t)
	writeProbes(t, i.Probes)
	if len(i.Events) > 0 { // the first is the most frequent
		width := len(humanize.Comma(int64(i.Events[0].Count)))
		for _, k := range i.Events {
			fmt.Fprintf(t, "%s\t%*s\n", k.Kind, width, humanize.Comma(int64(k.Count)))
		}
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// writeCapture writes what a capture of packets holds.
func writeCapture(row func(label, value string), c *pcap.Info) {
	row("packets", fmt.Sprintf("%s, %s of them with IP; %s on the wire", humanize.Comma(int64(c.Packets)),
		humanize.Comma(int64(c.IP)), humanize.Bytes(c.Bytes)))
	const shown = 16
	for _, n := range c.Interfaces[:min(len(c.Interfaces), shown)] {
		text := cmp.Or(n.Name, "no name")
		if n.Description != "" {
			text += " (" + n.Description + ")"
		}
		text += fmt.Sprintf(": %s, %s packets", n.Link, humanize.Comma(int64(n.Packets)))
		if n.SnapLength > 0 {
			text += fmt.Sprintf(", at most %s bytes of each", humanize.Comma(int64(n.SnapLength)))
		}
		if n.Filter != "" {
			text += ", filter " + n.Filter
		}
		row("interface", text)
	}
	if more := len(c.Interfaces) - shown; more > 0 {
		row("interface", fmt.Sprintf("%d more (--json lists them)", more))
	}
	if c.Fragments > 0 {
		row("fragments", humanize.Comma(int64(c.Fragments)))
	}
	row("captured on", c.Host)
}

// writeProbes writes what each probe showed, and what would make it show more.
func writeProbes(t io.Writer, probes []probeInfo) {
	for _, p := range probes {
		fmt.Fprintf(t, "%s\t%s\t%s\n", plain.Text(probeName(p.Name, p.Part)), p.State, plain.Text(p.Reason))
		if p.Hint != "" {
			fmt.Fprintf(t, "\t\t→ %s\n", plain.Text(p.Hint))
		}
	}
	fmt.Fprintln(t)
}

func probeName(name, part string) string {
	if part == "" {
		return name
	}
	return name + "/" + part
}

func writeInventory(w io.Writer, path string, inv etl.Inventory, zone *time.Location) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "file\t%s (etl)\n", plain.Text(path))
	fmt.Fprintf(t, "host\t%s\nsystem\twindows %s\n", plain.Text(cmp.Or(inv.Host, "unknown")), plain.Text(inv.Kernel))
	fmt.Fprintf(t, "processors\t%d\n", inv.Processors)
	end := plain.Moment(inv.End.Std(), zone) + " (" + plain.Span(inv.End.Sub(inv.Start)) + ")"
	if inv.End == 0 {
		end = "unknown: the file was not finalised"
	}
	fmt.Fprintf(t, "start\t%s\nend\t%s\n", plain.Moment(inv.Start.Std(), zone), end)
	fmt.Fprintf(t, "events\t%s\n", humanize.Comma(int64(inv.EventsTotal)))
	fmt.Fprintf(t, "lost\t%s\n", humanize.Comma(int64(inv.Lost)))
	fmt.Fprintf(t, "input\t%s\n", plain.Text(run.IntegrityLine(inv.Integrity)))
	if inv.PacketReports+inv.DropReports > 0 {
		packets := "number not known"
		if inv.Packets > 0 {
			packets = humanize.Comma(int64(inv.Packets)) + " on the wire"
		}
		fmt.Fprintf(t, "packets\t%s; %s reports of packets, %s of drops\n", packets,
			humanize.Comma(int64(inv.PacketReports)), humanize.Comma(int64(inv.DropReports)))
	}
	for _, adapter := range inv.Adapters {
		fmt.Fprintf(t, "adapter\t%s\n", plain.Text(adapter))
	}
	for _, note := range inv.Notes {
		fmt.Fprintf(t, "note\t%s\n", plain.Text(note))
	}
	fmt.Fprintln(t)
	var probes []probeInfo
	for _, p := range inv.Probes {
		probes = append(probes, infoOfProbe(p))
	}
	writeProbes(t, probes)
	width := len("count")
	if len(inv.Events) > 0 {
		width = max(width, len(humanize.Comma(int64(inv.Events[0].Count))))
	}
	fmt.Fprintf(t, "provider or class\tevent\tversion\t%*s\tname\n", width, "count")
	for _, e := range inv.Events {
		fmt.Fprintf(
			t,
			"%s\t%s\t%7d\t%*s\t%s\n",
			e.Provider,
			e.Event,
			e.Version,
			width,
			humanize.Comma(int64(e.Count)),
			plain.Text(e.Name),
		)
	}
	fmt.Fprintln(t)
	return t.Flush()
}
