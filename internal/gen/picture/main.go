// Command picture makes an SVG of screens of a terminal: a still one of one screen, a moving one of several.
//
//	picture -o screen.svg 0001-4000.ans 0002-500.ans ...
//
// Each file is what `tmux capture-pane -e -p` prints; its name has the number of the screen and for how many
// milliseconds it is shown. scripts/picture makes them from a real run.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Size of a cell and of the margin, in pixels.
const (
	cellWidth  = 8.4
	cellHeight = 17
	fontSize   = 14
	margin     = 10
)

// maxBytes is how large a picture may be: it is loaded with the README.
const maxBytes = 300_000

func main() {
	out := flag.String("o", "", "the file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(out string, files []string) error {
	if out == "" || len(files) == 0 {
		return errors.New("usage: picture -o FILE SCREEN [SCREEN]")
	}
	var screens []screen
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		s, err := parseScreen(filepath.Base(file), string(text))
		if err != nil {
			return err
		}
		screens = append(screens, s)
	}
	picture := svg(screens)
	if len(picture) > maxBytes {
		return fmt.Errorf("%s would have %d bytes, %d at most: take fewer screens", out, len(picture), maxBytes)
	}
	return os.WriteFile(out, []byte(picture), 0o644)
}

// screen is what a terminal shows for some time.
type screen struct {
	rows [][]span
	ms   int
}

// span is text of one style in a row.
type span struct {
	column int
	text   string
	style  style
}

// style is how text looks; colours are "#rrggbb", "" for the terminal's own.
type style struct {
	fore, back               string
	bold, dim, line, reverse bool
}

// Colours of the terminal.
const (
	foreground = "#d0d7de"
	background = "#10151d"
)

// parseScreen reads a screen from a file of the given name.
func parseScreen(name, text string) (screen, error) {
	_, length, _ := strings.Cut(strings.TrimSuffix(name, filepath.Ext(name)), "-")
	ms, err := strconv.Atoi(length)
	if err != nil || ms <= 0 {
		return screen{}, fmt.Errorf("%s: the name has to be like 0001-500.ans", name)
	}
	s := screen{ms: ms}
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		s.rows = append(s.rows, spans(line))
	}
	return s, nil
}

// spans divides a line with escape sequences. Sequences other than those of styles are left out.
func spans(line string) (out []span) {
	var now style
	column := 0
	var text strings.Builder
	begin := 0
	end := func() {
		if text.Len() > 0 {
			out = append(out, span{begin, text.String(), now})
		}
		text.Reset()
		begin = column
	}
	for runes := []rune(line); len(runes) > 0; {
		if runes[0] != '\x1b' {
			text.WriteRune(runes[0])
			column++
			runes = runes[1:]
			continue
		}
		end()
		n := 1
		for n < len(runes) && (n == 1 || runes[n] < '@' || runes[n] > '~') {
			n++
		}
		if n < len(runes) && runes[1] == '[' && runes[n] == 'm' {
			now.apply(string(runes[2:n]))
		}
		runes = runes[min(n+1, len(runes)):]
	}
	end()
	return out
}

// apply changes the style by the parameters of a sequence.
func (s *style) apply(parameters string) {
	numbers := []int{}
	for _, p := range strings.FieldsFunc(parameters, func(r rune) bool { return r == ';' || r == ':' }) {
		n, _ := strconv.Atoi(p)
		numbers = append(numbers, n)
	}
	if len(numbers) == 0 {
		numbers = []int{0}
	}
	for i := 0; i < len(numbers); i++ {
		switch n := numbers[i]; {
		case n == 0:
			*s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.dim = true
		case n == 4:
			s.line = true
		case n == 7:
			s.reverse = true
		case n == 22:
			s.bold, s.dim = false, false
		case n == 24:
			s.line = false
		case n == 27:
			s.reverse = false
		case n == 39:
			s.fore = ""
		case n == 49:
			s.back = ""
		case n >= 30 && n < 38:
			s.fore = indexed(n - 30)
		case n >= 40 && n < 48:
			s.back = indexed(n - 40)
		case n >= 90 && n < 98:
			s.fore = indexed(n - 90 + 8)
		case n >= 100 && n < 108:
			s.back = indexed(n - 100 + 8)
		case (n == 38 || n == 48) && i+1 < len(numbers):
			colour, used := extended(numbers[i+1:])
			if i += used; n == 38 {
				s.fore = colour
			} else {
				s.back = colour
			}
		}
	}
}

// extended reads a colour by its index or its parts, and says how many numbers it took.
func extended(numbers []int) (colour string, used int) {
	switch {
	case numbers[0] == 5 && len(numbers) > 1:
		return indexed(numbers[1]), 2
	case numbers[0] == 2 && len(numbers) > 3:
		return fmt.Sprintf("#%02x%02x%02x", numbers[1]&255, numbers[2]&255, numbers[3]&255), 4
	}
	return "", len(numbers)
}

// basic are the 16 colours of a terminal.
var basic = [16]string{
	"#3b4252", "#e5534b", "#57ab5a", "#c69026", "#539bf5", "#b083f0", "#39c5cf", "#d0d7de",
	"#768390", "#ff7b72", "#6bc46d", "#e3b341", "#6cb6ff", "#dcbdfb", "#56d4dd", "#ffffff",
}

// indexed is a colour of xterm's palette of 256.
func indexed(n int) string {
	switch {
	case n < 0 || n > 255:
		return ""
	case n < 16:
		return basic[n]
	case n >= 232:
		v := 8 + 10*(n-232)
		return fmt.Sprintf("#%02x%02x%02x", v, v, v)
	}
	level := func(v int) int {
		if v == 0 {
			return 0
		}
		return 55 + 40*v
	}
	n -= 16
	return fmt.Sprintf("#%02x%02x%02x", level(n/36), level(n/6%6), level(n%6))
}

// svg draws the screens. Rows that look the same are written once.
func svg(screens []screen) string {
	columns, rows, total := 0, 0, 0
	for _, s := range screens {
		rows, total = max(rows, len(s.rows)), total+s.ms
		for _, row := range s.rows {
			for _, part := range row {
				columns = max(columns, part.column+len([]rune(part.text)))
			}
		}
	}
	width := int(float64(columns)*cellWidth) + 2*margin
	height := rows*cellHeight + 2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" `+
		`font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%d">`+"\n",
		width, height, width, height, fontSize)
	b.WriteString(styles(screens, total))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="%s"/>`+"\n", width, height, background)
	known := map[string]int{}
	for i, s := range screens {
		fmt.Fprintf(&b, "<g class=\"s%d\">\n", i)
		for y, row := range s.rows {
			text := drawRow(row)
			if text == "" {
				continue
			}
			n, ok := known[text]
			if !ok {
				n = len(known)
				known[text] = n
				fmt.Fprintf(&b, `<g transform="translate(%d %d)"><g id="r%d">%s</g></g>`+"\n", margin, margin+y*cellHeight, n,
					text)
				continue
			}
			fmt.Fprintf(&b, `<use href="#r%d" x="%d" y="%d"/>`+"\n", n, margin, margin+y*cellHeight)
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// styles shows the screens one after the other, again and again. Who wants no motion, or has a program that moves
// nothing, sees the last one.
func styles(screens []screen, total int) string {
	if len(screens) == 1 {
		return ""
	}
	var b strings.Builder
	b.WriteString("<style>\n")
	began := 0
	percent := func(ms int) string { return strconv.FormatFloat(100*float64(ms)/float64(total), 'f', 3, 64) }
	last := len(screens) - 1
	for i, s := range screens {
		visibility := "hidden"
		if i == last {
			visibility = "visible"
		}
		fmt.Fprintf(&b, ".s%d{visibility:%s;animation:k%d %dms step-end infinite}\n", i, visibility, i, total)
		fmt.Fprintf(&b, "@keyframes k%d{0%%{visibility:hidden}%s%%{visibility:visible}%s%%{visibility:hidden}}\n", i,
			percent(began), percent(began+s.ms))
		began += s.ms
	}
	b.WriteString("@media (prefers-reduced-motion:reduce){g[class]{animation:none}}\n</style>\n")
	return b.String()
}

// drawRow draws the parts of a row, "" for nothing to see.
func drawRow(row []span) string {
	var b strings.Builder
	for _, part := range row {
		fore, back := part.style.fore, part.style.back
		if part.style.reverse {
			fore, back = cmp.Or(back, background), cmp.Or(fore, foreground)
		}
		length := len([]rune(part.text))
		if back != "" {
			fmt.Fprintf(&b, `<rect x="%.1f" width="%.1f" height="%d" fill="%s"/>`, float64(part.column)*cellWidth,
				float64(length)*cellWidth, cellHeight, back)
		}
		for _, word := range words(part) {
			b.WriteString(drawText(word, fore))
		}
	}
	return b.String()
}

// words divides a part at gaps of two blanks and more, which need not be drawn.
func words(part span) (out []span) {
	runes := []rune(part.text)
	for i := 0; i < len(runes); {
		if runes[i] == ' ' {
			i++
			continue
		}
		end := i
		for j := i; j < len(runes) && (runes[j] != ' ' || j+1 < len(runes) && runes[j+1] != ' '); j++ {
			end = j + 1
		}
		text := strings.TrimRight(string(runes[i:end]), " ")
		out = append(out, span{part.column + i, text, part.style})
		i = end
	}
	return out
}

// drawText draws text at its place; its length makes it fit the cells whatever font there is.
func drawText(part span, fore string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<text x="%.1f" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs"`,
		float64(part.column)*cellWidth, cellHeight-4, float64(len([]rune(part.text)))*cellWidth)
	fmt.Fprintf(&b, ` fill="%s"`, cmp.Or(fore, foreground))
	if part.style.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if part.style.dim {
		b.WriteString(` opacity=".65"`)
	}
	if part.style.line {
		b.WriteString(` text-decoration="underline"`)
	}
	return b.String() + ">" + html.EscapeString(part.text) + "</text>"
}
