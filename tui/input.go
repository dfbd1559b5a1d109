//go:build !js

package tui

import (
	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
)

// input is the text of a prompt as it is edited.
type input struct{ model textinput.Model }

// newInput returns an input with the cursor after text.
func newInput(text string) input {
	m := textinput.New()
	m.CharLimit = maxPrompt
	m.SetVirtualCursor(false)
	// Reading the clipboard starts programs of the traced host; terminals paste by themselves.
	m.KeyMap.Paste = key.NewBinding()
	m.Focus()
	m.SetValue(text)
	m.CursorEnd()
	return input{m}
}

// text returns the text, cursor before which of its characters the cursor is.
func (in *input) text() string { return in.model.Value() }
func (in *input) cursor() int  { return in.model.Position() }

// take edits the text with a message of the terminal program.
func (in *input) take(msg any) {
	switch m := msg.(type) {
	case tea.KeyPressMsg:
		m.Text = typeable(m.Text)
		msg = m
	case tea.PasteMsg:
		m.Content = typeable(m.Content)
		msg = m
	}
	in.model, _ = in.model.Update(msg)
}
