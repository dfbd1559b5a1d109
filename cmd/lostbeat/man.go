package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"lostbeat/internal/config"
	"lostbeat/internal/hint"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIRECTORY",
		Short: "Write the manual pages to a directory",
		Long: `Write the manual pages, lostbeat(1) and one per command, to a directory, which is created if
it does not exist.`,
		Example: `  lostbeat man /tmp/man && man -l /tmp/man/lostbeat-findings.1
  sudo lostbeat man /usr/local/share/man/man1`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hint.New("man needs an output directory", "usage: "+cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write the manual pages: %w", err)
			}
			for name, page := range manPages(cmd.Root(), buildDate()) {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(page), 0o644); err != nil {
					return fmt.Errorf("write the manual pages: %w", err)
				}
			}
			return nil
		},
	}
}

// buildDate is the day of the commit that the program was built from: SOURCE_DATE_EPOCH where a release sets it, today
// where it is not known.
func buildDate() string {
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC().Format(time.DateOnly)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t.Format(time.DateOnly)
			}
		}
	}
	return time.Now().UTC().Format(time.DateOnly)
}

// manPages returns the manual pages by their file names.
func manPages(root *cobra.Command, date string) map[string]string {
	pages := map[string]string{}
	var names []string
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() {
			names = append(names, manName(cmd))
		}
	}
	for _, cmd := range append(root.Commands(), root) {
		if cmd != root && !cmd.IsAvailableCommand() {
			continue
		}
		var others []string
		for _, name := range append([]string{root.Name()}, names...) {
			if name != manName(cmd) {
				others = append(others, name)
			}
		}
		pages[manName(cmd)+".1"] = manPage(cmd, date, others)
	}
	return pages
}

// manName is the name of a command's page.
func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page is a manual page that is being written.
type page struct{ strings.Builder }

// section begins a section.
func (p *page) section(name string) { fmt.Fprintf(p, ".SH %s\n", name) }

// item writes a paragraph with a tag.
func (p *page) item(tag, text string) { fmt.Fprintf(p, ".TP\n%s\n%s\n", tag, roff(text)) }

// text writes paragraphs; lines that begin with a blank stay as they are.
func (p *page) text(text string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			p.WriteString(".PP\n")
		}
		if strings.HasPrefix(paragraph, " ") {
			p.verbatim(paragraph)
			continue
		}
		fmt.Fprintln(p, roff(paragraph))
	}
}

// verbatim writes lines as they are.
func (p *page) verbatim(text string) { fmt.Fprintf(p, ".nf\n%s\n.fi\n", roff(text)) }

// roff escapes what troff gives a meaning to.
func roff(text string) string {
	lines := strings.Split(escapes.Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// escapes are the characters that troff would typeset, so that what is copied from a page is what was meant.
var escapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// manPage is the page of a command; others are the names of all other pages.
func manPage(cmd *cobra.Command, date string, others []string) string {
	p := new(page)
	name := manName(cmd)
	fmt.Fprintf(p, ".TH %q 1 %q %q\n", strings.ToUpper(name), date, tool())
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", roff(name), roff(strings.ToLower(cmd.Short[:1])+cmd.Short[1:]))
	p.section("SYNOPSIS")
	use := strings.TrimSuffix(cmd.UseLine(), " [flags]")
	_, arguments, _ := strings.Cut(use, cmd.CommandPath())
	fmt.Fprintf(p, ".B %s\n[\\fIflags\\fR]%s\n", roff(cmd.CommandPath()), roff(arguments))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(p, ".br\n.B %s\n\\fIcommand\\fR [\\fIflags\\fR] [\\fIarguments\\fR]\n", roff(cmd.CommandPath()))
	}
	p.section("DESCRIPTION")
	if cmd.Long != "" {
		p.text(cmd.Long)
	} else {
		p.text(cmd.Short + ".")
	}
	if cmd.HasAvailableSubCommands() {
		p.section("COMMANDS")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				p.item(`\fB`+roff(sub.Name())+`\fR`, sub.Short+".")
			}
		}
	}
	if cmd.HasAvailableFlags() {
		p.section("OPTIONS")
		cmd.Flags().VisitAll(p.flag)
	}
	if cmd.Example != "" {
		p.section("EXAMPLES")
		p.verbatim(cmd.Example)
	}
	p.section("EXIT STATUS")
	for _, s := range exitStatuses(cmd) {
		p.item(fmt.Sprintf(`\fB%d\fR`, s.status), s.meaning)
	}
	p.files(cmd)
	p.environment(cmd)
	p.section("SEE ALSO")
	for i, other := range others {
		comma := ","
		if i == len(others)-1 {
			comma = ""
		}
		fmt.Fprintf(p, ".BR %s (1)%s\n", roff(other), comma)
	}
	return p.String()
}

// flag writes a flag.
func (p *page) flag(f *pflag.Flag) {
	if f.Hidden {
		return
	}
	argument, usage := pflag.UnquoteUsage(f)
	tag := `\fB` + roff("--"+f.Name) + `\fR`
	if f.Shorthand != "" {
		tag = `\fB` + roff("-"+f.Shorthand) + `\fR, ` + tag
	}
	if argument != "" {
		tag += ` \fI` + roff(argument) + `\fR`
	}
	text := strings.ToUpper(usage[:1]) + usage[1:] + "."
	if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0s" && d != "0B" {
		text += " Default: " + d + "."
	}
	p.item(tag, text)
}

// files writes which files a command reads by itself.
func (p *page) files(cmd *cobra.Command) {
	if !takesSettings(cmd) {
		return
	}
	p.section("FILES")
	home := func(name string) string { return map[string]string{"HOME": "/~"}[name] }
	for i, path := range config.Paths("linux", home) {
		whose := "Settings of the system."
		if i > 0 {
			whose = "Settings of the user, which override those of the system."
		}
		p.item(`\fI`+roff(strings.Replace(filepath.ToSlash(path), "/~", "~", 1))+`\fR`, whose+" See lostbeat-config(1).")
	}
}

// environment writes which variables change what a command does.
func (p *page) environment(cmd *cobra.Command) {
	type variableDoc struct{ name, text string }
	var docs []variableDoc
	add := func(name, text string) { docs = append(docs, variableDoc{name, text}) }
	has := func(flag string) bool { return cmd.Flags().Lookup(flag) != nil }
	if takesSettings(cmd) {
		add(variable("config"), "A settings file, as --config.")
	}
	if has("set") {
		add(variable("set"), "Thresholds, as --set, separated by commas.")
	}
	for _, o := range options() {
		flag := cmd.Flags().Lookup(o.name)
		if flag != nil && !flag.Hidden && o.from == anywhere && (!o.host || watchesHost(cmd)) {
			add(variable(o.name), "As --"+o.name+".")
		}
	}
	if watchesHost(cmd) {
		add(debugLog, "A file to which hidden tracing errors are appended.")
	}
	if has("ascii") {
		add("LC_ALL, LC_CTYPE, LANG, TERM", "Whether more than ASCII is drawn, unless --ascii says so.")
		add("NO_COLOR", "No colours are drawn when it is not empty.")
	}
	if cmd.Name() == "top" {
		add("COLUMNS, LINES", "The size of what is printed.")
	}
	if has("exec") {
		add("LOSTBEAT_FINDING_ID, ..._DETECTOR, ..._SEVERITY, ..._TITLE, ..._START, ..._END, ..._ONGOING",
			"Passed to the program of --exec: a summary of the finding.")
	}
	if len(docs) == 0 {
		return
	}
	p.section("ENVIRONMENT")
	for _, d := range docs {
		p.item(`\fB`+roff(d.name)+`\fR`, d.text)
	}
}

// statusDoc is what an exit status means.
type statusDoc struct {
	status  int
	meaning string
}

// exitStatuses are those of a command.
func exitStatuses(cmd *cobra.Command) []statusDoc {
	switch cmd.Name() {
	case "check":
		return []statusDoc{
			{int(checkOK), "No fault was seen, or only notes of severity info."},
			{int(checkWarning), "A finding of severity warning."},
			{int(checkCritical), "A finding of severity critical."},
			{int(checkUnknown), "Nothing could be observed, or the command line is wrong."},
		}
	case "findings":
		return []statusDoc{
			{exitOK, "Done."},
			{exitFinding, "With --exit-code: there is a finding of severity warning or critical."},
			{exitError, "An error; other files were still read."},
			{exitIncomplete, "An input is incomplete; the missing part was not judged."},
		}
	case "report":
		return []statusDoc{
			{exitOK, "Done."},
			{exitError, "An error; nothing was written."},
			{exitIncomplete, "An input is incomplete; the report says what is missing."},
		}
	case "info", "events", "diff":
		return []statusDoc{
			{exitOK, "Done."},
			{exitError, "An error; other files were still read."},
			{exitIncomplete, "An input is incomplete; the missing part was not judged."},
		}
	case "record":
		return []statusDoc{
			{exitOK, "The recording is complete."},
			{exitError, "An error."},
			{exitIncomplete, "The recording lacks events: the disk was full or too slow."},
		}
	}
	return []statusDoc{{exitOK, "Done."}, {exitError, "An error, with a hint if there is a fix."}}
}
