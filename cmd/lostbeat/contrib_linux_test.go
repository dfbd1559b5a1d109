package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lostbeat/internal/confine"
	"lostbeat/internal/testutil"

	"go.yaml.in/yaml/v3"
)

// contrib returns the path of a file of contrib/.
func contrib(t *testing.T, parts ...string) string {
	t.Helper()
	return filepath.Join(append([]string{testutil.Root(t), "contrib"}, parts...)...)
}

// TestNodeProblemDetector wants of the plugin the statuses that node-problem-detector knows, and of its configuration
// that nothing of the line is cut.
func TestNodeProblemDetector(t *testing.T) {
	t.Parallel()
	const ok, problem, unknown = 0, 1, 2 // as node-problem-detector has them
	plugin := contrib(t, "node-problem-detector", "check.sh")
	for _, c := range []struct {
		check exitStatus
		env   string
		want  int
	}{
		{checkOK, "", ok},
		{checkWarning, "", ok},
		{checkWarning, "LOSTBEAT_WARNINGS=1", problem},
		{checkCritical, "", problem},
		{checkUnknown, "", unknown},
		{127, "", unknown},
	} {
		program := filepath.Join(t.TempDir(), "lostbeat")
		text := fmt.Sprintf("#!/bin/sh\necho \"said: $*\"\necho more\nexit %d\n", c.check)
		if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(plugin)
		cmd.Env = append(os.Environ(), "LOSTBEAT="+program, c.env)
		out, err := cmd.Output()
		if got := cmd.ProcessState.ExitCode(); got != c.want {
			t.Errorf("check ends with %d, %q: status %d, want %d: %v", c.check, c.env, got, c.want, err)
		}
		if got, want := string(out), "said: check --since 35s\n"; got != want {
			t.Errorf("it prints %q, want %q", got, want)
		}
	}
	// The program itself, which sees nothing in less than a second.
	cmd := exec.Command(plugin)
	cmd.Env = append(os.Environ(), "LOSTBEAT="+lostbeat(t), "LOSTBEAT_SINCE=1ms")
	out, _ := cmd.Output()
	if got := cmd.ProcessState.ExitCode(); got != unknown || !strings.HasPrefix(string(out), "UNKNOWN: ") {
		t.Errorf("status %d, %q", got, out)
	}

	var config struct {
		Plugin       string
		PluginConfig struct {
			Interval string `json:"invoke_interval"`
			Timeout  string
			Length   int `json:"max_output_length"`
		}
		Conditions []struct{ Type string }
		Rules      []struct{ Type, Condition, Path string }
	}
	text, err := os.ReadFile(contrib(t, "node-problem-detector", "lostbeat.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	interval, errInterval := time.ParseDuration(config.PluginConfig.Interval)
	timeout, errTimeout := time.ParseDuration(config.PluginConfig.Timeout)
	if err := errors.Join(errInterval, errTimeout); err != nil || timeout >= interval {
		t.Errorf("a timeout of %v every %v: %v", timeout, interval, err)
	}
	if most := checkColumns * 4; config.PluginConfig.Length < most { // it counts bytes
		t.Errorf("%d bytes are kept of %d", config.PluginConfig.Length, most)
	}
	if r := config.Rules[0]; config.Plugin != "custom" || r.Type != "permanent" ||
		r.Condition != config.Conditions[0].Type || r.Path != "/usr/share/lostbeat/node-problem-detector/check.sh" {
		t.Errorf("%+v", config)
	}
}

// TestSupportconfig runs the plugin as supportconfig does, with a folder LOG.
func TestSupportconfig(t *testing.T) {
	t.Parallel()
	recordings, kept := filepath.Dir(sampleRecording(t)), t.TempDir()
	run := func(program string) (string, int) {
		cmd := exec.Command(contrib(t, "supportconfig", "lostbeat"))
		cmd.Env = append(os.Environ(), "LOSTBEAT="+program, "LOSTBEAT_RECORDINGS="+recordings, "LOG="+kept)
		out, _ := cmd.Output()
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, status := run(lostbeat(t))
	if status != 0 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"#==[ Command ]===", "lostbeat version\n", "BTF", "port-leak", "threshold"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
	original, err := os.ReadFile(filepath.Join(recordings, "leak.lostbeat"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(kept, "lostbeat-leak.lostbeat")); !bytes.Equal(got, original) {
		t.Errorf("the recording was not kept: %d bytes of %d, %v", len(got), len(original), err)
	}
	if out, status := run("/nowhere/lostbeat"); status != 111 { // skipped, as supportconfig has it
		t.Errorf("without the program: status %d, %q", status, out)
	}
}

// TestSos runs sos itself with the plugin, from a copy of its modules.
func TestSos(t *testing.T) {
	t.Parallel()
	sos, err := exec.LookPath("/usr/bin/sos")
	if err != nil {
		testutil.Unavailable(t, "no sos: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("sos report runs as root only")
	}
	recordings, dir, out := filepath.Dir(sampleRecording(t)), t.TempDir(), t.TempDir()
	const modules = "/usr/lib/python3/dist-packages/sos"
	if err := os.CopyFS(filepath.Join(dir, "sos"), os.DirFS(modules)); err != nil {
		t.Fatal(err)
	}
	plugin, err := os.ReadFile(contrib(t, "sos", "lostbeat.py"))
	if err != nil {
		t.Fatal(err)
	}
	// sos looks for programs in the folders of the system only.
	text := strings.NewReplacer("'lostbeat ", "'"+lostbeat(t)+" ", "/var/lib/lostbeat", recordings).Replace(string(plugin))
	path := filepath.Join(dir, "sos", "report", "plugins", "lostbeat.py")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "-B", sos, "report", "--batch", "-o", "lostbeat", "--build", "--no-report",
		"--tmp-dir", out)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for pattern, want := range map[string]string{
		"sos_commands/lostbeat/*version":          "lostbeat ",
		"sos_commands/lostbeat/*doctor":           "BTF",
		"sos_commands/lostbeat/*config":           "threshold",
		"sos_commands/lostbeat/lostbeat_findings": "port-leak",
		recordings + "/leak.lostbeat":             "",
	} {
		found, err := filepath.Glob(filepath.Join(out, "sosreport-*", pattern))
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %v, %v", pattern, found, err)
			continue
		}
		if text, err := os.ReadFile(found[0]); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v: %s", pattern, err, text)
		}
	}
}

// TestDaemonSet compares the manifest with the table of capabilities, and what it runs with the unit and the image.
func TestDaemonSet(t *testing.T) {
	t.Parallel()
	type mount struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	}
	var set struct {
		Kind string
		Spec struct {
			Selector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			}
			Template struct {
				Metadata struct{ Labels map[string]string }
				Spec     struct {
					HostPID     bool `yaml:"hostPID"`
					HostNetwork bool `yaml:"hostNetwork"`
					Containers  []struct {
						Args            []string
						SecurityContext struct {
							Privileged   bool
							Capabilities struct{ Add, Drop []string }
						} `yaml:"securityContext"`
						VolumeMounts []mount `yaml:"volumeMounts"`
					}
					Volumes []struct{ Name string }
				}
			}
		}
	}
	text, err := os.Open(contrib(t, "kubernetes", "daemonset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	documents := yaml.NewDecoder(text)
	for set.Kind != "DaemonSet" {
		if err := documents.Decode(&set); err != nil {
			t.Fatal(err)
		}
	}
	if err := documents.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("after the DaemonSet: %v", err)
	}
	pod := set.Spec.Template.Spec
	container := pod.Containers[0]
	var want []string
	for _, c := range confine.Capabilities() {
		want = append(want, strings.TrimPrefix(c.Name, "CAP_"))
	}
	got := container.SecurityContext.Capabilities
	if !slices.Equal(got.Add, want) || !slices.Equal(got.Drop, []string{"ALL"}) || container.SecurityContext.Privileged {
		t.Errorf("capabilities %v without %v, want %v without ALL", got.Add, got.Drop, want)
	}
	if !pod.HostPID || !pod.HostNetwork {
		t.Error("the pod does not see the host")
	}
	for name, label := range set.Spec.Selector.MatchLabels {
		if set.Spec.Template.Metadata.Labels[name] != label {
			t.Errorf("the selector %s=%s does not match the pods", name, label)
		}
	}
	for i, m := range container.VolumeMounts {
		if len(pod.Volumes) <= i || pod.Volumes[i].Name != m.Name {
			t.Errorf("the mount %s has no volume", m.Name)
		}
	}

	arguments := strings.Join(container.Args, " ")
	for name, pattern := range map[string]string{
		"lostbeat.service":         `(?m)^ExecStart=lostbeat (.*)$`,
		"kubernetes/Containerfile": `(?m)^CMD \[(.*)\]$`,
	} {
		text, err := os.ReadFile(contrib(t, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(pattern).FindSubmatch(text)
		if match == nil {
			t.Fatalf("%s runs nothing", name)
		}
		if got := strings.NewReplacer(`", "`, " ", `"`, "").Replace(string(match[1])); got != arguments {
			t.Errorf("%s runs %q, the DaemonSet %q", name, got, arguments)
		}
	}
}
