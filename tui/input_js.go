package tui

import "unicode/utf8"

// input is the text of a prompt, which nobody edits without a terminal.
type input struct{ value string }

func newInput(text string) input { return input{text} }

func (in *input) text() string { return in.value }
func (in *input) cursor() int  { return utf8.RuneCountInString(in.value) }
func (in *input) take(any)     {}
