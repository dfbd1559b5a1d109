package vmtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"lostbeat/model"
)

// Watch starts `lostbeat watch --json`, a program of the guest, and returns it
// with its findings, which are printed too; the channel is closed when it ends.
func Watch(t *testing.T, args ...string) (*exec.Cmd, <-chan model.Finding) {
	t.Helper()
	watch := exec.Command("/lostbeat", append([]string{"watch", "--json"}, args...)...)
	watch.Stderr = os.Stdout
	stdout, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	findings := make(chan model.Finding, 64)
	go func() {
		defer close(findings)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			fmt.Println(lines.Text())
			var f model.Finding
			if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
				t.Errorf("%q: %v", lines.Text(), err)
			}
			findings <- f
		}
	}()
	return watch, findings
}
