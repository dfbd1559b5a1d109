package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"

	"lostbeat/internal/confine"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/platform"
	"lostbeat/model"
	"lostbeat/probes"
	"lostbeat/run"
	"lostbeat/source/applog"

	"github.com/spf13/cobra"
)

// doctorRow is one line of `doctor`: something that tracing needs or a part of a probe.
type doctorRow struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

func newDoctor() *cobra.Command {
	var format formatFlag
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what works on this host, what does not, why, and how to fix it",
		Long: `Check what this system allows and, with privileges, attach every probe briefly and report each
part: on, degraded or off, why, and how to fix it.`,
		Example: `  sudo lostbeat doctor
  sudo lostbeat doctor --json | jq 'select(.state != "on" and .state != "yes")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			form, err := format.form()
			if err != nil {
				return err
			}
			rows, err := diagnose(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			t := table{head: []string{"check", "state", "detail", "what would help"}}
			for _, row := range rows {
				t.rows = append(t.rows, []string{row.Name, row.State, row.Detail, row.Hint})
			}
			switch form {
			case asJSON:
				for _, row := range rows {
					if err := plain.Object(out, doctorSchema, row); err != nil {
						return err
					}
				}
				return nil
			case asCSV:
				return t.csv(out)
			case asMarkdown:
				return t.markdown(out)
			}
			return writeDiagnosis(out, rows)
		},
	}
	format.register(cmd, "one JSON object per line", asText, asJSON, asCSV, asMarkdown)
	return cmd
}

// doctorSchema is the name and version of the schema of doctorRow.
const doctorSchema = "lostbeat.doctor/1"

// writeDiagnosis prints the rows for people.
func writeDiagnosis(out io.Writer, rows []doctorRow) error {
	marks := map[string]string{"yes": "✔", "on": "✔", "degraded": "▲", "unknown": "?", "no": "✖", "off": "✖"}
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(t, "%s %s\t%s\t%s\n", marks[row.State], plain.Text(row.Name), row.State, plain.Text(row.Detail))
		if row.Hint != "" && row.State != "on" && row.State != "yes" {
			fmt.Fprintf(t, "\t\t→ %s\n", plain.Text(row.Hint))
		}
	}
	return t.Flush()
}

// journalRow says whether systemd's journal can be followed.
func journalRow() doctorRow {
	row := doctorRow{Name: "journal (--log journal)", State: "yes", Detail: "journalctl is in PATH"}
	if _, err := applog.NewFollower([]applog.Followed{{Path: "journal"}}); err != nil {
		row.State, row.Detail, row.Hint = "no", err.Error(), hint.Of(err)
	}
	return row
}

// confinementRows say what the kernel has to confine lostbeat with, and which capability each feature takes.
func confinementRows() (rows []doctorRow) {
	if runtime.GOOS != "linux" {
		return nil
	}
	landlock := doctorRow{Name: "confinement: Landlock", State: "yes"}
	if version := confine.LandlockVersion(); version > 0 {
		landlock.Detail = fmt.Sprintf("version %d: commands that read files open no others", version)
	} else {
		landlock.State, landlock.Detail = "no", "commands that read files are kept from others by permissions only"
		landlock.Hint = "a kernel from 5.13 on with CONFIG_SECURITY_LANDLOCK, and landlock in lsm= on its command line"
	}
	filters := doctorRow{Name: "confinement: seccomp", State: "yes", Detail: "system calls that are not used are refused"}
	if !confine.SeccompSupported() {
		filters.State, filters.Detail = "no", "all system calls stay allowed"
		filters.Hint = "a kernel with CONFIG_SECCOMP_FILTER"
	}
	rows = append(rows, landlock, filters)
	for _, c := range confine.Capabilities() {
		row := doctorRow{Name: "capability " + c.Name, State: "yes", Detail: strings.Join(c.Features, "; ")}
		if !confine.Has(c.Name) {
			row.State, row.Hint = "no", "run as root, or grant it (AmbientCapabilities= of a unit, setcap)"
		}
		rows = append(rows, row)
	}
	return rows
}

// errSeen ends the attachment once the probes have reported themselves.
var errSeen = errors.New("all probes have reported")

// diagnose checks the system and attaches every probe for a moment.
func diagnose(ctx context.Context) ([]doctorRow, error) {
	var rows []doctorRow
	for _, c := range platform.Checks() {
		rows = append(rows, doctorRow{Name: c.Name, State: c.State.String(), Detail: c.Detail, Hint: c.Hint})
	}
	rows = append(rows, journalRow())
	rows = append(rows, confinementRows()...)
	live, err := run.OpenHost(run.HostOptions{})
	if err == nil {
		err = live.Run(ctx, func(b *model.Batch) error {
			for i := range b.Events {
				if p, ok := b.Probe(&b.Events[i]); ok {
					name := "probe " + p.Name
					if p.Part != "" {
						name += "/" + p.Part
					}
					rows = append(rows, doctorRow{Name: name, State: p.State.String(), Detail: p.Reason, Hint: p.Hint})
				}
			}
			return errSeen
		})
	}
	switch {
	case errors.Is(err, errSeen):
		return rows, nil
	case err == nil:
		return rows, ctx.Err()
	}
	for _, p := range probes.Live() {
		rows = append(rows, doctorRow{Name: "probe " + p.Name, State: "off", Detail: err.Error(), Hint: hint.Of(err)})
	}
	return rows, nil
}
