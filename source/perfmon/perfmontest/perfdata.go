package perfmontest

import "time"

// Block is a PERF_DATA_BLOCK of one object, the body of a kind 5 record.
type Block struct {
	Machine string
	// Time and Frequency are the performance counter, UTC the time of the reading.
	Time, Frequency int64
	UTC             time.Time
	// Object is the object's index; ObjectTime and ObjectFrequency are its own clock.
	Object                      uint32
	ObjectTime, ObjectFrequency int64
	// CodePage is that of the instances' names, 0 for UTF-16.
	CodePage uint32
	Counters []BlockCounter
	// Instances have their values in the order of Counters. An object without instances has one with an empty name and
	// Single set.
	Single    bool
	Instances []BlockInstance
}

// BlockCounter is one counter's definition; its value has 4 or 8 bytes.
type BlockCounter struct {
	Index, Type uint32
	Size        int
}

// BlockInstance is one instance.
type BlockInstance struct {
	Name                 string
	ParentObject, Parent uint32
	Values               []int64
}

// FileTime is t in 100 ns since 1601, the unit of counters of 100 ns.
func FileTime(t time.Time) int64 { return int64(fileTime(t)) }

// Record encodes the block as a kind 5 record.
func (k *Block) Record() []byte {
	definition := 64 + 40*len(k.Counters)
	o := make([]byte, definition)
	offsets := make([]int, len(k.Counters))
	values := 8
	for i, c := range k.Counters {
		d := o[64+40*i:]
		le.PutUint32(d, 40)
		le.PutUint32(d[4:], c.Index)
		le.PutUint32(d[28:], c.Type)
		le.PutUint32(d[32:], uint32(c.Size))
		le.PutUint32(d[36:], uint32(values))
		offsets[i] = values
		values += (c.Size + 7) &^ 7
	}
	counterBlock := func(list []int64) []byte {
		b := make([]byte, values)
		le.PutUint32(b, uint32(values))
		for i, c := range k.Counters {
			if c.Size == 4 {
				le.PutUint32(b[offsets[i]:], uint32(list[i]))
			} else {
				le.PutUint64(b[offsets[i]:], uint64(list[i]))
			}
		}
		return b
	}
	le.PutUint32(o[4:], uint32(definition))
	le.PutUint32(o[8:], 64)
	le.PutUint32(o[12:], k.Object)
	le.PutUint32(o[32:], uint32(len(k.Counters)))
	le.PutUint32(o[40:], uint32(len(k.Instances)))
	le.PutUint32(o[44:], k.CodePage)
	le.PutUint64(o[48:], uint64(k.ObjectTime))
	le.PutUint64(o[56:], uint64(k.ObjectFrequency))
	if k.Single {
		le.PutUint32(o[40:], 0xffffffff)
		o = append(o, counterBlock(k.Instances[0].Values)...)
	} else {
		for _, in := range k.Instances {
			name := wide(in.Name, true)
			if k.CodePage != 0 {
				name = append([]byte(in.Name), 0)
			}
			d := make([]byte, 24)
			le.PutUint32(d[4:], in.ParentObject)
			le.PutUint32(d[8:], in.Parent)
			le.PutUint32(d[12:], 0xffffffff)
			le.PutUint32(d[16:], 24)
			le.PutUint32(d[20:], uint32(len(name)))
			d = append(d, name...)
			for len(d)%8 != 0 {
				d = append(d, 0)
			}
			le.PutUint32(d, uint32(len(d)))
			o = append(o, d...)
			o = append(o, counterBlock(in.Values)...)
		}
	}
	le.PutUint32(o, uint32(len(o)))

	machine := wide(k.Machine, true)
	header := (88 + len(machine) + 7) &^ 7
	b := make([]byte, header)
	copy(b, "P\x00E\x00R\x00F\x00")
	le.PutUint32(b[8:], 1)
	le.PutUint32(b[12:], 1)
	le.PutUint32(b[16:], 1)
	le.PutUint32(b[20:], uint32(header+len(o)))
	le.PutUint32(b[24:], uint32(header))
	le.PutUint32(b[28:], 1)
	le.PutUint64(b[56:], uint64(k.Time))
	le.PutUint64(b[64:], uint64(k.Frequency))
	le.PutUint64(b[72:], fileTime(k.UTC))
	le.PutUint32(b[80:], uint32(len(machine)))
	le.PutUint32(b[84:], 88)
	copy(b[88:], machine)
	return record(5, append(b, o...))
}
