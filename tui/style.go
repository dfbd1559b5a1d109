package tui

import (
	"strconv"
)

// style is the meaning of a piece of text; a theme says how it looks.
type style uint8

const (
	plain style = iota
	dim
	bold
	heading
	accent
	critical
	warning
	good
	live
	selected
	tab
	inverse
	heat0      // heat0 to heat0+heatLevels-1 are the steps of the heat map
	heatLast   = heat0 + heatLevels - 1
	styleCount = int(heatLast) + 1
)

const heatLevels = 6

// theme holds the escape sequence that begins each style; it is "" for plain.
type theme struct {
	begin [styleCount]string
	glyphs
}

// glyphs are the characters that are drawn rather than written.
type glyphs struct {
	ascii                                bool
	critical, warning, info, good, never string
	live, paused, replay                 string
	rule, track, ahead, span, head, left string
	note                                 string // on the time line
	right, more, up, down, pointer       string
	sparks                               []string // 9 levels, 0 being empty
	shades                               []string // heatLevels levels
}

var unicodeGlyphs = glyphs{
	critical: "✖",
	warning:  "▲",
	info:     "●",
	good:     "✔",
	never:    "○",
	live:     "●",
	paused:   "‖",
	replay:   "▸",
	rule:     "─",
	track:    "─",
	ahead:    "┄",
	span:     "━",
	head:     "┃",
	left:     "◂",
	note:     "◆",
	right:    "▸",
	more:     "…",
	up:       "▲",
	down:     "▼",
	pointer:  "▸",
	sparks:   []string{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	shades:   []string{" ", "·", "░", "▒", "▓", "█"},
}

var asciiGlyphs = glyphs{
	ascii:    true,
	critical: "X",
	warning:  "!",
	info:     "i",
	good:     "+",
	never:    "o",
	live:     "*",
	paused:   "=",
	replay:   ">",
	rule:     "-",
	track:    "-",
	ahead:    ".",
	span:     "=",
	head:     "|",
	left:     "<",
	note:     "@",
	right:    ">",
	more:     "~",
	up:       "+",
	down:     "-",
	pointer:  ">",
	sparks:   []string{" ", "_", "_", ".", ".", ":", "-", "=", "#"},
	shades:   []string{" ", ".", ":", "-", "=", "#"},
}

// The palette keeps to blue, orange and red-purple of the Okabe-Ito set, which
// people with any of the common colour blindnesses tell apart, and every use of
// it goes with a glyph or a word that says the same.
type palette struct {
	dim, accent, critical, warning, good [3]uint8
	tabText, tabBack                     [3]uint8
	selectedText, selectedBack           [3]uint8
	heat                                 [heatLevels][3]uint8
	heatText                             [heatLevels][3]uint8
}

var darkPalette = palette{
	dim: [3]uint8{
		0x8a,
		0x92,
		0x9c,
	}, accent: [3]uint8{0x7c, 0xb7, 0xe8}, critical: [3]uint8{0xff, 0x7a, 0x4d},
	warning: [3]uint8{0xf0, 0xb4, 0x29}, good: [3]uint8{0x56, 0xb4, 0xe9},
	tabText: [3]uint8{
		0x10,
		0x14,
		0x18,
	}, tabBack: [3]uint8{0x7c, 0xb7, 0xe8}, selectedText: [3]uint8{0xff, 0xff, 0xff},
	selectedBack: [3]uint8{0x2b, 0x3f, 0x55},
	heat: [heatLevels][3]uint8{
		{0x16, 0x1b, 0x22},
		{0x1d, 0x2f, 0x4a},
		{0x35, 0x4b, 0x6b},
		{0x6b, 0x6a, 0x6f},
		{0xb0, 0x97, 0x4f},
		{0xf5, 0xd4, 0x43},
	},
	heatText: [heatLevels][3]uint8{
		{0x8a, 0x92, 0x9c},
		{0xd0, 0xd8, 0xe0},
		{0xff, 0xff, 0xff},
		{0xff, 0xff, 0xff},
		{0, 0, 0},
		{0, 0, 0},
	},
}

var lightPalette = palette{
	dim: [3]uint8{
		0x5f,
		0x66,
		0x6e,
	}, accent: [3]uint8{0x00, 0x50, 0x8c}, critical: [3]uint8{0xa8, 0x32, 0x00},
	warning: [3]uint8{0x80, 0x55, 0x00}, good: [3]uint8{0x00, 0x5a, 0x8c},
	tabText: [3]uint8{
		0xff,
		0xff,
		0xff,
	}, tabBack: [3]uint8{0x00, 0x50, 0x8c}, selectedText: [3]uint8{0, 0, 0}, selectedBack: [3]uint8{0xcf, 0xe3, 0xf5},
	heat: [heatLevels][3]uint8{
		{0xf6, 0xf6, 0xf2},
		{0xe8, 0xe3, 0xc8},
		{0xd9, 0xc8, 0x7e},
		{0xa3, 0x99, 0x78},
		{0x53, 0x62, 0x7d},
		{0x12, 0x2f, 0x5d},
	},
	heatText: [heatLevels][3]uint8{
		{0x5f, 0x66, 0x6e},
		{0, 0, 0},
		{0, 0, 0},
		{0, 0, 0},
		{0xff, 0xff, 0xff},
		{0xff, 0xff, 0xff},
	},
}

// themeName is the theme that options ask for, on a light or a dark background.
func themeName(opt *Options, light bool) string {
	switch {
	case opt.NoColor:
		return "mono"
	case opt.Theme != "" && opt.Theme != "auto":
		return opt.Theme
	case light:
		return "light"
	}
	return "dark"
}

// newTheme returns the theme of a name: dark, light, colour-blind or mono. The terminal program turns the colours
// into what the terminal can show, down to none. All themes can be read with any of the common colour blindnesses;
// colour-blind does not ask to tell hues apart at all: what is critical is in reverse, what is a warning underlined.
func newTheme(ascii bool, name string) *theme {
	t := &theme{glyphs: unicodeGlyphs}
	if ascii {
		t.glyphs = asciiGlyphs
	}
	p := &darkPalette
	if name == "light" {
		p = &lightPalette
	}
	noColor := name == "mono"
	foreground := func(c [3]uint8) string { return colour("38", c) }
	both := func(text, back [3]uint8) string { return colour("38", text) + ";" + colour("48", back) }
	set := func(s style, attributes, colours string) {
		if noColor {
			colours = ""
		}
		if attributes != "" && colours != "" {
			attributes += ";"
		}
		if attributes+colours != "" {
			t.begin[s] = "\x1b[" + attributes + colours + "m"
		}
	}
	set(dim, "", foreground(p.dim))
	set(bold, "1", "")
	set(heading, "1", foreground(p.dim))
	set(accent, "", foreground(p.accent))
	set(critical, "1", foreground(p.critical))
	set(warning, "1", foreground(p.warning))
	if name == "colour-blind" {
		set(critical, "1;7", "")
		set(warning, "1;4", "")
	}
	set(good, "", foreground(p.good))
	set(live, "1", foreground(p.good))
	set(inverse, "7", "")
	if noColor {
		set(selected, "7", "")
		set(tab, "7", "")
	} else {
		set(selected, "", both(p.selectedText, p.selectedBack))
		set(tab, "1", both(p.tabText, p.tabBack))
	}
	for i := range heatLevels {
		set(heat0+style(i), "", both(p.heatText[i], p.heat[i]))
	}
	return t
}

func colour(layer string, c [3]uint8) string {
	return layer + ";2;" + strconv.Itoa(int(c[0])) + ";" + strconv.Itoa(int(c[1])) + ";" + strconv.Itoa(int(c[2]))
}

const endStyle = "\x1b[m"
