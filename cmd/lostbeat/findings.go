package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/run"
	"lostbeat/sink/findings"

	"github.com/spf13/cobra"
)

// incomplete is what `findings --json` prints of an input that is not whole.
type incomplete struct {
	File       string `json:"file"`
	Incomplete string `json:"incomplete"`
}

func newFindings() *cobra.Command {
	var (
		files    captureFlags
		settings detectFlags
		asJSON   bool
		exitCode bool
	)
	cmd := &cobra.Command{
		Use:   "findings FILE...",
		Short: "Run the detectors over recordings and captures",
		Long: `Run the detectors over recordings and Windows captures and print what they find.
They see event time only: the verdicts are the same as those of the live session.

An input that is damaged or cut off is read as far as it can be, and one line says what is
missing; with --json that is an object with the keys file and incomplete.

Exit status: 0; 1 with --exit-code when there is a warning or worse; 2 for an error; 3 when
an input is incomplete (and with --exit-code, nothing was found in the rest).`,
		Example: `  lostbeat findings night.lostbeat
  lostbeat findings --json *.lostbeat | jq -r '.title // .incomplete'
  lostbeat findings --exit-code capture.etl || echo "look at this"`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			files.said = !asJSON
			worst := model.SeverityInfo
			total := 0
			err = eachCapture(cmd.Context(), args, files, cmd.ErrOrStderr(), func(c *run.Capture, reading *readingLine) error {
				judged, err := run.Findings(cmd.Context(), c, thresholds, reading.progress())
				reading.end()
				if err != nil {
					return err
				}
				found, unseen := judged.Findings, judged.Unseen
				for _, line := range judged.LeftOut {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: left out %s\n", plain.Text(c.Path), plain.Text(line))
				}
				for _, f := range found {
					total++
					worst = max(worst, f.Severity)
					if asJSON {
						err = plain.JSON(out, f)
					} else {
						err = findings.Write(out, f)
					}
					if err != nil {
						return err
					}
				}
				integrity := c.Integrity()
				if asJSON && !integrity.Complete() {
					if err := plain.JSON(out, incomplete{c.Path, run.IntegrityLine(integrity)}); err != nil {
						return err
					}
				}
				if !asJSON && len(found) == 0 {
					start, end := c.Span()
					what := "no finding in"
					if !integrity.Complete() {
						what = "no finding in what could be read of"
					}
					fmt.Fprintf(
						out,
						"%s: %s %s, %s to %s\n",
						plain.Text(c.Path),
						what,
						plain.Duration(end.Sub(start)),
						start.Std().Format(time.RFC3339),
						end.Std().Format(time.RFC3339),
					)
				}
				if !asJSON && len(unseen) > 0 {
					fmt.Fprintf(
						out,
						"    not judged, because it is not in the capture: %s ('lostbeat info' says why)\n",
						strings.Join(unseen, ", "),
					)
				}
				if line := run.IntegrityLine(integrity); !asJSON && line != "" {
					fmt.Fprintf(out, "    input: %s\n", plain.Text(line))
				}
				return out.Flush()
			})
			if flushErr := out.Flush(); err == nil {
				err = flushErr
			}
			if (err == nil || errors.Is(err, errIncomplete)) && exitCode && total > 0 && worst >= model.SeverityWarning {
				return errFindings
			}
			return err
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	settings.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false,
		"exit with 1 when there is a warning or worse, with 3 when there is none in an incomplete input")
	return cmd
}
