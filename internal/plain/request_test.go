package plain

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestWithoutURL(t *testing.T) {
	_, err := http.Get("unknown://user:secret@example.com/") //nolint:bodyclose // there is no answer
	if err == nil || !strings.Contains(err.Error(), "example.com") {
		t.Fatalf("the error does not name the URL: %v", err)
	}
	if got := WithoutURL(err).Error(); strings.Contains(got, "example.com") || got == "" {
		t.Errorf("got %q", got)
	}
	if err := errors.New("other"); !errors.Is(WithoutURL(err), err) {
		t.Error("another error is not itself")
	}
}
