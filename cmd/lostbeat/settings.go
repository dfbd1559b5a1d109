package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"regexp"
	"regexp/syntax"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"lostbeat/detect/all"
	"lostbeat/internal/config"
	"lostbeat/internal/hint"
	"lostbeat/internal/plain"
	"lostbeat/run"
	"lostbeat/sink"
	"lostbeat/sink/metrics"
	"lostbeat/sink/notify"
	"lostbeat/sink/otlp"
	"lostbeat/source/perfmon"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// sources says where the value of a flag may come from.
type sources int

const (
	onlyFlag sources = iota
	// fileOrFlag is for flags that name a program to run: whoever may set a variable must not choose it.
	fileOrFlag
	anywhere
)

// option is a flag that can be set elsewhere, or whose values are checked before a command begins.
type option struct {
	name string
	from sources
	// host says that the value is for this host: commands that open files do not take it from elsewhere.
	host bool
	// check refuses a value; nil accepts what the flag itself accepts.
	check func(value string) error
}

// options lists them in the order in which `lostbeat config` prints them.
func options() []option {
	return []option{
		{name: "heartbeat", from: anywhere, host: true, check: checkOf(parseHeartbeat)},
		{name: "heartbeat-root", from: anywhere, host: true},
		{name: "pool", from: anywhere, host: true, check: checkOf(parsePool)},
		{name: "log", from: anywhere, host: true},
		{name: "log-time", from: anywhere, host: true, check: checkOf(parseLogTime)},
		{name: "log-pattern", from: anywhere, check: checkPattern},
		{name: "probe", from: anywhere, host: true, check: checkProbe},
		{name: "threshold", from: anywhere, host: true},
		{name: "trace", from: anywhere, host: true},
		{name: "stacks", from: anywhere, host: true},
		{name: "audit", from: anywhere, host: true},
		{name: "ring-size", from: anywhere, host: true, check: checkRingSize},
		{name: "max-cpu", from: anywhere, host: true, check: checkMaxCPU},
		{name: "raw-buffers", from: anywhere, host: true},
		{name: "also", from: anywhere, host: true, check: checkAlso},
		{name: "exec", from: fileOrFlag, host: true, check: checkOf(notify.SplitCommand)},
		{name: "webhook", from: anywhere, host: true, check: checkOf(notify.ParseURL)},
		{name: "otlp", from: anywhere, host: true},
		{name: "otlp-endpoint", from: anywhere, host: true, check: checkOf(otlp.ParseURL)},
		{name: "otlp-journal", from: fileOrFlag, host: true},
		{name: "otlp-redact", from: anywhere, host: true},
		{name: "otlp-metrics", from: anywhere, host: true},
		{name: "otlp-metrics-endpoint", from: anywhere, host: true, check: checkOf(otlp.ParseURL)},
		{name: "listen", from: anywhere, host: true, check: checkListen},
		{name: "metrics-file", from: anywhere, host: true, check: checkMetricsFile},
		{name: "memory", from: anywhere, check: checkMemory},
		{name: "utc", from: anywhere},
		{name: "ascii", from: anywhere},
		{name: "no-color", from: anywhere},
		{name: "theme", from: anywhere},
		{name: "code-page", check: checkCodePage},
		{name: "utc-offset", check: checkOf(parseOffset)},
		{name: "counter-name", check: checkOf(parseCounterName)},
		{name: "logs", check: checkOf(parseStore)},
		{name: "kind", check: func(s string) error { _, err := parseKinds([]string{s}); return err }},
		{name: "speed", check: checkSpeed},
		{name: "at", check: checkMoment},
		{name: "since", check: checkMoment},
		{name: "until", check: checkMoment},
	}
}

// checkListen refuses what is no address; an empty one listens nowhere.
func checkListen(s string) error {
	if s == "" {
		return nil
	}
	_, err := metrics.ParseAddress(s)
	return err
}

// checkMetricsFile refuses a name that is not read; an empty one is no file.
func checkMetricsFile(s string) error {
	if s == "" {
		return nil
	}
	return metrics.CheckPath(s)
}

// checkMaxCPU refuses what is no share of a core.
func checkMaxCPU(s string) error { return new(cpuShare).Set(s) }

// checkOf makes a check of a parser.
func checkOf[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error { _, err := parse(s); return err }
}

func checkPattern(s string) error {
	_, err := regexp.Compile(s)
	if err == nil {
		return nil
	}
	why := err.Error()
	if e := new(syntax.Error); errors.As(err, &e) {
		why = fmt.Sprintf("%s: %s", e.Code, e.Expr)
	}
	return hint.New("not a regular expression: "+why,
		"use RE2 syntax: https://github.com/google/re2/wiki/Syntax")
}

func checkCodePage(s string) error {
	if err := perfmon.CheckCodePage(s); err != nil {
		return hint.New("not a known code page", "give cp1250 to cp1258, cp874, cp932, cp936, cp949 or cp950")
	}
	return nil
}

func checkSpeed(s string) error {
	speed, err := strconv.ParseFloat(s, 64)
	if err != nil || !(speed > 0) || math.IsInf(speed, 0) {
		return hint.New("not above 0", "1 is the speed of the recording, 10 ten times as fast")
	}
	return nil
}

// checkMoment refuses what is no time in any capture.
func checkMoment(s string) error {
	_, err := readMoment(s, 0, 0, time.UTC)
	return err
}

func checkProbe(s string) error { return checkName("probe", s, run.ProbeNames()) }

// checkName refuses what is none of the known names of a kind.
func checkName(kind, name string, known []string) error {
	if slices.Contains(known, name) {
		return nil
	}
	return hint.New("there is no such "+kind, didYouMean(name, known)+kind+"s: "+strings.Join(known, ", "))
}

// didYouMean is a sentence with the name that is most like a mistyped one, "" without one.
func didYouMean(name string, known []string) string {
	if near := hint.Nearest(name, known); near != "" {
		return "did you mean " + near + "? "
	}
	return ""
}

func checkAlso(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok || path == "" {
		return hint.New("names no file", "write it like jsonl=findings.jsonl")
	}
	_, err := sink.Find(name, nil)
	return err
}

// place is the annotation of a flag that says where a value comes from that the command line did not give; of --config,
// which files were read.
const place = "lostbeat_place"

// placed is a value, or a list of them, and where it comes from: "/etc/lostbeat.toml:3", "LOSTBEAT_THEME".
type placed struct {
	values []string
	list   bool
	from   string
}

// inFile says that a place is a line of a file, and no variable.
func inFile(place string) bool { return strings.Contains(place, ":") }

// nameAt is what messages call a flag that has its value from a place.
func nameAt(place, flag string) string {
	if inFile(place) {
		return place + ": " + flag
	}
	return place
}

// variable is the name of the environment variable of a flag.
func variable(flag string) string {
	return "LOSTBEAT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// takesSettings says that a command has a flag that can be set elsewhere.
func takesSettings(cmd *cobra.Command) bool {
	return cmd.Flags().Lookup("set") != nil || slices.ContainsFunc(options(), func(o option) bool {
		return o.from != onlyFlag && cmd.Flags().Lookup(o.name) != nil
	})
}

// watchesHost says that a command traces this host.
func watchesHost(cmd *cobra.Command) bool { return cmd.Flags().Lookup("ring-size") != nil }

// addConfigFlag gives --config to the commands that take settings.
func addConfigFlag(root *cobra.Command) {
	for _, cmd := range append(root.Commands(), root) {
		if takesSettings(cmd) {
			cmd.Flags().String("config", "", "TOML `FILE` to read instead of the system's and user's settings files; "+
				"see lostbeat config --help")
		}
	}
}

// settingsFiles reads the files that count for a command, those that are overridden first. Without --config, one that
// does not exist is left out.
func settingsFiles(cmd *cobra.Command) ([]config.File, error) {
	path := os.Getenv(variable("config"))
	if f := cmd.Flags().Lookup("config"); f.Changed {
		path = f.Value.String()
	}
	if path != "" {
		f, err := config.Open(path, cmd.InOrStdin())
		return []config.File{f}, err
	}
	var files []config.File
	for _, path := range config.Paths(runtime.GOOS, os.Getenv) {
		f, err := config.Open(path, nil)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// applySettings gives a command's flags the values of settings files and environment variables, except those that
// the command line gives.
func applySettings(cmd *cobra.Command) error {
	if !takesSettings(cmd) {
		return nil
	}
	files, err := settingsFiles(cmd)
	if err != nil {
		return err
	}
	found := map[string]placed{}
	var thresholds []assignment
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
		for _, e := range f.Entries {
			switch err := knownEntry(e); {
			case err != nil:
				return err
			case e.Table:
			case strings.Contains(e.Name, "."):
				a, err := thresholdEntry(e)
				if err != nil {
					return err
				}
				thresholds = append(thresholds, a)
			default:
				found[e.Name] = placed{e.Values, e.List, e.Place()}
			}
		}
	}
	cmd.Flags().Lookup("config").Annotations = map[string][]string{place: paths}
	live := watchesHost(cmd)
	for _, o := range options() {
		flag := cmd.Flags().Lookup(o.name)
		if flag == nil || o.from == onlyFlag || o.host && !live {
			continue
		}
		v, err := environment(o, found[o.name])
		if err != nil {
			return err
		}
		if v.from == "" || flag.Changed {
			continue
		}
		if err := v.give(flag); err != nil {
			return err
		}
	}
	return applyThresholds(cmd, thresholds)
}

// environment returns the value of an option's variable, before where there is none.
func environment(o option, before placed) (placed, error) {
	name := variable(o.name)
	text, ok := os.LookupEnv(name)
	switch {
	case !ok:
		return before, nil
	case o.from == fileOrFlag:
		return before, hint.New(name+" is not read: no environment variable may name a program to run",
			fmt.Sprintf("unset it, and use --%s or a settings file", o.name))
	}
	return placed{values: []string{text}, from: name}, nil
}

// applyThresholds gives --set what files and the environment say.
func applyThresholds(cmd *cobra.Command, fromFiles []assignment) error {
	flag := cmd.Flags().Lookup("set")
	if flag == nil {
		return nil
	}
	name := variable("set")
	for _, text := range splitList(os.Getenv(name)) {
		a, err := parseAssignment(text)
		if err != nil {
			return valueError(name, text, flag, err)
		}
		a.from = name
		fromFiles = append(fromFiles, a)
	}
	t := flag.Value.(*thresholdFlag)
	t.assignments = append(fromFiles, t.assignments...)
	return nil
}

// knownEntry refuses a key or table that is no setting.
func knownEntry(e config.Entry) error {
	var known []string
	what := "setting"
	switch table, _, inTable := strings.Cut(e.Name, "."); {
	case e.Table:
		what = "table"
		for _, f := range all.Settings().Fields() {
			table, _, _ := strings.Cut(f.Name, ".")
			known = append(known, table)
		}
		known = slices.Compact(known)
	case inTable:
		for _, f := range all.Settings().Fields() {
			if strings.HasPrefix(f.Name, table+".") {
				known = append(known, f.Name)
			}
		}
	default:
		for _, o := range options() {
			if o.from != onlyFlag {
				known = append(known, o.name)
			}
		}
	}
	if slices.Contains(known, e.Name) {
		return nil
	}
	return hint.New(fmt.Sprintf("%s: there is no %s %q", e.Place(), what, plain.Text(e.Name)),
		didYouMean(e.Name, known)+"'lostbeat config --all' lists the settings")
}

// thresholdEntry is a threshold in a file.
func thresholdEntry(e config.Entry) (assignment, error) {
	a := assignment{name: e.Name, from: e.Place()}
	if e.List {
		return a, hint.New(fmt.Sprintf("%s: %s takes one value, not a list", e.Place(), e.Name), "write it without brackets")
	}
	a.value = e.Values[0]
	if err := a.check(); err != nil {
		return a, valueError(nameAt(a.from, a.name), a.value, nil, err)
	}
	return a, nil
}

// splitList divides the value of a variable at its commas; a value with a comma is written in quotes.
func splitList(text string) []string {
	if text == "" {
		return nil
	}
	r := csv.NewReader(strings.NewReader(text))
	r.LazyQuotes = true
	r.TrimLeadingSpace = true
	fields, err := r.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return []string{text}
	}
	return fields
}

// give sets a flag.
func (p placed) give(flag *pflag.Flag) error {
	slice, many := flag.Value.(pflag.SliceValue)
	name := nameAt(p.from, flag.Name)
	flag.Annotations = map[string][]string{place: {p.from}}
	switch {
	case many && !inFile(p.from):
		return slice.Replace(splitList(p.values[0]))
	case many:
		return slice.Replace(p.values)
	case p.list:
		return hint.New(name+" takes one value, not a list", "write it without brackets")
	}
	if err := flag.Value.Set(p.values[0]); err != nil {
		return valueError(name, p.values[0], flag, err)
	}
	return nil
}

// valueError says what is wrong with a value of a flag, and what to write. name is the flag, variable or key
// that has it. A cause with a hint needs no flag.
func valueError(name, value string, flag *pflag.Flag, cause error) error {
	message, text := cause.Error(), hint.Of(cause)
	if text == "" {
		switch flag.Value.Type() {
		case "bool":
			message, text = "neither true nor false", "write true or false"
		case "duration":
			message, text = "not a duration", "write a number with its unit, like 500ms, 10s or 1h30m"
		case "float64":
			message, text = "not a number", "write it like 1, 0.5 or 10"
		}
	}
	return hint.New(fmt.Sprintf("%s %q: %s", name, plain.Text(value), message), text)
}

// flagError says what is wrong with a command line that does not parse.
func flagError(cmd *cobra.Command, err error) error {
	help := fmt.Sprintf("'%s --help' lists the flags", cmd.CommandPath())
	var (
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
		unknown *pflag.NotExistError
	)
	switch {
	case errors.As(err, &value):
		return valueError("--"+value.GetFlag().Name, value.GetValue(), value.GetFlag(), errors.Unwrap(value))
	case errors.As(err, &missing):
		name, _ := pflag.UnquoteUsage(missing.GetFlag())
		return hint.New(fmt.Sprintf("--%s has no value", missing.GetFlag().Name),
			strings.TrimSpace(fmt.Sprintf("write --%s %s; %s", missing.GetFlag().Name, name, help)))
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
		name := "--" + unknown.GetSpecifiedName()
		return hint.New(fmt.Sprintf("%s has no flag %s", cmd.CommandPath(), plain.Text(name)), didYouMean(name, known)+help)
	case errors.As(err, &unknown):
		return hint.New(fmt.Sprintf("%s has no flag -%s", cmd.CommandPath(), plain.Text(unknown.GetSpecifiedName())), help)
	}
	return hint.New(err.Error(), help)
}

// checkValues refuses values that would silently mean something else, or of which a command would find out late.
func checkValues(cmd *cobra.Command) (err error) {
	checks := map[string]func(string) error{}
	for _, o := range options() {
		checks[o.name] = o.check
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		from := f.Annotations[place]
		if err != nil || !f.Changed && len(from) == 0 {
			return
		}
		name := "--" + f.Name
		if len(from) > 0 {
			name = nameAt(from[0], f.Name)
		}
		check := checks[f.Name]
		if f.Value.Type() == "duration" {
			check = checkDuration
		}
		if check == nil {
			return
		}
		for _, value := range valuesOf(f) {
			if err = check(value); err != nil {
				err = valueError(name, value, f, err)
				return
			}
		}
	})
	return err
}

// valuesOf returns a flag's values.
func valuesOf(f *pflag.Flag) []string {
	if slice, ok := f.Value.(pflag.SliceValue); ok {
		return slice.GetSlice()
	}
	return []string{f.Value.String()}
}

func checkDuration(s string) error {
	if strings.HasPrefix(s, "-") {
		return hint.New("negative", "write it like 10s")
	}
	return nil
}
