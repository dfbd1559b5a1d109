package otlp

import (
	"crypto/sha256"
	"encoding/hex"
)

// pseudonym names a host by its boot, so that hosts stay apart that have no names.
func pseudonym(h Host) string {
	sum := sha256.Sum256([]byte(h.BootID))
	return "host-" + hex.EncodeToString(sum[:4])
}
