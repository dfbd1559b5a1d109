package detect

import (
	"fmt"
	"time"

	"lostbeat/fold"
	"lostbeat/model"
)

// How long after a fault a program may say what it was: it finds out at its next timeout. maxQuotes is how many lines
// are quoted.
const (
	quoteAfter = 5 * time.Second
	maxQuotes  = 4
)

// Quote writes a line of a log for people.
func Quote(l *model.LogLine) string {
	text := []rune(fold.Printable(l.Text))
	if len(text) > 160 {
		text = append(text[:160], '…')
	}
	return fmt.Sprintf("%s at %s: “%s”", fold.Printable(l.Log), l.Time.Std().Format("15:04:05.000"), string(text))
}

// quotes are the lines of this host's logs that fall into a time.
func quotes(t *Tick, from, to model.Time) (out []string) {
	for _, l := range t.Logs.LinesIn(from, to.Add(quoteAfter)) {
		if len(out) == maxQuotes {
			break
		}
		out = append(out, Quote(&l))
	}
	return out
}
