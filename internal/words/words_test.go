package words

import "testing"

func TestRate(t *testing.T) {
	for rate, want := range map[float64]string{1234.4: "1,234", 9.96: "10", 2.5: "2.5"} {
		if got := Rate(rate); got != want {
			t.Errorf("Rate(%v) = %q, want %q", rate, got, want)
		}
	}
}

func TestSentence(t *testing.T) {
	for text, want := range map[string]string{
		"enlarge the ring":              "Enlarge the ring",
		"do not":                        "Do not",
		"net.core.somaxconn is small":   "net.core.somaxconn is small",
		"ip neigh shows it":             "ip neigh shows it",
		"hbd[812] reads late":           "hbd[812] reads late",
		"eth0 is slow":                  "eth0 is slow",
		"bind-first sockets":            "bind-first sockets",
		"Already":                       "Already",
		"nothing":                       "Nothing",
		"no. It is meant":               "No. It is meant",
		"IP_BIND_ADDRESS_NO_PORT helps": "IP_BIND_ADDRESS_NO_PORT helps",
		"":                              "",
	} {
		if got := Sentence(text); got != want {
			t.Errorf("Sentence(%q) = %q, want %q", text, got, want)
		}
	}
}
