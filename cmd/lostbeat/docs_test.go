package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lostbeat/sink/notify"

	"github.com/spf13/pflag"
)

// inlineCode is code within a line of Markdown.
var inlineCode = regexp.MustCompile("`([^`]+)`")

// trailing is what explains an example, after the command: a comment, or text behind a gap.
var trailing = regexp.MustCompile(`\s+#.*$|\s{3,}\S.*$`)

// invocation is a command line of lostbeat.
var invocation = regexp.MustCompile(`^\s*(?:\$ |ExecStart=)?(?:sudo |ssh \S+ |[A-Z_]+=\S* |\S*/)*lostbeat(?:\s|$)`)

// betweenCommands divides a line of shell.
var betweenCommands = regexp.MustCompile(`; |\|\|? | && `)

// shellOperators end a command.
var shellOperators = []string{">", ">>", "<", "2>&1", "&", "2>", "2>/dev/null", "&&", ";"}

// notRun are command lines in the documentation that are not ours to run.
var notRun = map[string]bool{
	"watch --also titles=FILE":            true, // ADDING.md: an output that the example adds
	"completion bash":                     true, // cobra's own command is made when it is run
	"completion zsh":                      true,
	"completion fish":                     true,
	"completion powershell":               true,
	"COMMAND --help":                      true,
	"completion bash|zsh|fish|powershell": true,
}

// TestDocumentedCommands parses every command line of lostbeat in the documentation and in the help.
func TestDocumentedCommands(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"README.md", "CONTRIBUTING.md", "SECURITY.md", "contrib/lostbeat.service", "contrib/lostbeat.toml",
	} {
		files = append(files, filepath.Join("..", "..", name))
	}
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fenced, number, joined := filepath.Ext(file) != ".md", 0, ""
		for line := range strings.Lines(string(text)) {
			number++
			line = strings.TrimRight(line, "\n")
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
				continue
			}
			place := fmt.Sprintf("%s:%d", filepath.Base(file), number)
			if !fenced {
				for _, code := range inlineCode.FindAllStringSubmatch(line, -1) {
					count += documented(t, place, code[1], true)
				}
				continue
			}
			if rest, ok := strings.CutSuffix(line, `\`); ok { // goes on in the next line
				joined += rest
				continue
			}
			count += documented(t, place, joined+line, false)
			joined = ""
		}
	}
	if count < 60 {
		t.Errorf("only %d command lines were found in the documentation", count)
	}
	root := newRoot()
	for _, cmd := range append(root.Commands(), root) {
		found := 0
		for line := range strings.Lines(cmd.Example) {
			found += documented(t, "help of "+cmd.Name(), strings.TrimSpace(line), false)
		}
		if cmd.Example != "" && found == 0 {
			t.Errorf("help of %s: no example was found in %q", cmd.Name(), cmd.Example)
		}
	}
}

// documented parses the command lines of lostbeat in a line, and says how many there were. Inline code has to begin
// with it, and may leave out arguments.
func documented(t *testing.T, place, line string, inline bool) (count int) {
	t.Helper()
	for _, part := range betweenCommands.Split(trailing.ReplaceAllString(line, ""), -1) {
		if at := invocation.FindString(part); at != "" && !strings.ContainsAny(line, "●▸") { // the head of a screen
			count++
			parses(t, place, strings.TrimSpace(part[len(at):]), inline)
		}
	}
	return count
}

// parses wants a command line to parse.
func parses(t *testing.T, place, command string, inline bool) {
	t.Helper()
	if notRun[command] {
		return
	}
	words, err := notify.SplitCommand("lostbeat " + command)
	if err != nil {
		t.Errorf("%s: %q: %v", place, command, err)
		return
	}
	words = words[1:]
	if end := slices.IndexFunc(words, func(w string) bool { return slices.Contains(shellOperators, w) }); end >= 0 {
		words = words[:end]
	}
	root := newRoot()
	cmd, rest, err := root.Find(words)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil {
		if !errors.Is(err, pflag.ErrHelp) {
			t.Errorf("%s: lostbeat %s: %v", place, command, flagError(cmd, err))
		}
		return
	}
	if !inline {
		if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
			t.Errorf("%s: lostbeat %s: %v", place, command, err)
		}
	}
	if err := checkValues(cmd); err != nil && !inline {
		t.Errorf("%s: lostbeat %s: %v", place, command, err)
	}
}
