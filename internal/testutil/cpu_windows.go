package testutil

import (
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// CPUTime returns how much CPU time this process has used.
func CPUTime(t testing.TB) time.Duration {
	t.Helper()
	var created, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &ended, &kernel, &user); err != nil {
		t.Fatal(err)
	}
	spent := func(f windows.Filetime) time.Duration {
		return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
	}
	return spent(kernel) + spent(user)
}
