package rpcbind

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Values of the protocols.
const (
	program       = 100000
	versionPMAP   = 2
	versionRPCB   = 3
	procedureDump = 4 // of both versions

	messageCall, messageReply = 0, 1
	rpcVersion                = 2
	replyAccepted             = 0
	acceptSuccess             = 0
	acceptProgUnavailable     = 1
	acceptProgMismatch        = 2

	lastFragment = 1 << 31

	// IP protocol numbers, in the entries of version 2.
	protocolTCP, protocolUDP = 6, 17
)

const (
	// maxAnswer bounds the bytes of an answer. An entry takes about 80.
	maxAnswer = 1 << 20
	// maxFragments bounds the parts of an answer, which may be empty.
	maxFragments = 1024
	// maxText bounds a text of an entry.
	maxText = 256
	// maxVerifier bounds what a server proves its identity with (RFC 5531, 8.2).
	maxVerifier = 400
)

// refusedError is a call that the server has read and does not serve.
type refusedError struct {
	status uint32
	// version says that the server does not have this version of the protocol.
	version bool
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("rpcbind refused to list its programs: accept status %d", e.status)
}

// call returns a call of DUMP, without credentials, as one record.
func call(id, version uint32) []byte {
	words := []uint32{id, messageCall, rpcVersion, program, version, procedureDump, 0, 0, 0, 0}
	out := binary.BigEndian.AppendUint32(nil, lastFragment|uint32(4*len(words)))
	for _, w := range words {
		out = binary.BigEndian.AppendUint32(out, w)
	}
	return out
}

// readRecord reads one record, which may be in parts.
func readRecord(r io.Reader) ([]byte, error) {
	var record bytes.Buffer
	for range maxFragments {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, fmt.Errorf("read the mark of a record: %w", err)
		}
		m := binary.BigEndian.Uint32(mark[:])
		length := int64(m &^ lastFragment)
		if int64(record.Len())+length > maxAnswer {
			return nil, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
		}
		if _, err := io.CopyN(&record, r, length); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read %d bytes: %w", length, err)
		}
		if m&lastFragment != 0 {
			return record.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("an answer in more than %d parts", maxFragments)
}

// decoder reads XDR. After the first fault it reads zeroes.
type decoder struct {
	data   []byte
	offset int
	err    error
}

func (d *decoder) uint32() uint32 {
	if d.err == nil && len(d.data)-d.offset < 4 {
		d.err = fmt.Errorf("offset %d: the answer ends within a number", d.offset)
	}
	if d.err != nil {
		return 0
	}
	v := binary.BigEndian.Uint32(d.data[d.offset:])
	d.offset += 4
	return v
}

// text reads a string, or opaque bytes, of limit bytes at most.
func (d *decoder) text(limit uint32) string {
	at := d.offset
	n := d.uint32()
	if d.err == nil && n > limit {
		d.err = fmt.Errorf("offset %d: a text of %d bytes", at, n)
	}
	padded := (int(n) + 3) &^ 3
	if d.err == nil && len(d.data)-d.offset < padded {
		d.err = fmt.Errorf("offset %d: the answer ends within a text of %d bytes", at, n)
	}
	if d.err != nil {
		return ""
	}
	s := string(d.data[d.offset : d.offset+int(n)])
	d.offset += padded
	return s
}

// more reads whether another entry follows.
func (d *decoder) more() bool {
	at := d.offset
	v := d.uint32()
	if d.err == nil && v > 1 {
		d.err = fmt.Errorf("offset %d: %d where 0 or 1 says whether an entry follows", at, v)
	}
	return d.err == nil && v == 1
}

// parseAnswer reads the answer to the call with an id. With an error it returns
// what came before.
func parseAnswer(data []byte, id, version uint32) (list []Registration, err error) {
	d := &decoder{data: data}
	if got := d.uint32(); d.err == nil && got != id {
		return nil, fmt.Errorf("read rpcbind's answer: it answers call %#x, not %#x", got, id)
	}
	if kind := d.uint32(); d.err == nil && kind != messageReply {
		return nil, fmt.Errorf("read rpcbind's answer: a message of type %d", kind)
	}
	if status := d.uint32(); d.err == nil && status != replyAccepted {
		return nil, errors.New("rpcbind denied the call")
	}
	d.uint32() // the flavour of the verifier
	d.text(maxVerifier)
	if status := d.uint32(); d.err == nil && status != acceptSuccess {
		return nil, &refusedError{status, status == acceptProgMismatch || status == acceptProgUnavailable}
	}
	for d.more() {
		if len(list) == MaxRegistrations {
			return list, ErrTooMany
		}
		if r := d.registration(version); d.err == nil {
			list = append(list, r)
		}
	}
	if d.err != nil {
		return list, fmt.Errorf("read rpcbind's answer: %w", d.err)
	}
	return list, nil
}

func (d *decoder) registration(version uint32) Registration {
	r := Registration{Program: d.uint32(), Version: d.uint32()}
	if version != versionPMAP {
		r.Netid, r.Address, r.Owner = d.text(maxText), d.text(maxText), d.text(maxText)
		return r
	}
	protocol, port := d.uint32(), d.uint32()
	switch protocol {
	case protocolTCP:
		r.Netid = "tcp"
	case protocolUDP:
		r.Netid = "udp"
	default:
		r.Netid = "protocol " + strconv.FormatUint(uint64(protocol), 10)
	}
	r.Address = fmt.Sprintf("0.0.0.0.%d.%d", port>>8&0xff, port&0xff)
	return r
}
