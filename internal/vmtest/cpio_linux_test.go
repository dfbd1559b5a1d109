package vmtest

import (
	"bytes"
	"lostbeat/internal/testutil"
	"os/exec"
	"testing"
)

func TestWriteCPIO(t *testing.T) {
	var archive bytes.Buffer
	if err := writeCPIO(
		&archive, []cpioFile{{"dir", 0o40755, nil}, {"dir/odd", 0o100644, []byte("seven b")}},
	); err != nil {
		t.Fatal(err)
	}
	if n := archive.Len(); n%4 != 0 {
		t.Errorf("%d bytes are not padded", n)
	}
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		testutil.Unavailable(t, "nothing to read it with: %v", err)
	}
	dir := t.TempDir()
	cmd := exec.Command(cpio, "-id", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	out, err := exec.Command("cat", dir+"/dir/odd").Output()
	if err != nil || string(out) != "seven b" {
		t.Errorf("read back %q, %v", out, err)
	}
}
