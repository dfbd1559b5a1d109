package run

import (
	"context"
	"os"
	"time"

	"golang.org/x/term"
)

// terminalCheck is how often the UI looks whether its terminal is still there.
const terminalCheck = 2 * time.Second

// watchTerminal calls gone when the terminal goes away, until ctx is done. A
// terminal that is closed reads like one at which nobody types, and not every
// shell passes SIGHUP on: the UI would trace on unseen.
func watchTerminal(ctx context.Context, gone func()) {
	ticker := time.NewTicker(terminalCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if !term.IsTerminal(int(os.Stdin.Fd())) {
				gone()
				return
			}
		}
	}
}
