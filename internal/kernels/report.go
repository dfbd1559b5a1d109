// Package kernels runs probes, tests and fault scenarios on other kernels under QEMU, and writes what came of it as
// docs/KERNELS.md. Everything in it is a test; `make kernels` runs it.
package kernels

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lostbeat/internal/plain"
)

// Kinds of rows.
const (
	// kindPart is a part of a probe, as `lostbeat doctor` reports it; kindCheck what the system allows.
	kindPart  = "part"
	kindCheck = "check"
	// kindTests are the tests of a package, kindScenario is a scenario of the lab.
	kindTests    = "tests"
	kindScenario = "scenario"
	// kindHealthy is a guest that is busy and has no fault.
	kindHealthy = "healthy"
)

// row is one result on one kernel.
type row struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Result is what stands in the table.
	Result string `json:"result"`
	// Detail says more about it, empty nothing; rows with the same detail share a note.
	Detail string `json:"detail,omitempty"`
	// Wrong says that it is not as it should be.
	Wrong bool `json:"wrong,omitempty"`
}

// rowMark precedes a row on a guest's console.
const rowMark = "@row "

// String returns the line with which a guest reports a row.
func (r row) String() string {
	text, err := json.Marshal(r)
	if err != nil {
		return err.Error() // strings and a bool
	}
	return rowMark + string(text)
}

// parseRow reads a line of a guest's console, false for others.
func parseRow(line string) (r row, ok bool) {
	_, text, ok := strings.Cut(line, rowMark)
	return r, ok && json.Unmarshal([]byte(text), &r) == nil
}

// kernel is a column of the tables, and a file in the folder of results.
type kernel struct {
	Name string `json:"name"` // "6.1 amd64"
	// Release is the release and version as uname prints them.
	Release string `json:"release"`
	// Day is when it was run: "2026-11-30".
	Day string `json:"day"`
	// Short says that only the first scenarios were run, and no tests of packages.
	Short bool  `json:"short,omitempty"`
	Rows  []row `json:"rows"`
}

// path is the file of a kernel's results.
func (k kernel) path(folder string) string {
	return filepath.Join(folder, strings.ReplaceAll(k.Name, " ", "-")+".json")
}

// save keeps the results of a kernel: in place of all earlier ones, or, where a part was run, of those of that part.
func (k kernel) save(folder string, part bool) error {
	earlier, err := saved(folder, []string{k.Name})
	if err != nil {
		return err
	}
	if part && len(earlier) > 0 {
		rows := earlier[0].Rows
		for _, r := range k.Rows {
			same := func(o row) bool { return o.Kind == r.Kind && o.Name == r.Name }
			if i := slices.IndexFunc(rows, same); i >= 0 {
				rows[i] = r
			} else {
				rows = append(rows, r)
			}
		}
		k.Short, k.Rows = earlier[0].Short, rows
	}
	text, err := json.MarshalIndent(k, "", "\t")
	return cmp.Or(err, os.MkdirAll(folder, 0o755), os.WriteFile(k.path(folder), text, 0o644))
}

// saved returns the kept results of those of the given kernels that have been run.
func saved(folder string, names []string) (list []kernel, err error) {
	for _, name := range names {
		path := kernel{Name: name}.path(folder)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var k kernel
		if err = cmp.Or(err, json.Unmarshal(text, &k)); err != nil {
			return nil, fmt.Errorf("results in %s: %w", path, err)
		}
		list = append(list, k)
	}
	return list, nil
}

// page writes the results of all kernels. A scenario that no kernel has run is in left, with the reason.
func page(kernels []kernel, left [][2]string) string {
	var out strings.Builder
	out.WriteString(`# Kernels

What works on which kernel, as found by ` + "`make kernels`" + `: Debian's kernels under QEMU, without hardware
acceleration. Nothing on this page is written by hand. Times are the guest's; emulation stretches them 10 to 20 times,
so that limits of time are generous here and say nothing about cost.

`)
	for _, k := range kernels {
		fmt.Fprintf(&out, "- **%s**, last run on %s: %s\n", k.Name, k.Day, k.Release)
	}
	notes := &notes{}
	for _, section := range []struct{ kind, title, text string }{
		{kindCheck, "What the kernel offers", "The backends that probes are built on, as `lostbeat doctor` reports them."},
		{kindPart, "Probes", "Each part of each probe: on, degraded or off."},
		{kindTests, "Tests that need privileges", "How many tests of a package passed; those that could not run are " +
			"skipped, and say why in a note."},
		{kindScenario, "Verdicts", "Faults that `lostbeat lab` makes, and how long after the fault the verdict came. " +
			"Further findings are those about the emulated processor, which stands still at times."},
		{kindHealthy, "Without a fault", "A guest whose CPUs are busy: real-time threads with timers, packets that are " +
			"read in time, heartbeats, processes that come and go, programs that compute."},
	} {
		table(&out, section.kind, section.title, section.text, kernels, notes)
	}
	if len(left) > 0 {
		out.WriteString("\n## What was not tried\n\n")
		for _, l := range left {
			fmt.Fprintf(&out, "- %s: %s\n", l[0], l[1])
		}
	}
	if len(notes.list) > 0 {
		out.WriteString("\n## Notes\n\n")
		for i, n := range notes.list {
			fmt.Fprintf(&out, "%d. %s\n", i+1, n)
		}
	}
	return plain.Fill(out.String(), 120)
}

// notes numbers details, each once.
type notes struct{ list []string }

func (n *notes) number(detail string) int {
	i := slices.Index(n.list, detail)
	if i < 0 {
		n.list = append(n.list, detail)
		i = len(n.list) - 1
	}
	return i + 1
}

// table writes the rows of a kind, a line for each name and a column for each kernel.
func table(out *strings.Builder, kind, title, text string, kernels []kernel, notes *notes) {
	var names []string
	for _, k := range kernels {
		for _, r := range k.Rows {
			if r.Kind == kind && !slices.Contains(names, r.Name) {
				names = append(names, r.Name)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n| |", title, text)
	for _, k := range kernels {
		fmt.Fprintf(out, " %s |", k.Name)
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(kernels)) + "\n")
	for _, name := range names {
		fmt.Fprintf(out, "| %s |", name)
		for _, k := range kernels {
			cell := "not run"
			for _, r := range k.Rows {
				if r.Kind != kind || r.Name != name {
					continue
				}
				cell = r.Result
				if r.Wrong {
					cell = "**" + cell + "**"
				}
				if r.Detail != "" {
					cell += fmt.Sprintf(" (%d)", notes.number(r.Detail))
				}
			}
			fmt.Fprintf(out, " %s |", cell)
		}
		out.WriteString("\n")
	}
}
