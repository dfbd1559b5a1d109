package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"lostbeat/model"
)

const (
	// maxLine is the longest line that ReadText accepts.
	maxLine = 2 << 20
	// maxTextBatch is about how many bytes of text become one batch.
	maxTextBatch = 1 << 20
)

// ReadText reads events in the text form and hands them on in batches. Blank
// lines and lines that begin with # are skipped. A malformed line is an error that
// names its number; what stands before it has been handed on.
func ReadText(r io.Reader, emit func(*model.Batch) error) error {
	var builder model.Builder
	flush := func() error {
		if b := builder.Take(); b != nil {
			return emit(b)
		}
		return nil
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number, size := 0, 0
	for lines.Scan() {
		number++
		size += len(lines.Bytes())
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := model.ParseText(&builder, string(line)); err != nil {
			if flushErr := flush(); flushErr != nil {
				return flushErr
			}
			return fmt.Errorf("line %d: %w", number, err)
		}
		if builder.Len() == batchSize || size >= maxTextBatch {
			size = 0
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than %d MiB", number+1, maxLine>>20)
	} else if err != nil {
		return fmt.Errorf("line %d: %w", number+1, err)
	}
	return nil
}
