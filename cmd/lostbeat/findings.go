package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/model"
	"lostbeat/run"
	"lostbeat/sink/findings"

	"github.com/spf13/cobra"
)

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
They see event time only: the verdicts are the same as those of the live session.`,
		Example: `  lostbeat findings night.lostbeat
  lostbeat findings --json *.lostbeat | jq -r .title
  lostbeat findings --exit-code capture.etl || echo "look at this"`,
		Args: fileArgs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			thresholds, err := settings.settings()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
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
						err = json.NewEncoder(out).Encode(f)
					} else {
						err = findings.Write(out, f)
					}
					if err != nil {
						return err
					}
				}
				if !asJSON && len(found) == 0 {
					start, end := c.Span()
					fmt.Fprintf(
						out,
						"%s: no finding in %s, %s to %s\n",
						plain.Text(c.Path),
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
				return out.Flush()
			})
			if flushErr := out.Flush(); err == nil {
				err = flushErr
			}
			if err == nil && exitCode && total > 0 && worst >= model.SeverityWarning {
				return errFindings
			}
			return err
		},
	}
	files.register(cmd)
	files.registerPools(cmd)
	settings.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 when there is a warning or worse")
	return cmd
}
