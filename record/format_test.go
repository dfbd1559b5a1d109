package record

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"lostbeat/internal/testutil"
	"lostbeat/model"
)

const example = `2026-11-22T14:03:09.000000000Z meta key=host value=voice-1
2026-11-22T14:03:09.250000000Z deferred.run dur=1.9ms cpu=0 pid=15 tid=15 class=softirq` +
	` wait=12us vector=3 name=NET_RX task=ksoftirqd/0
2026-11-22T14:03:09.250002500Z deferred.run dur=2.5us cpu=0 pid=15 tid=15 class=softirq` +
	` wait=800ns vector=3 name=NET_RX task=ksoftirqd/0
`

// TestFormatExample keeps the example in docs/FORMAT.md true: run with -update
// after a change of the format.
func TestFormatExample(t *testing.T) {
	out := &faulty{}
	w, err := Create(
		"example.lostbeat",
		Options{
			Tool:    "lostbeat",
			session: []byte("0123456789abcdef"),
			create:  func(string) (storage, error) { return out, nil },
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := ReadText(strings.NewReader(example), func(b *model.Batch) error { return w.Write(b) }); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dec, err := newDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	stream, err := dec.DecodeAll(out.data, nil)
	if err != nil {
		t.Fatal(err)
	}
	const path = "../docs/FORMAT.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := fenced(fenced(string(page), "events", "text", example), "stream", "text", hex.Dump(stream))
	testutil.Golden(t, "../../docs/FORMAT.md", want)
}

// fenced replaces the fenced block after the comment with the given name.
func fenced(page, name, language, content string) string {
	mark := "<!-- " + name + " -->\n"
	before, after, _ := strings.Cut(page, mark)
	if rest, ok := strings.CutPrefix(after, "```"+language+"\n"); ok {
		_, after, _ = strings.Cut(rest, "```\n")
	}
	return before + mark + "```" + language + "\n" + content + "```\n" + after
}
