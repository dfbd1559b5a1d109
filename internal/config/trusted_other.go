//go:build !unix && !windows

package config

import "os"

// trusted accepts every file: there are no users.
func trusted(*os.File, string) error { return nil }
