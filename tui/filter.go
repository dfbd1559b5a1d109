package tui

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lostbeat/internal/lazyregexp"
)

// filter is what a reader wants to see of a table: the rows for which all terms hold.
type filter []term

// term is one condition of a filter, as it was written between blanks.
type term struct {
	// not turns the condition around.
	not bool
	// column is the name that was written, in lower case; empty for the text of the whole row.
	column string
	// compare is one of = != ~ < <= > >=; empty for "contains".
	compare string
	// text is what is looked for, in lower case; number is the same where it is one, with its unit taken off.
	text   string
	number float64
	// isNumber says that number holds.
	isNumber bool
	pattern  *regexp.Regexp
}

// filterHelp is the form of a filter.
const filterHelp = `A filter has one or more terms, and a row must match all of them: a word, column=value, ` +
	`column!=value, column~regexp, column>1ms (or <, >=, <=); !term excludes. A column is named by the first ` +
	`letters of a word of its title; "quoted words" are one term.`

var comparison = lazyregexp.New(`^([\pL_][\pL\d_./-]*)?(!=|<=|>=|=|~|<|>)(.*)$`)

// parseFilter reads a filter. An error says what is wrong with which term; the terms before it are returned.
func parseFilter(text string) (filter, error) {
	var out filter
	for _, word := range splitTerms(text) {
		t, err := parseTerm(word)
		if err != nil {
			return out, err
		}
		out = append(out, t)
	}
	return out, nil
}

// splitTerms cuts text at blanks outside quotes.
func splitTerms(text string) []string {
	quoted := false
	return strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && unicode.IsSpace(r)
	})
}

func parseTerm(word string) (term, error) {
	var t term
	rest := word
	if after, found := strings.CutPrefix(word, "!"); found && !strings.HasPrefix(after, "=") {
		t.not, rest = true, after
	}
	parts := comparison.FindStringSubmatch(rest)
	if parts == nil || (parts[1] == "" && parts[2] != "~") { // words, or a comparison of nothing
		t.text = strings.ToLower(strings.ReplaceAll(rest, `"`, ""))
		return t, nil
	}
	value := strings.ReplaceAll(parts[3], `"`, "")
	t.column, t.compare, t.text = strings.ToLower(parts[1]), parts[2], strings.ToLower(value)
	if value == "" {
		return t, fmt.Errorf("%q has no value to compare with", word)
	}
	t.number, t.isNumber = parseQuantity(value)
	switch t.compare {
	case "~":
		pattern, err := regexp.Compile("(?i)" + value)
		if err != nil {
			return t, fmt.Errorf("%q is not a regular expression: %w", value, patternError(err))
		}
		t.pattern = pattern
	case "<", "<=", ">", ">=":
		if !t.isNumber {
			return t, fmt.Errorf("%q is not a number: write 5, 1.5k, 20%%, 1ms or 2MiB", value)
		}
	}
	return t, nil
}

// patternError is what is wrong with a regular expression, without the words around it.
func patternError(err error) error {
	text := err.Error()
	if at := strings.Index(text, "parsing regexp: "); at >= 0 {
		return errors.New(text[at+len("parsing regexp: "):])
	}
	return err
}

// scales are the units of numbers, the longer ones before those that they end with.
var scales = []struct {
	name  string
	scale float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"%", 0.01},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9},
}

// parseQuantity reads a number as the tables write it: durations in nanoseconds, shares as parts of 1.
func parseQuantity(text string) (float64, bool) {
	text = strings.ReplaceAll(text, ",", "")
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n, true
	}
	for _, unit := range scales {
		if number, found := strings.CutSuffix(text, unit.name); found {
			n, err := strconv.ParseFloat(number, 64)
			return n * unit.scale, err == nil
		}
	}
	d, err := time.ParseDuration(strings.Replace(text, "min", "m", 1))
	return float64(d), err == nil
}

// columnNamed returns the column that a reader means by name: its whole title without blanks, the beginning of
// the title, or the beginning of one of its words; -1 for none.
func columnNamed(titles []string, name string) int {
	best, at := 0, -1
	for i, title := range titles {
		title = strings.ToLower(title)
		joined := strings.ReplaceAll(title, " ", "")
		grade := 0
		switch {
		case title == "":
		case joined == name:
			grade = 3
		case strings.HasPrefix(joined, name):
			grade = 2
		default:
			for _, word := range strings.Fields(title) {
				if strings.HasPrefix(word, name) {
					grade = 1
				}
			}
		}
		if grade > best {
			best, at = grade, i
		}
	}
	return at
}

// holds says whether the condition holds for the text of a cell, or of a row.
func (t *term) holds(cell string) bool {
	cell = strings.ToLower(cell)
	switch t.compare {
	case "~":
		return t.pattern.MatchString(cell) != t.not
	case "=", "!=":
		return (isNamed(cell, t.text) == (t.compare == "=")) != t.not
	}
	return strings.Contains(cell, t.text) != t.not
}

// isNamed says that a cell is the text, or is several words of which it is one: name for "name[812]" and for
// "name udp".
func isNamed(cell, text string) bool {
	if cell == text {
		return true
	}
	name, _, found := strings.Cut(cell, "[")
	if found && name == text {
		return true
	}
	for _, word := range strings.Fields(cell) {
		if word == text || strings.HasPrefix(word, text+"[") {
			return true
		}
	}
	return false
}

// holdsFor says whether the condition holds for the number of a cell.
func (t *term) holdsFor(n float64) bool {
	var is bool
	switch t.compare {
	case "=":
		is = n == t.number
	case "!=":
		is = n != t.number
	case "<":
		is = n < t.number
	case "<=":
		is = n <= t.number
	case ">":
		is = n > t.number
	case ">=":
		is = n >= t.number
	}
	return is != t.not
}

// choose returns the rows for which every term of text holds, and whether any of them is a condition of this table.
// A term that rules out a value of a column that this table does not have is none, and with shared, no term of such a
// column is; else it is an error, as one that cannot be compared.
func (g *grid[T]) choose(rows []T, text string, shared bool) ([]T, bool, error) {
	terms, err := parseFilter(text)
	if err != nil {
		return rows, true, err
	}
	titles := make([]string, len(g.cols))
	for i := range g.cols {
		if g.cols[i].number != nil || g.cols[i].text != nil {
			titles[i] = g.cols[i].title
		}
	}
	conditions := make([]func(T) bool, 0, len(terms))
	for i := range terms {
		t := &terms[i]
		if t.column == "" {
			conditions = append(conditions, func(v T) bool { return t.holds(g.searched(v)) })
			continue
		}
		at := columnNamed(titles, t.column)
		switch {
		case at < 0 && (shared || t.not):
		case at < 0:
			return rows, true, fmt.Errorf("there is no column %q here", t.column)
		default:
			condition, err := g.condition(&g.cols[at], t)
			switch {
			case err == nil:
				conditions = append(conditions, condition)
			case !shared:
				return rows, true, err
			}
		}
	}
	if len(conditions) == 0 {
		return rows, false, nil
	}
	var out []T
	for _, v := range rows {
		keep := true
		for _, holds := range conditions {
			if keep = holds(v); !keep {
				break
			}
		}
		if keep {
			out = append(out, v)
		}
	}
	return out, true, nil
}

// condition is a term on one column.
func (g *grid[T]) condition(c *column[T], t *term) (func(T) bool, error) {
	switch {
	case c.number != nil && t.isNumber && t.compare != "~":
		return func(v T) bool { return t.holdsFor(c.number(v)) }, nil
	case c.text != nil && (t.compare == "=" || t.compare == "!=" || t.compare == "~"):
		return func(v T) bool { return t.holds(c.text(v)) }, nil
	case c.text != nil:
		return nil, fmt.Errorf("%q holds text: compare it with =, != or ~", c.title)
	}
	return nil, fmt.Errorf("%q holds numbers: compare it with a number", c.title)
}
