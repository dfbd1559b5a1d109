package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"lostbeat/fleet"
	"lostbeat/internal/confine"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/internal/platform"
	"lostbeat/internal/words"
	"lostbeat/sink/findings"

	"github.com/spf13/cobra"
)

// fleetSchema is the name and version of the schema of a group.
const fleetSchema = "lostbeat.fleet/1"

// fleetTimeout is how long a store may take to answer.
const fleetTimeout = 2 * time.Minute

// maxNamed is how many hosts of a group are named.
const maxNamed = 8

func newFleet() *cobra.Command {
	var (
		logs        string
		open, out   string
		since       time.Duration
		format      formatFlag
		zone        zoneFlag
		confinement confineFlag
	)
	cmd := &cobra.Command{
		Use:   "fleet --logs URL",
		Short: "List the findings of many hosts from a store of logs",
		Long: `Ask a store of logs for the findings that hosts have sent to it with 'record --otlp' or
'watch --otlp', and list them: the worst first, and those that say the same about several hosts
within a minute as one. Each has the command that opens the recording of its first host.

With --open HOST, the part of that host's recording around its worst finding is fetched by ssh
(lostbeat cut runs there) and opened: as a replay in a terminal, otherwise as findings.

The store is VictoriaLogs. Revisions and repetitions of a finding are one: its last revision counts.
A user and a password go into the URL.

Exit status: 0; 2 for an error; 3 if the answer of the store was incomplete.`,
		Example: `  lostbeat fleet --logs http://logs.example.com:9428
  lostbeat fleet --logs https://sre:secret@logs.example.com --since 24h
  lostbeat fleet --logs http://logs.example.com:9428 --open web-1
  lostbeat fleet --logs http://logs.example.com:9428 --json | jq -r '.hosts[]' | sort -u`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			form, err := format.form()
			if err != nil {
				return err
			}
			if err := checkOpen(cmd, open, out, form); err != nil {
				return err
			}
			if logs == "" {
				return hint.New("fleet needs the URL of a store", "lostbeat fleet --logs http://logs.example.com:9428")
			}
			u, err := parseStore(logs)
			if err != nil {
				return err
			}
			if since < time.Second {
				return hint.New(fmt.Sprintf("--since %s is too short", since), "use 1s or more")
			}
			here := platform.ThisHost().Name
			if isOwnProcess(cmd.Context()) && confinement.value != confineOff && open == "" {
				confine.Client(confine.Files{Read: resolverFiles}, portsOf([]string{logs}))
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), fleetTimeout)
			defer cancel()
			query := fleet.Query{URL: u, Since: since, Agent: "lostbeat/" + version}
			answer, readErr := query.Read(ctx)
			if answer == nil {
				return readErr
			}
			groups := fleet.Groups(answer.Findings)
			if open != "" {
				sayNotes(cmd, answer)
				return errors.Join(readErr, openFrom(cmd, groups, open, here, out, zone.utc))
			}
			list := bufio.NewWriter(cmd.OutOrStdout())
			for _, g := range groups {
				if form == asJSON {
					err = plain.Object(list, fleetSchema, g)
				} else {
					err = writeGroup(withBlanks(list), g, zone.zone(), here)
				}
				if err != nil {
					return err
				}
			}
			if len(groups) == 0 && form == asText {
				fmt.Fprintf(list, "no findings in the last %s\n", plain.Span(since))
			}
			if err := list.Flush(); err != nil {
				return err
			}
			sayNotes(cmd, answer)
			switch {
			case readErr != nil:
				printError(cmd.ErrOrStderr(), readErr)
				return errIncomplete
			case answer.Cut || answer.LeftOut > 0 || answer.Damaged > 0:
				return errIncomplete
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&logs, "logs", "", "base `URL` of VictoriaLogs (required)")
	flags.DurationVar(&since, "since", time.Hour, "how far back")
	flags.StringVar(&open, "open", "", "fetch the recording of this `HOST` by ssh and open it; no confinement then")
	flags.StringVarP(&out, "output", "o", "", "the `FILE` to fetch to with --open (default HOST-TIME.lostbeat)")
	format.register(cmd, "one JSON object per group, with all its findings", asText, asJSON)
	zone.register(cmd)
	confinement.register(cmd, "what this process may do: on (connect to the ports of the store and of name servers; no "+
		"programs, no files) or off, if something is refused by mistake", confineOn, confineOff)
	return cmd
}

// checkOpen refuses a host that cannot be opened, and what does not go with it.
func checkOpen(cmd *cobra.Command, host, out, form string) error {
	switch {
	case !cmd.Flags().Changed("open"):
		if out != "" {
			return hint.New("-o is for --open: the list goes to standard output", "lostbeat fleet --logs URL > FILE")
		}
		return nil
	case form != asText:
		return hint.New("--open prints no list", "leave out --json, or --open")
	}
	return checkHost(host)
}

// resolverFiles are those that finding and trusting a server takes.
var resolverFiles = []string{
	"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/run",
	"/proc/sys",
}

// parseStore reads the URL of a store.
func parseStore(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, hint.New("not the URL of a store of logs", "write it like http://logs.example.com:9428")
	}
	return u, nil
}

// sayNotes prints what is missing in an answer.
func sayNotes(cmd *cobra.Command, a *fleet.Answer) {
	for _, line := range notesOf(a) {
		fmt.Fprintf(cmd.ErrOrStderr(), "lostbeat: %s\n", line)
	}
}

// notesOf says what is missing in an answer, and what hosts have lost.
func notesOf(a *fleet.Answer) (lines []string) {
	if a.Cut {
		lines = append(lines, "the answer of the store was cut off: ask for less with --since")
	}
	if a.Damaged > 0 {
		lines = append(lines, words.Plural(a.Damaged, "record")+" in the answer could not be understood")
	}
	if a.LeftOut > 0 {
		lines = append(lines, words.Plural(a.LeftOut, "record")+" more were left out: ask for less with --since")
	}
	lost, hosts := int64(0), 0
	for _, n := range a.Lost {
		if n > 0 {
			lost += n
			hosts++
		}
	}
	if lost > 0 {
		lines = append(lines, fmt.Sprintf("%s could not deliver %s", words.Plural(hosts, "host"),
			words.Plural(lost, "finding")))
	}
	return lines
}

// writeGroup prints a group for people. here is the name of this host.
func writeGroup(w io.Writer, g fleet.Group, zone *time.Location, here string) error {
	var b strings.Builder
	who := plain.Text(g.Hosts[0])
	if len(g.Hosts) > 1 {
		who = words.Plural(len(g.Hosts), "host")
	}
	mark, when := findings.Mark(g.Severity), findings.Moment(g.First, zone)
	if g.Last.Sub(g.First) >= time.Second {
		when = fmt.Sprintf("%s to %s", g.First.Std().In(zone).Format("2006-01-02 15:04:05"),
			g.Last.Std().In(zone).Format("15:04:05 MST"))
	}
	fmt.Fprintf(&b, "%s %s: %s\n    %s · %s · began %s", mark, who, plain.Text(g.Title), plain.Text(g.Severity),
		plain.Text(g.Detector), when)
	if g.Active > 0 {
		fmt.Fprintf(&b, " · %d active", g.Active)
	}
	b.WriteByte('\n')
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "    %-10s%s\n", label, plain.Text(text))
		}
	}
	line("common", g.Common)
	line("why", g.Cause)
	if len(g.Hosts) > 1 {
		named := strings.Join(g.Hosts[:min(len(g.Hosts), maxNamed)], ", ")
		if more := len(g.Hosts) - maxNamed; more > 0 {
			named += fmt.Sprintf(" and %s more", words.Exact(more))
		}
		line("hosts", named)
	}
	for _, f := range g.Findings {
		if f.Recording != "" {
			line("open", openCommand(f, here))
			break
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// openCommand is the command that prints the findings of a recording in full: here, or on its host.
func openCommand(f fleet.Finding, here string) string {
	command := "lostbeat findings " + shellWord(f.Recording)
	if f.Host == here || f.Host == "" {
		return command
	}
	return "ssh " + shellWord(f.Host) + " sudo " + command
}

// shellWord is a word for a shell.
func shellWord(word string) string {
	plainWord := !strings.ContainsFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("./_-+:@,%", r)
	})
	if plainWord && word != "" && word[0] != '-' {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
