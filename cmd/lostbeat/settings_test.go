package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lostbeat/internal/testutil"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// writeSettings writes a settings file.
func writeSettings(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configOf returns what `lostbeat config --json` says, by name.
func configOf(t *testing.T, args ...string) map[string]setting {
	t.Helper()
	out, errs, status := execute(t, append([]string{"config", "--json"}, args...)...)
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errs)
	}
	var now inForce
	if err := json.Unmarshal([]byte(out), &now); err != nil {
		t.Fatal(err)
	}
	settings := map[string]setting{}
	for _, s := range now.Settings {
		settings[s.Name] = s
	}
	return settings
}

// TestPrecedence sets the same settings in more and more places; the last one counts.
func TestPrecedence(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	check := func(step, name, value, from string, got setting) {
		t.Helper()
		if v := strings.Join(got.Values, "|"); v != value || got.place() != from {
			t.Errorf("%s: %s is %q from %s, want %q from %s", step, name, v, got.place(), value, from)
		}
	}
	step := "defaults"
	c := configOf(t)
	check(step, "theme", "auto", "default", c["theme"])
	check(step, "leak.min_ports", "24", "default", c["leak.min_ports"])

	step = "file of the user"
	user := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "lostbeat", "config.toml")
	if err := os.MkdirAll(filepath.Dir(user), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "theme = \"dark\"\nheartbeat = [\"auto\", \"udp:7000=2s\"]\npool = \"rpc=udp:1-2\"\n[leak]\nmin_ports = 7\n"
	if err := os.WriteFile(user, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c = configOf(t)
	check(step, "theme", "dark", user+":1", c["theme"])
	check(step, "heartbeat", "auto|udp:7000=2s", user+":2", c["heartbeat"])
	check(step, "pool", "rpc=udp:1-2", user+":3", c["pool"])
	check(step, "leak.min_ports", "7", user+":5", c["leak.min_ports"])

	step = "--config"
	other := writeSettings(t, "utc = true\n[leak]\nmin_ports = 8")
	c = configOf(t, "--config", other)
	check(step, "theme", "auto", "default", c["theme"])
	check(step, "utc", "true", other+":1", c["utc"])
	check(step, "leak.min_ports", "8", other+":3", c["leak.min_ports"])

	step = "environment"
	t.Setenv("LOSTBEAT_THEME", "light")
	t.Setenv("LOSTBEAT_HEARTBEAT", "corosync,udp:1=1s")
	t.Setenv("LOSTBEAT_LOG_PATTERN", `"a{1,2}",b`)
	t.Setenv("LOSTBEAT_SET", "leak.min_ports=9,starvation.late_wait=20ms")
	c = configOf(t)
	check(step, "theme", "light", "LOSTBEAT_THEME", c["theme"])
	check(step, "heartbeat", "corosync|udp:1=1s", "LOSTBEAT_HEARTBEAT", c["heartbeat"])
	check(step, "log-pattern", "a{1,2}|b", "LOSTBEAT_LOG_PATTERN", c["log-pattern"])
	check(step, "pool", "rpc=udp:1-2", user+":3", c["pool"])
	check(step, "leak.min_ports", "9", "LOSTBEAT_SET", c["leak.min_ports"])
	check(step, "starvation.late_wait", "20ms", "LOSTBEAT_SET", c["starvation.late_wait"])

	step = "flags"
	c = configOf(t, "--theme", "mono", "--heartbeat", "udp:9", "--set", "leak.min_ports=10", "--utc=false")
	check(step, "theme", "mono", "flag", c["theme"])
	check(step, "heartbeat", "udp:9", "flag", c["heartbeat"])
	check(step, "utc", "false", "flag", c["utc"])
	check(step, "leak.min_ports", "10", "flag", c["leak.min_ports"])
	check(step, "starvation.late_wait", "20ms", "LOSTBEAT_SET", c["starvation.late_wait"])

	step = "LOSTBEAT_CONFIG"
	t.Setenv("LOSTBEAT_CONFIG", other)
	c = configOf(t)
	check(step, "utc", "true", other+":1", c["utc"])
	check(step, "pool", "", "default", c["pool"])
}

// TestShippedSettings reads the settings file of the packages as it is, which changes nothing, and with all that is
// commented out in it.
func TestShippedSettings(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testutil.Root(t), "contrib", "lostbeat.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range configOf(t, "--config", writeSettings(t, string(text))) {
		if s.From != "default" {
			t.Errorf("%s is set", name)
		}
	}
	example := regexp.MustCompile(`(?m)^#(\S)`)
	settings := configOf(t, "--config", writeSettings(t, example.ReplaceAllString(string(text), "$1")))
	set := 0
	for _, s := range settings {
		if s.From == "file" {
			set++
		}
	}
	if want := len(example.FindAllString(string(text), -1)) - 1; set != want { // one is the head of a table
		t.Errorf("%d settings of %d are set", set, want)
	}
}

// TestSettingsChangeVerdicts applies a file to a command that judges, but not what is for this host only.
func TestSettingsChangeVerdicts(t *testing.T) {
	path := sampleRecording(t)
	quiet := writeSettings(t, "[leak]\nmin_ports = 5000\nmin_ports_fast = 5000\n")
	if out, errs, status := execute(t, "findings", "--config", quiet, path); status != exitOK ||
		strings.Contains(out, "port-leak") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	hosts := writeSettings(t, "pool = \"half=udp:5000-5499\"\nlog = \"/proc/nothing\"\nutc = true\n")
	out, errs, status := execute(t, "findings", "--config", hosts, path)
	if status != exitOK || strings.Contains(out, "pool half") || !strings.Contains(out, "14:03:59.500 UTC") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

func TestSettingsErrors(t *testing.T) {
	for text, want := range map[string][2]string{
		"\ntheem = \"dark\"":           {`:2: there is no setting "theem"`, "did you mean theme?"},
		"[leek]":                       {`:1: there is no table "leek"`, "did you mean leak?"},
		"[leak]\nmin_port = 3":         {`:2: there is no setting "leak.min_port"`, "did you mean leak.min_ports?"},
		"[leak]\nmin_ports = -3":       {`:2: leak.min_ports "-3": not a whole number`, "the default is 24"},
		"[leak]\nmin_ports = [3]":      {`:2: leak.min_ports takes one value`, "without brackets"},
		"theme = \"neon\"":             {`:1: theme "neon": there is no such theme`, "themes: auto"},
		"theme = [\"dark\"]":           {`:1: theme takes one value`, "without brackets"},
		"utc = true\npool = \"x\"":     {`:2: pool "x": no name`, "rpc=udp:5000-5100"},
		"threshold = \"-1s\"":          {`:1: threshold "-1s": negative`, "10s"},
		"threshold = 5":                {`:1: threshold "5": not a duration`, "500ms"},
		"utc = \"perhaps\"":            {`:1: utc "perhaps": neither true nor false`, "true or false"},
		"output = \"x.lostbeat\"":      {`:1: there is no setting "output"`, "lostbeat config --all"},
		"set = \"leak.min_ports=3\"":   {`:1: there is no setting "set"`, "lostbeat config --all"},
		"utc = true\nutc = false":      {`not TOML`, "write lines like"},
		"[lifecycle]\nwindow = \"2h\"": {`lifecycle.window: 2h0m0s is not between`, "docs/DETECTORS.md"},
	} {
		_, errs, status := execute(t, "config", "--config", writeSettings(t, text))
		if status != exitError || !strings.Contains(errs, want[0]) || !strings.Contains(errs, want[1]) {
			t.Errorf("%q: status %d, %s; want %q", text, status, errs, want)
		}
	}
	t.Setenv("LOSTBEAT_EXEC", "/bin/true")
	if _, errs, status := execute(t, "config"); status != exitError ||
		!strings.Contains(errs, "LOSTBEAT_EXEC is not read: no environment variable may name a program") {
		t.Errorf("a program in a variable: status %d, %s", status, errs)
	}
	os.Unsetenv("LOSTBEAT_EXEC")
	t.Setenv("LOSTBEAT_THRESHOLD", "5")
	if _, errs, status := execute(t, "config"); status != exitError ||
		!strings.Contains(errs, `LOSTBEAT_THRESHOLD "5": not a duration`) {
		t.Errorf("a variable: status %d, %s", status, errs)
	}
}

// wrongValues are values that flags of a name, or of a type, refuse.
var wrongValues = map[string][]string{
	"bool":                  {"maybe", "2", ""},
	"duration":              {"5", "-1s", "x", "", "1 minute", "9999999999h"},
	"size":                  {"x", "-1", "", "1e30", "5 apples"},
	"float64":               {"x", "", "0", "-1", "NaN", "Inf", "1e400"},
	"set":                   {"x", "leak.min_ports=x", "leak.min_ports=-1", "leak.min_ports=1.5", "leak.x=1", "=", ""},
	"pool":                  {"x", "rpc=udp:9-1", "rpc=udp:0-1", "rpc=udp:1-70000", "=udp:1", "rpc=udp:a", "rpc=udp", ""},
	"heartbeat":             {"x", "udp:0", "udp:70000", "udp:5405=5", "udp:5405=-1s", "sctp:1", "udp:a", ""},
	"probe":                 {"x", "dorp"},
	"kind":                  {"x", "dorp"},
	"theme":                 {"neon", ""},
	"confine":               {"maybe", ""},
	"format":                {"xml", ""},
	"log-time":              {"x", "+25", "20x3 +01:00"},
	"log-pattern":           {"(", "[z-a]", `\`},
	"also":                  {"x", "text=", "xml=x"},
	"max-cpu":               {"x", "-1", "NaN", "", "%", "Inf", "3 cores"},
	"ring-size":             {"3", "16M", "2GiB", "0", "x"},
	"memory":                {"1KiB", "0", "x"},
	"utc-offset":            {"x", "1", "+1", "+25:00"},
	"code-page":             {"x", "cp9999"},
	"counter-name":          {"x", "a=b", `a\b=c`},
	"at":                    {"25:00", "yesterday", "14:61", "2026-13-01 10:00:00"},
	"since":                 {"25:00", "yesterday"},
	"exec":                  {"''", "'", " "},
	"webhook":               {"x", "ftp://a/", "http://", "alerts.example.com"},
	"otlp-endpoint":         {"x", "ftp://a/", "http://", "collector:4318"},
	"otlp-metrics-endpoint": {"x", "ftp://a/", "http://", "collector:4318"},
	"logs":                  {"x", "ftp://a/", "logs:9428"},
	"until":                 {"25:00", "tomorrow"},
	"listen":                {"x", "127.0.0.1", "127.0.0.1:http", ":70000", "http://127.0.0.1:9746"},
	"metrics-file":          {"metrics", "lostbeat.txt"},
	"open":                  {"", "-web", "web 1", "web/1", ".", "root@web-1"},
}

// anyValue are flags that take any text: names of files, which are looked for later.
var anyValue = map[string]bool{
	"output": true, "otlp-journal": true, "config": true, "log": true, "finding": true, "rpc-ports": true}

// goWords are from errors of Go's packages, which say nothing about what to write.
var goWords = []string{
	"strconv", "parsing", "invalid argument", "time:", "syntax", "unknown unit", "missing unit", "flag:", "pflag",
	"argument",
	"humanize", "%!", "nil",
}

// TestWrongValues gives each flag of each command values that are wrong: a sentence has to say so, and what to write.
func TestWrongValues(t *testing.T) {
	root := newRoot()
	for _, cmd := range append(root.Commands(), root) {
		if cmd.Hidden || cmd.Name() == "completion" {
			continue
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			values, named := wrongValues[f.Name]
			if !named || f.Value.Type() == "duration" {
				values = wrongValues[f.Value.Type()]
			}
			switch {
			case f.Name == "help" || f.Name == "version" || anyValue[f.Name]:
				return
			case len(values) == 0:
				t.Errorf("%s --%s: no wrong values of a %s are tried", cmd.Name(), f.Name, f.Value.Type())
			}
			for _, value := range values {
				refuses(t, cmd, f.Name, value)
			}
		})
	}
}

// refuses wants a command to refuse a value of a flag.
func refuses(t *testing.T, cmd *cobra.Command, flag, value string) {
	t.Helper()
	args := []string{"--" + flag + "=" + value}
	switch cmd.Name() {
	case "lostbeat":
	case "findings", "events", "info", "replay", "cut", "export", "report", "demo":
		args = append([]string{cmd.Name(), "absent"}, args...)
	case "diff":
		args = append([]string{cmd.Name(), "absent", "absent"}, args...)
	default:
		args = append([]string{cmd.Name()}, args...)
	}
	want := exitError
	if cmd.Name() == "check" {
		want = int(checkUnknown)
	}
	_, errs, status := execute(t, args...)
	message, hinted, _ := strings.Cut(errs, "\nhint: ")
	if status != want || !strings.HasPrefix(message, "lostbeat: --"+flag+" ") || len(hinted) < 8 {
		t.Errorf("%v: status %d\n%s", args, status, errs)
	}
	for _, word := range goWords {
		if strings.Contains(strings.ReplaceAll(errs, "RE2 syntax: https://github.com/google/re2/wiki/Syntax", ""), word) {
			t.Errorf("%v: %q is a word of Go's parsers\n%s", args, word, errs)
		}
	}
}

func TestCheckIsUnknownAfterAMistake(t *testing.T) {
	out, errs, status := execute(t, "check", "--since", "5")
	if status != int(checkUnknown) || out != "UNKNOWN: --since \"5\": not a duration\n" ||
		!strings.Contains(errs, "hint: ") {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}
