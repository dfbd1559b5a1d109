//go:build linux

package lab

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Report prints the results as a table, and under it what went wrong. It
// reports whether every verdict was right.
func Report(w io.Writer, results []*Result) bool {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "scenario\texpected\tgot\tverdict after\tsure after\tadvice helps after\tfalse alarms\tlost\t")
	ok := true
	for _, r := range results {
		ok = ok && r.OK()
		var expected, got []string
		for _, x := range r.Scenario.Expect {
			expected = append(expected, x.Detector)
		}
		for _, f := range r.Findings {
			got = append(got, f.Detector)
		}
		after, sure := "-", "-"
		if r.Verdict > 0 {
			after, sure = r.Verdict.Round(100*time.Millisecond).String(), r.Sure.Round(100*time.Millisecond).String()
		}
		helped := "-"
		switch {
		case len(r.Unhelped) > 0:
			helped = "no"
		case r.Helped > 0:
			helped = r.Helped.Round(100 * time.Millisecond).String()
		}
		mark := "ok"
		switch {
		case r.NotRun != "":
			mark = "not run: install " + r.NotRun
		case r.Err != nil:
			mark = "ERROR"
		case !r.OK():
			mark = "WRONG"
		}
		fmt.Fprintf(
			tw,
			"%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n",
			r.Scenario.Name,
			list(expected),
			list(got),
			after,
			sure,
			helped,
			len(r.False),
			r.Lost,
			mark,
		)
	}
	tw.Flush()
	for _, r := range results {
		if r.Err != nil {
			fmt.Fprintf(w, "%s: %v\n", r.Scenario.Name, r.Err)
		}
		for _, x := range r.Early {
			fmt.Fprintf(w, "%s: missing while the fault lasted: %s %q\n", r.Scenario.Name, x.Detector, x.Contains)
		}
		for _, x := range r.After {
			fmt.Fprintf(w, "%s: missing just after the fault: %s %q\n", r.Scenario.Name, x.Detector, x.Contains)
		}
		for _, text := range r.Changed {
			fmt.Fprintf(w, "%s: another claim %s\n", r.Scenario.Name, text)
		}
		for _, text := range r.Unsaid {
			fmt.Fprintf(w, "%s: no advice of a finding says %s\n", r.Scenario.Name, text)
		}
		for _, text := range r.Unhelped {
			fmt.Fprintf(w, "%s: the advice does not help: %s\n", r.Scenario.Name, text)
		}
		for _, text := range r.Disagrees {
			fmt.Fprintf(w, "%s: a victim's log disagrees: %s\n", r.Scenario.Name, text)
		}
		for _, x := range r.Missing {
			fmt.Fprintf(w, "%s: missing: %s %q\n", r.Scenario.Name, x.Detector, x.Contains)
			for _, f := range r.Findings {
				fmt.Fprintf(w, "%s:   instead: %s: %s\n", r.Scenario.Name, f.Detector, f.Title)
			}
		}
		for _, f := range r.False {
			fmt.Fprintf(w, "%s: false alarm: %s: %s\n", r.Scenario.Name, f.Detector, f.Title)
		}
		for _, f := range r.Elsewhere {
			fmt.Fprintf(w, "%s: elsewhere on this host: %s: %s\n", r.Scenario.Name, f.Detector, f.Title)
		}
	}
	return ok
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
