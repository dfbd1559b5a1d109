package source

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestEachObject(t *testing.T) {
	long := `{"x":"` + strings.Repeat("y", 100) + `"}`
	for _, test := range []struct {
		name, text string
		want       []string
		stray      int64
		torn       bool
	}{
		{"none", " \r\n", nil, 0, false},
		{"one", `{"a":{"b":[1,{}]}}`, []string{`{"a":{"b":[1,{}]}}`}, 0, false},
		{"a list", "[\n {\"a\":1} ,\n {\"a\":2}\n]\n", []string{`{"a":1}`, `{"a":2}`}, 0, false},
		{"one behind another", "{}\n{\"a\":1}\n", []string{"{}", `{"a":1}`}, 0, false},
		{"braces in text", `{"a":"}{\"]["}{}`, []string{`{"a":"}{\"]["}`, "{}"}, 0, false},
		{"of PowerShell", `{"value":[{"a":1},{"a":2}],"Count":2}`, []string{`{"a":1}`, `{"a":2}`}, 0, false},
		{"no JSON in it", `[{"a":x},{"a":2}]`, []string{`{"a":x}`, `{"a":2}`}, 0, false},
		{"other elements", `[{"a":1},null,5,"{}",{}]`, []string{`{"a":1}`, "{}"}, 9, false},
		{"cut off in an object", `{}{"a":`, []string{"{}"}, 0, true},
		{"cut off in a list", `[{"a":1},`, []string{`{"a":1}`}, 0, true},
		{"too long", "[" + long + ",{}]", []string{long[:51], "{}"}, 0, false},
		{"just short enough", "[" + long[:48] + `"},{}]`, []string{long[:48] + `"}`, "{}"}, 0, false},
	} {
		var got []string
		stray, err := EachObject(bufio.NewReader(strings.NewReader(test.text)), 50, func(object []byte) {
			got = append(got, string(object))
		})
		if !slices.Equal(got, test.want) || stray != test.stray || errors.Is(err, io.ErrUnexpectedEOF) != test.torn ||
			err != nil && !test.torn {
			t.Errorf("%s: %q, want %q; %d bytes are stray, want %d; %v", test.name, got, test.want, stray, test.stray, err)
		}
	}
}

func TestBadParts(t *testing.T) {
	for _, test := range []struct {
		parts  []error
		partly bool
		want   []string
	}{
		{[]error{nil, nil}, false, nil},
		{[]error{nil, io.EOF, nil}, false, []string{"x: entry 2 could not be read: EOF"}},
		{[]error{nil, nil, io.EOF, nil, io.ErrNoProgress}, true,
			[]string{"x: 2 of its entries could not be read in full; the first is entry 3: EOF"}},
	} {
		bad := BadParts{What: "entry", Plural: "entries", Partly: test.partly}
		for _, err := range test.parts {
			bad.Next(err)
		}
		var i Integrity
		if bad.Report(&i, "x"); !slices.Equal(i.Damage, test.want) || bad.Seen() != len(test.parts) {
			t.Errorf("%v: %q, %d", test.parts, i.Damage, bad.Seen())
		}
	}
}
