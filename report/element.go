package report

import (
	"fmt"
	"html"
)

// node is a part of a page. All but markup is escaped when it is written, so what a name has in it stays text.
type node interface {
	appendTo(page []byte) []byte
}

type (
	// text is a text between tags.
	text string
	// markup is HTML of this package's own making, in which all that came from elsewhere is escaped.
	markup string
	// attribute is an attribute of the element that it is given to.
	attribute struct{ name, value string }
	// element is an element with its attributes and what is in it.
	element struct {
		name  string
		parts []node
	}
	// nodes are one node after the other; there may be nil among them.
	nodes []node
)

func (t text) appendTo(page []byte) []byte   { return append(page, html.EscapeString(string(t))...) }
func (m markup) appendTo(page []byte) []byte { return append(page, m...) }

func (a attribute) appendTo(page []byte) []byte {
	page = append(page, ' ')
	page = append(page, a.name...)
	if a.value == "" {
		return page
	}
	page = append(page, `="`...)
	page = append(page, html.EscapeString(a.value)...)
	return append(page, '"')
}

func (g nodes) appendTo(page []byte) []byte {
	for _, n := range g {
		if n != nil {
			page = n.appendTo(page)
		}
	}
	return page
}

func (e element) appendTo(page []byte) []byte {
	page = append(page, '<')
	page = append(page, e.name...)
	for _, p := range e.parts {
		if a, ok := p.(attribute); ok {
			page = a.appendTo(page)
		}
	}
	page = append(page, '>')
	if e.name == "meta" { // the only one here that has no end
		return page
	}
	for _, p := range e.parts {
		if _, ok := p.(attribute); !ok && p != nil {
			page = p.appendTo(page)
		}
	}
	page = append(page, "</"...)
	page = append(page, e.name...)
	return append(page, '>')
}

// el makes an element of attributes and of what is in it.
func el(name string, parts ...node) node { return element{name, parts} }

// attr makes an attribute; without a value it is only its name.
func attr(name, value string) node { return attribute{name, value} }

// textf is a text with values in it.
func textf(format string, values ...any) node { return text(fmt.Sprintf(format, values...)) }

// only is a node under a condition, nil otherwise.
func only(is bool, n node) node {
	if !is {
		return nil
	}
	return n
}
