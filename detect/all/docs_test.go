package all_test

import (
	"os"
	"testing"

	"lostbeat/detect/all"
)

// TestDocumentation wants the page to say what the detectors say of themselves.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/DETECTORS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != all.Documentation() {
		t.Error("docs/DETECTORS.md is not what make generate writes")
	}
}
