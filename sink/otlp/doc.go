// Package otlp sends findings to an OpenTelemetry collector, or to a store that takes OTLP: as log events, over
// HTTP with protobuf.
//
// # Delivery
//
// Each finding that arises, gets worse or ends, and each active one once a minute, is a record with a key: boot id,
// finding id, revision. The record is written to a journal on disk before or while it is sent. A cursor beside the
// journal moves when the receiver has confirmed. What was sent and not confirmed is sent again, so delivery is at
// least once; a store that keeps one record of each key has each exactly once. What cannot be delivered is counted,
// said, and sent as an event of its own when the receiver takes events again.
//
// The sink's Write never waits for the disk or the network. One goroutine writes the journal, another one sends.
//
// # The journal
//
// A folder with these files, readable by their owner only:
//
//   - NUMBER.otlp: a segment, named by the number of its first record in 20 digits. It is a sequence of frames.
//   - cursor: two slots of 512 bytes, written in turns, in place, so that a full disk does not stop them.
//   - journal.lock: the lock of the process that writes.
//
// A frame is, in little-endian order: the length of the payload (4 bytes), the CRC-32C of all that follows (4 bytes),
// its kind (1 byte), the number of the record (8 bytes), the payload. The first frame of a segment has kind 1 and
// opentelemetry.proto.resource.v1.Resource as payload; the others have kind 2 (a finding) or 3 (a count of what was
// lost), and opentelemetry.proto.logs.v1.LogRecord. Numbers rise by one, so a gap says how many records are missing.
//
// A slot of the cursor is: "LBCURSOR", a generation, the number of the next record to send, and how many findings were
// confirmed and lost since the journal was made (8 bytes each), then the CRC-32C of all that. The whole slot with the
// higher generation counts.
package otlp
