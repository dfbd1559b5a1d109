package main

import (
	"fmt"
	"io"

	"lostbeat/detect/all"
	"lostbeat/internal/hint"

	"github.com/spf13/cobra"
)

func newExplain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [NAME...]",
		Short: "Explain a detector, a drop reason, a setting or a finding, and what to do",
		Long: `Explain a detector, a drop reason, a kernel function that drops packets, a setting, or a finding
by its ID: what it means, how it is proven, its thresholds and what to do. It works offline: all
texts are in the program.

Without a name it lists the detectors.`,
		Example: `  lostbeat explain
  lostbeat explain dpc-starvation
  lostbeat explain SOCKET_RCVBUFF
  lostbeat explain starvation.late_wait`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return all.Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				listDetectors(cmd.OutOrStdout())
				return nil
			}
			for i, name := range args {
				text, ok := all.Explain(name)
				if !ok {
					return hint.New(fmt.Sprintf("there is no detector, drop reason or setting named %q", name),
						didYouMean(name, all.Names())+"'lostbeat explain' lists the detectors; reasons look like "+
							"SOCKET_RCVBUFF, settings like starvation.late_wait")
				}
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				fmt.Fprintln(cmd.OutOrStdout(), all.Unmarked(text))
			}
			return nil
		},
	}
}

func listDetectors(out io.Writer) {
	names, sentences := all.Detectors()
	for _, name := range names {
		fmt.Fprintf(out, "%s\n    %s\n", name, all.Unmarked(sentences[name]))
	}
	fmt.Fprintln(out, "\n'lostbeat explain NAME' explains a detector, a drop reason or a setting.")
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "lostbeat", version)
		},
	}
}
