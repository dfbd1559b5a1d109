//go:build !windows

package testutil

// underWine reports whether this Windows is Wine.
func underWine() bool { return false }
