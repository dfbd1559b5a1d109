package tui

import "unicode/utf8"

// prompt is a line that asks for text at the foot of the screen.
type prompt struct {
	label, text string
	// change is told of every change, cancel that Esc was pressed, done what was entered.
	change func(text string)
	cancel func()
	done   func(u *ui, text string) command
}

// maxPrompt is the longest text that is taken.
const maxPrompt = 4096

func (p *prompt) key(u *ui, name, text string) command {
	switch name {
	case "esc":
		u.prompt = nil
		if p.cancel != nil {
			p.cancel()
		}
		return nil
	case "enter":
		u.prompt = nil
		return p.done(u, p.text)
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(p.text)
		p.set(p.text[:len(p.text)-size])
	case "ctrl+u":
		p.set("")
	default:
		p.paste(text)
	}
	return nil
}

// paste adds typed or pasted text, without what a name cannot hold.
func (p *prompt) paste(text string) {
	var kept []rune
	for _, r := range text {
		if !hidden(r) {
			kept = append(kept, r)
		}
	}
	if text = p.text + string(kept); len(text) <= maxPrompt {
		p.set(text)
	}
}

func (p *prompt) set(text string) {
	p.text = text
	if p.change != nil {
		p.change(text)
	}
}

func (p *prompt) render(u *ui, w int) string {
	l := newLine(u.theme, w).space(1).put(accent, p.label+": ")
	room := l.left() - 1
	text := clean(p.text, u.theme.ascii)
	for width(text) > room && text != "" { // the end is what is being typed
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	return l.put(plain, text).glyph(inverse, " ").String()
}
