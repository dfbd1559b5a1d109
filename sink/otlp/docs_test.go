package otlp

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

// documented is a row of the table of attributes in docs/OTLP.md; name is one of its names.
var (
	documented = regexp.MustCompile("(?m)^\\| (`[a-z]+\\.[^|]*) \\|")
	name       = regexp.MustCompile("`([^`]+)`")
)

// docs/OTLP.md has all attributes that are sent, and no others.
func TestDocumentedAttributes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testutil.Root(t), "docs", "OTLP.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, row := range documented.FindAllStringSubmatch(string(text), -1) {
		for _, n := range name.FindAllStringSubmatch(row[1], -1) {
			want = append(want, n[1])
		}
	}
	e := encoder{boot: "b", recording: "r"}
	f := model.Finding{
		ID: "a", Detector: "d", Title: "t", Causes: []string{"c"}, Advice: []string{"a"}, Subject: model.Subject{
			Kind: "k", CPU: 1, Vector: "v", Driver: "d", Device: "d", Queue: "q", PID: 1, Process: "p", Pool: "p",
			Protocol: "p", Port: 1, Netns: "n",
		},
	}
	var got []string
	for _, a := range newResource(Host{"n", "a", "o", "k", "b"}, Config{Service: "s"}, "v").Attributes {
		got = append(got, a.Key)
	}
	for _, a := range e.finding(1, time.Now(), 1, &f).Attributes {
		got = append(got, a.Key)
	}
	for _, a := range e.loss(time.Now(), 1, 1, "r").Attributes {
		got = append(got, a.Key)
	}
	slices.Sort(got)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("sent\n%v\ndocumented\n%v", got, want)
	}
}
