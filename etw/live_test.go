package etw

import "testing"

// TestSameProgram has the files of processes whose sessions are left alone, and of those that only got the number of a
// lostbeat that was killed.
func TestSameProgram(t *testing.T) {
	const own = `C:\tools\lb.exe`
	for path, want := range map[string]bool{
		`D:\copies\LB.EXE`: true, `C:\tools\lostbeat-1.2.exe`: true, `C:\tools\Lostbeat.exe`: true,
		`C:\Windows\System32\svchost.exe`: false, `C:\lostbeat\setup.exe`: false, "": false,
	} {
		if got := sameProgram(path, own); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}
