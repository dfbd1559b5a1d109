package main

import (
	"strings"
	"testing"

	"lostbeat/internal/hint"
)

func TestASCIILocale(t *testing.T) {
	for _, c := range []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "", false},
		{"", "", "C", true},
		{"", "", "POSIX", true},
		{"", "", "en_US.UTF-8", false},
		{"", "", "C.utf8", false},
		{"", "", "de_DE.ISO-8859-15@euro", true},
		{"", "", "de_DE.UTF-8@euro", false},
		{"", "", "de_DE", false}, // it does not say
		{"C", "", "en_US.UTF-8", true},
		{"C.UTF-8", "C", "C", false},
		{"", "C", "en_US.UTF-8", true},
		{"", "en_US.utf-8", "C", false},
	} {
		env := map[string]string{"LC_ALL": c.all, "LC_CTYPE": c.ctype, "LANG": c.lang}
		if got := asciiLocale(func(name string) string { return env[name] }); got != c.want {
			t.Errorf("LC_ALL=%q LC_CTYPE=%q LANG=%q: %v", c.all, c.ctype, c.lang, got)
		}
	}
}

// TestASCIIFlag lets the flag win over the locale.
func TestASCIIFlag(t *testing.T) {
	t.Setenv("LC_ALL", "C")
	for arg, want := range map[string]string{"": "true", "--ascii=false": "false"} {
		cmd := newReplay()
		if arg != "" {
			if err := cmd.ParseFlags([]string{arg}); err != nil {
				t.Fatal(err)
			}
		}
		if got := cmd.Flag("ascii").Value.String(); got != want {
			t.Errorf("%q: --ascii is %s", arg, got)
		}
	}
}

func TestASCIITerminal(t *testing.T) {
	tests := []struct {
		kind, device string
		want         bool
	}{
		{"xterm-256color", "/dev/pts/3", false},
		{"screen", "", false},
		{"", "/dev/tty1", false},
		{"xterm", "/dev/ttyS", false},
		{"xterm", "/tmp/ttyS0", false},
		{"linux", "/dev/tty1", true},
		{"dumb", "", true},
		{"vt100", "/dev/pts/3", true},
		{"vt220", "/dev/pts/3", true},
		{"vt220-w", "/dev/pts/3", false},
		{"xterm", "/dev/ttyS0", true},
		{"xterm", "/dev/ttyUSB12", true},
		{"xterm", "/dev/ttyAMA0", true},
		{"xterm", "/dev/hvc0", true},
	}
	for _, tt := range tests {
		if got := asciiTerminal(tt.kind, tt.device); got != tt.want {
			t.Errorf("TERM=%s on %q: %v, want %v", tt.kind, tt.device, got, tt.want)
		}
	}
}

func TestTheme(t *testing.T) {
	for _, name := range themeNames() {
		if err := new(themeFlag).Set(name); err != nil {
			t.Error(err)
		}
	}
	if err := new(themeFlag).Set("neon"); err == nil || !strings.Contains(hint.Of(err), "colour-blind") {
		t.Errorf("got %v, hint %q", err, hint.Of(err))
	}
}
