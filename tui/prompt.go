package tui

import (
	"strings"
	"unicode/utf8"
)

// prompt is a line that asks for text at the foot of the screen.
type prompt struct {
	label string
	input input
	// change is given every change of the text; cancel is called for Esc, done with what was entered.
	change func(text string)
	cancel func()
	done   func(u *ui, text string) command
	// move takes the keys that choose a row of the list above the prompt; nil where there is none.
	move func(u *ui, key string) command
}

// maxPrompt is the longest text that is taken, in characters.
const maxPrompt = 4096

// key takes a key by its name; msg is the terminal program's message of it.
func (p *prompt) key(u *ui, name string, msg any) command {
	switch name {
	case "esc":
		u.prompt = nil
		if p.cancel != nil {
			p.cancel()
		}
		return nil
	case "enter":
		u.prompt = nil
		return p.done(u, p.input.text())
	case "up", "down", "pgup", "pgdown":
		if p.move != nil {
			return p.move(u, name)
		}
	}
	p.take(msg)
	return nil
}

// take edits the text with a key or what was pasted.
func (p *prompt) take(msg any) {
	before := p.input.text()
	p.input.take(msg)
	if text := p.input.text(); p.change != nil && text != before {
		p.change(text)
	}
}

// typeable returns text without what a name cannot hold.
func typeable(text string) string {
	return strings.Map(func(r rune) rune {
		if hidden(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
}

func (p *prompt) render(u *ui, w int) string {
	l := newLine(u.theme, w).space(1).put(accent, p.label+": ")
	text, at := []rune(p.input.text()), p.input.cursor()
	show := func(part []rune) string { return clean(string(part), u.theme.ascii) }
	before, under, after := text[:at], []rune{' '}, []rune(nil)
	if at < len(text) {
		under, after = text[at:at+1], text[at+1:]
	}
	room := l.left() - width(show(under))
	for len(before) > 0 && width(show(before)) > room { // what is being typed has to be seen
		before = before[1:]
	}
	l.put(plain, show(before)).glyph(inverse, show(under))
	return l.put(plain, truncate(show(after), l.left(), "")).String()
}
