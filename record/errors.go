package record

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Sentinels, found with errors.Is.
var (
	// ErrMaxSize is returned by Writer.Write when the recording has reached
	// Options.MaxSize: it is complete, and what follows is not recorded.
	ErrMaxSize = errors.New("the recording has reached its maximum size")
	// ErrNotRecording is a file that does not begin as a recording does.
	ErrNotRecording = errors.New("not a lostbeat recording")
	// ErrEmpty is a file that was created but that holds no complete header.
	ErrEmpty = errors.New("the recording is empty")
	// ErrNewerFormat is a recording of a major version above FormatMajor.
	ErrNewerFormat = errors.New("the recording was written in a newer format")
	// ErrOverlap is a list of files of different recordings that ran at the same time.
	ErrOverlap = errors.New("the recordings overlap in time")
	// ErrBlocked is a disk that neither takes the data nor refuses it.
	ErrBlocked = errors.New("the disk has not responded")
	// ErrLocked is a name under which another recorder is writing.
	ErrLocked = errors.New("another recorder is writing under this name")
	// ErrClosed is the use of a Writer after Close.
	ErrClosed = errors.New("the recording is closed")
)

// Error is a fault of a recording's file.
type Error struct {
	// Op is what was being done: create, write, rotate, close, open, read.
	Op string
	// Path is the file.
	Path string
	Err  error
}

func (e *Error) Error() string { return e.Op + " " + e.Path + ": " + cause(e.Err).Error() }

func (e *Error) Unwrap() error { return e.Err }

// cause strips the operation and path that package os adds, which Error says better.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// Hint says what would fix the fault, "" when nothing is known.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Err, ErrNewerFormat):
		return "update lostbeat on this machine"
	case errors.Is(e.Err, ErrEmpty):
		return "the recorder was stopped before it wrote anything; record again"
	case errors.Is(e.Err, ErrNotRecording):
		return "give a .lostbeat file; captures of other tools have readers of their own"
	case errors.Is(e.Err, ErrBlocked):
		return "see the kernel log for the disk or its server; what was written before can be read once it responds again"
	case errors.Is(e.Err, ErrLocked):
		return "give another name, or end the other recorder first"
	case errors.Is(e.Err, ErrOverlap):
		return "open the recordings one by one"
	case errors.Is(e.Err, fs.ErrExist):
		return "give another name, or --force to replace the file"
	case errors.Is(e.Err, fs.ErrNotExist) && e.Op == "create":
		return "create the directory first"
	case errors.Is(e.Err, fs.ErrPermission):
		return "recordings are readable by their owner only (0600): use that account, or change the file's owner"
	case isDiskFull(e.Err):
		return "free space on the file system, or bound the recording with a maximum size or a total cap; recording goes " +
			"on when there is space again"
	case errors.Is(e.Err, syscall.EROFS):
		return "the file system is read-only: give a path on another"
	case errors.Is(e.Err, syscall.EIO):
		return "the disk reports an input/output error: see the kernel log"
	}
	return ""
}

// wrap returns err as an *Error, nil for nil. What is an *Error already stays.
func wrap(op, path string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, os.ErrClosed) {
		err = ErrClosed
	}
	return &Error{op, path, err}
}
