package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpans(t *testing.T) {
	got := spans("a\x1b[1;31mbc\x1b[0m d\x1b[38;5;196me\x1b[48;2;1;2;3mf\x1b[7;39mg\x1b]0;title\x07h")
	want := []span{
		{0, "a", style{}},
		{1, "bc", style{fore: basic[1], bold: true}},
		{3, " d", style{}},
		{5, "e", style{fore: "#ff0000"}},
		{6, "f", style{fore: "#ff0000", back: "#010203"}},
		{7, "g", style{back: "#010203", reverse: true}},
	}
	if diff := cmp.Diff(want, got[:len(want)], cmp.AllowUnexported(span{}, style{})); diff != "" {
		t.Error(diff)
	}
}

// TestSVG wants XML in which nothing of a screen is taken for an element, and rows that repeat written once.
func TestSVG(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for name, text := range map[string]string{
		"0001-1500.ans": "the same  <script>&\x1b[1mbold\x1b[0m\nfirst\n",
		"0002-500.ans":  "the same  <script>&\x1b[1mbold\x1b[0m\nsecond\n",
	} {
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "x.svg")
	if err := run(out, files); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(text, "the same") != 1 || !strings.Contains(text, "second") || strings.Contains(text, "<script") ||
		!strings.Contains(text, "2000ms") {
		t.Error(text)
	}
	if err := run(out, []string{filepath.Join(dir, "x.svg")}); err == nil {
		t.Error("a file without a length in its name was accepted")
	}
}
