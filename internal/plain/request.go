package plain

import (
	"errors"
	"net/url"
)

// WithoutURL returns why a request of net/http failed. The error itself names the URL, with its password.
func WithoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
