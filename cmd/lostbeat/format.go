package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"lostbeat/internal/hint"
	"lostbeat/internal/plain"

	"github.com/spf13/cobra"
)

// Forms in which commands print.
const (
	asText     = "text"
	asJSON     = "json"
	asCSV      = "csv"
	asMarkdown = "md"
)

// formatFlag is the flag --format, with --json as its short form. It implements pflag.Value.
type formatFlag struct {
	name    string
	allowed []string
	// chosen says that --format was given, json that --json was.
	chosen, json bool
}

// register adds the flags to a command that prints in the given forms; jsonHelp says what --json prints, and is empty
// where that is none of them.
func (f *formatFlag) register(cmd *cobra.Command, jsonHelp string, allowed ...string) {
	f.name, f.allowed = allowed[0], allowed
	cmd.Flags().Var(f, "format", "how to print: "+strings.Join(allowed, ", "))
	if jsonHelp != "" {
		cmd.Flags().BoolVar(&f.json, "json", false, jsonHelp+"; the same as --format json")
	}
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return allowed, cobra.ShellCompDirectiveNoFileComp
	}
	if err := cmd.RegisterFlagCompletionFunc("format", complete); err != nil {
		panic(fmt.Sprintf("completion of --format of %s: %v", cmd.Name(), err)) // registered twice
	}
}

// Set implements pflag.Value.
func (f *formatFlag) Set(s string) error {
	if !slices.Contains(f.allowed, s) {
		return hint.New("there is no such format here", "formats: "+strings.Join(f.allowed, ", "))
	}
	f.name, f.chosen = s, true
	return nil
}

// String implements pflag.Value.
func (f *formatFlag) String() string { return f.name }

// Type implements pflag.Value.
func (f *formatFlag) Type() string { return "FORMAT" }

// form returns the form that is asked for.
func (f *formatFlag) form() (string, error) {
	switch {
	case f.json && f.chosen && f.name != asJSON:
		return "", hint.New("--json and --format "+f.name+" exclude each other", "--json is --format json")
	case f.json:
		return asJSON, nil
	}
	return f.name, nil
}

// table is what is printed as lines with cells.
type table struct {
	head []string
	rows [][]string
}

// csv writes the table as CSV, safe for spreadsheets.
func (t table) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	for _, row := range append([][]string{t.head}, t.rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain.Cell(cell)
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// markdown writes the table as Markdown.
func (t table) markdown(w io.Writer) error {
	var b strings.Builder
	line := func(cells []string) {
		for _, cell := range cells {
			b.WriteString("| " + plain.Markdown(cell) + " ")
		}
		b.WriteString("|\n")
	}
	line(t.head)
	b.WriteString(strings.Repeat("|---", len(t.head)) + "|\n")
	for _, row := range t.rows {
		line(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fenced writes text that is aligned by blanks as a block of Markdown.
func fenced(w io.Writer, write func(io.Writer) error) error {
	if _, err := io.WriteString(w, "```text\n"); err != nil {
		return err
	}
	if err := write(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, "```\n")
	return err
}
