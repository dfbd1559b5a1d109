package record

import (
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lostbeat/model"
	"lostbeat/model/state"
	"lostbeat/record/recordpb"
)

const (
	// blockSize is the encoded size at which a block ends.
	blockSize = 1 << 20
	// keyframeEvery is the longest time without a keyframe.
	keyframeEvery = time.Minute
	// keyframeShare bounds what keyframes cost: the data between two of them is
	// at least this many times the size of the first.
	keyframeShare = 4
	// maxKeyframe is the largest keyframe that is written, encoded.
	maxKeyframe = maxRaw / 2
)

// sealed is a finished block: a frame as it goes into a file.
type sealed struct {
	frame   []byte
	raw     int
	summary *recordpb.Summary
}

// blockEncoder makes blocks out of events and keeps the state for their keyframes.
type blockEncoder struct {
	state    *state.State
	zstd     *zstd.Encoder
	keyframe time.Duration // longest time without one

	seq     uint64
	summary recordpb.Summary
	kinds   [128]uint64
	rare    map[model.Kind]uint64 // kinds that this version does not know
	clock   model.Clock
	// keyframes and body hold finished Events fields of the block under way.
	keyframes, body []byte
	events          eventsEncoder
	// raw and out are buffers.
	raw, out []byte

	// force asks for a keyframe in the next block: at the start of a file, after a loss.
	force         bool
	lastKeyframe  model.Time
	keyframeSize  int
	sinceKeyframe int
}

func newBlockEncoder(keyframe time.Duration) (*blockEncoder, error) {
	enc, err := newEncoder()
	if err != nil {
		return nil, fmt.Errorf("start zstd: %w", err)
	}
	return &blockEncoder{
		state:    state.New(),
		zstd:     enc,
		keyframe: keyframe,
		force:    true,
		rare:     make(map[model.Kind]uint64),
	}, nil
}

// empty says that no event has been added since the last block.
func (x *blockEncoder) empty() bool { return x.summary.Events == 0 }

// size is about the encoded size of the block under way.
func (x *blockEncoder) size() int { return x.events.size + len(x.body) }

// start is the time of the block's first event.
func (x *blockEncoder) start() model.Time { return model.Time(x.summary.StartNs) }

// batch announces the batch to which the next events belong.
func (x *blockEncoder) batch(b *model.Batch) { x.events.batch(b) }

// add appends e, an event of the announced batch.
func (x *blockEncoder) add(b *model.Batch, e *model.Event) {
	if x.empty() {
		x.begin(b, e.Time)
	} else if x.events.full() {
		x.body = appendEvents(x.body, blockEvents, &x.events)
		x.events.begin()
		x.events.batch(b)
	}
	s := &x.summary
	s.Events++
	s.StartNs, s.EndNs = uint64(min(int64(s.StartNs), int64(e.Time))), uint64(max(int64(s.EndNs), int64(e.Time)))
	if int(e.Kind) < len(x.kinds) {
		x.kinds[e.Kind]++
	} else {
		x.rare[e.Kind]++
	}
	if e.Kind == model.KindLoss {
		if v, ok := b.Loss(e); ok && v.Origin != model.OriginLate {
			s.Lost += v.Lost
		}
	}
	x.state.ApplyEvent(b, e)
	x.events.add(b, *e)
}

// begin starts a block whose first event, of batch b, happened at time t.
func (x *blockEncoder) begin(b *model.Batch, t model.Time) {
	x.summary.Reset()
	x.summary.Seq, x.summary.StartNs, x.summary.EndNs = x.seq, uint64(t), uint64(t)
	x.keyframes, x.body = x.keyframes[:0], x.body[:0]
	x.clock = x.state.Clock
	if x.force || x.sinceKeyframe >= keyframeShare*x.keyframeSize || t.Sub(x.lastKeyframe) >= x.keyframe {
		x.addKeyframe(t)
	}
	x.events.begin()
	x.events.batch(b)
}

func (x *blockEncoder) addKeyframe(t model.Time) {
	if x.state.Start != 0 { // or else nothing holds yet
		x.events.begin()
		for b := range x.state.Keyframe(t) {
			x.events.batch(b)
			for i := range b.Events {
				if x.events.full() {
					x.keyframes = appendEvents(x.keyframes, blockKeyframe, &x.events)
					x.events.begin()
					x.events.batch(b)
				}
				x.events.add(b, b.Events[i])
			}
		}
		x.keyframes = appendEvents(x.keyframes, blockKeyframe, &x.events)
	}
	x.keyframeSize, x.sinceKeyframe, x.lastKeyframe = len(x.keyframes), 0, t
	if len(x.keyframes) > maxKeyframe {
		// A seek goes back to the keyframe before.
		x.keyframes = x.keyframes[:0]
		return
	}
	x.summary.Keyframe, x.force = true, false
}

func appendEvents(dst []byte, num protowire.Number, x *eventsEncoder) []byte {
	return appendBytes(dst, num, x.append(nil))
}

// again gives the number of the block that was sealed last to the next one.
func (x *blockEncoder) again() { x.seq-- }

// seal ends the block and returns it; its bytes hold until the next seal.
func (x *blockEncoder) seal() (sealed, error) {
	body := appendUint(x.raw[:0], blockSeq, x.seq)
	if c := &x.clock; c.Time != 0 {
		msg := appendFixed64(nil, 1, uint64(c.Time))
		msg = appendUint(msg, 2, uint64(c.Boot))
		msg = appendUint(msg, 3, uint64(c.Mono))
		msg = appendFixed64(msg, 4, uint64(c.Wall))
		msg = appendUint(msg, 5, uint64(c.Bracket))
		body = appendBytes(body, blockClock, msg)
	}
	body = append(append(body, x.keyframes...), x.body...)
	body = appendEvents(body, blockEvents, &x.events)
	x.raw = body

	s := proto.CloneOf(&x.summary)
	for k, n := range x.kinds {
		if n > 0 {
			s.Kinds = append(s.Kinds, &recordpb.KindCount{Kind: uint32(k), Count: n})
		}
	}
	for k, n := range x.rare {
		s.Kinds = append(s.Kinds, &recordpb.KindCount{Kind: uint32(k), Count: n})
	}
	sortKinds(s.Kinds)
	x.seq++
	x.sinceKeyframe += len(body) - len(x.keyframes)
	x.kinds = [128]uint64{}
	clear(x.rare)
	x.summary.Reset()

	head, err := proto.Marshal(s)
	if err != nil {
		return sealed{}, fmt.Errorf("encode summary: %w", err)
	}
	raw := appendEnvelope(nil, envelopeSummary, head)
	raw = appendEnvelope(raw, envelopeBlock, body)
	if len(raw) > maxRaw {
		return sealed{summary: s}, fmt.Errorf("block of %d bytes is larger than the format allows", len(raw))
	}
	x.out = x.zstd.EncodeAll(raw, x.out[:0])
	return sealed{x.out, len(raw), s}, nil
}
