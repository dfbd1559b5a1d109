package plain

import (
	"bytes"
	"strings"
	"testing"
)

func TestCell(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"redis":                 "redis",
		"a=b":                   "a=b",
		"=1+1":                  "'=1+1",
		"+1":                    "'+1",
		"-2+3":                  "'-2+3",
		"@SUM(A1)":              "'@SUM(A1)",
		"  =1":                  "'  =1",
		"\t=cmd|' /C calc'!A0":  "'·=cmd|' /C calc'!A0",
		"＝1":                    "'＝1",
		"a\x1b[31m,\"b\"\r\n=1": "a·[31m,\"b\"··=1",
	} {
		if got := Cell(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	in := "[x](http://a) <script> `id` | *b* _c_ # \\ &amp; \x1b[1m"
	want := "\\[x\\](http://a) \\<script\\> \\`id\\` \\| \\*b\\* \\_c\\_ \\# \\\\ \\&amp; ·\\[1m"
	if got := Markdown(in); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestObject(t *testing.T) {
	for want, v := range map[string]any{
		`{"schema":"lostbeat.x/1"}`:                 struct{}{},
		`{"schema":"lostbeat.x/1","A":"\u001b[1m"}`: struct{ A string }{"\x1b[1m"},
	} {
		var out bytes.Buffer
		if err := Object(&out, "lostbeat.x/1", v); err != nil || strings.TrimSpace(out.String()) != want {
			t.Errorf("got %s, %v, want %s", out.String(), err, want)
		}
	}
	if err := Object(new(bytes.Buffer), "lostbeat.x/1", []int{1}); err == nil {
		t.Error("a list was accepted")
	}
}
