package tui

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"lostbeat/fold"
	"lostbeat/internal/hostile"
	"lostbeat/internal/testutil/fuzztest"
	"lostbeat/model"
	"lostbeat/tui/tuitest"

	"github.com/charmbracelet/x/ansi"
)

var noNumber = regexp.MustCompile(`\bNaN\b|[-+×]Inf\b|%!`)

// FuzzHostileScreen draws streams that contradict themselves: any page of any size stays within its size, and shows
// neither what steers a terminal nor a number that is none.
func FuzzHostileScreen(f *testing.F) {
	fuzztest.Quick(f)
	var base []*model.Batch
	for _, o := range []tuitest.Options{
		{Seconds: 12, Flood: 8, Leak: 2, Gap: 6, Log: 7, Units: true},
		{Seconds: 8, Windows: true, Flood: 4, Leak: 2},
	} {
		var b model.Builder
		for _, part := range tuitest.Stream(o) {
			b.Import(part, part.Events...)
		}
		base = append(base, b.Take())
	}
	for i := range base {
		for page := range byte(len(pages())) {
			f.Add([]byte{page, page, byte(i), page, 0, 200, 9, page, 1, 0, 0x15, page, 0, 90, 0xf3})
		}
	}
	// A finding whose share is beyond any number.
	f.Add([]byte("\xe7\xf0\xae:2\x07\x06\xe0y\x1c\xf8r\xe8r8"))
	sizes := [][2]int{{80, 24}, {120, 40}, {40, 10}, {20, 5}, {200, 60}}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 3 {
			return
		}
		s := fold.NewHistory()
		for _, b := range hostile.Stream(data[2:], base...) {
			s.Apply(b)
		}
		s.Publish()
		size, ascii := sizes[int(data[0])%len(sizes)], data[0] >= 128
		m := screen(s, size[0], size[1], func(o *Options) { o.ASCII, o.NoColor = ascii, data[1] >= 128 })
		press(m, string('1'+rune(int(data[1])%len(pages()))))
		for _, keys := range []string{"", "j", "enter", "esc"} {
			if keys != "" {
				press(m, keys)
			}
			content := m.View().Content
			lines := strings.Split(content, "\n")
			if len(lines) > size[1] {
				t.Errorf("%d lines on %d", len(lines), size[1])
			}
			for _, line := range lines {
				if w := ansi.StringWidth(line); w > size[0] {
					t.Errorf("%d cells of %d: %q", w, size[0], line)
				}
				shown := styles.ReplaceAllString(line, "")
				if i := strings.IndexFunc(shown, unicode.IsControl); i >= 0 {
					t.Errorf("a control character is shown: %q", shown)
				}
				if found := noNumber.FindString(shown); found != "" {
					t.Errorf("%s is shown: %q", found, shown)
				}
			}
		}
	})
}
