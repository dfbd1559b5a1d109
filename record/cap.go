package record

import (
	"errors"
	"fmt"
	"io/fs"
)

const (
	// capShare is the part of a total cap at which a new file is begun, so that
	// deleting the oldest file leaves most of the recording.
	capShare = 4
	// blockShare is the part of a total cap that a block takes at most, before
	// compression: the cap can then be kept to the byte.
	blockShare = 16
	// leastBlock is the encoded size below which no block is cut short.
	leastBlock = 8 << 10
	// nextFrames is more than a block adds to a file beside its own frame: its
	// entries in the index and in the seek table.
	nextFrames = 512
)

// errCapTooSmall is a block for which there is no room below the cap.
var errCapTooSmall = errors.New("the total cap is too small for what has to be written at once")

// blockLimit is the encoded size at which a block ends.
func (o *Options) blockLimit() int {
	if o.TotalCap == 0 {
		return blockSize
	}
	return int(min(blockSize, max(leastBlock, o.TotalCap/blockShare)))
}

// add notes a file that is complete.
func (r *rotation) add(f rotated) {
	r.files = append(r.files, f)
	r.sum += f.size
}

// room deletes the oldest files until what is on disk, the present file of the
// given size and more bytes are within the cap. Without an error they are.
func (r *rotation) room(present, more int64, s *Stats) error {
	if r.cap == 0 {
		return nil
	}
	more += nextFrames
	if present+more > r.cap {
		return fmt.Errorf("%w: %d bytes of %d", errCapTooSmall, present+more, r.cap)
	}
	return r.shrink(present+more, 0, s)
}

// shrink deletes the oldest files, all but the newest keep of them, until they
// and the present one, of the given size, are within the cap. What it has
// deleted is taken from s and counted there. A file that is no longer a
// recording is left alone, and one that cannot be deleted is tried again.
func (r *rotation) shrink(present int64, keep int, s *Stats) error {
	for r.cap > 0 && r.sum+present > r.cap && len(r.files) > keep {
		f := r.files[0]
		if isRecording(f.path) {
			if err := r.remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return wrap("delete", f.path, err)
			}
			s.Deleted++
			if f.own {
				s.DeletedEvents += f.events
				s.Files--
				s.Events -= f.events
				s.Bytes -= uint64(f.size)
			}
		}
		r.files = r.files[1:]
		r.sum -= f.size
	}
	return nil
}
