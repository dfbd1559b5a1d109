package etw

// Header is the kind of header that a record was logged with. It says nothing
// about the payload: one class arrives with several of them.
type Header uint8

// Kinds of record headers, see doc.go of package etl.
const (
	HeaderUnknown Header = iota
	HeaderSystem
	HeaderCompact
	HeaderPerfInfo
	HeaderFull
	HeaderInstance
	HeaderEvent
	HeaderMessage
	HeaderError
)

var headerNames = [...]string{
	"unknown",
	"system",
	"compact",
	"perfinfo",
	"full",
	"instance",
	"event",
	"message",
	"error",
}

// String returns the kind in lower case, without its pointer size.
func (h Header) String() string {
	if int(h) < len(headerNames) {
		return headerNames[h]
	}
	return headerNames[HeaderUnknown]
}

// Flags of a record with HeaderEvent.
const (
	// FlagExtended says that extended items stand between header and payload.
	FlagExtended = 0x0001
	// FlagStringOnly says that the payload is a string.
	FlagStringOnly = 0x0004
	// FlagCPUIndex says that the header has the processor.
	FlagCPUIndex = 0x0200
)

// Record is one logged event with its payload still encoded.
type Record struct {
	// Time is the time stamp in ticks of the session's clock; 0 where the record has none.
	Time uint64
	// Class is the provider, or the class of a classic event. Records of the
	// kernel name their class by a number, which is translated here.
	Class GUID
	// Group is the group and the type of a record of the kernel, by which its class was found, and 1 more: group<<8 |
	// type + 1. It is 0 for records that name their class, and where the source does not say it.
	Group uint32
	// Header is the kind of header.
	Header Header
	// PointerSize is 4 or 8: the size of pointers in the payload.
	PointerSize uint8
	// ID is the event id, or the opcode of a classic event, or the number of a trace message.
	ID uint16
	// Version is the version of the payload's layout; the flags of a trace message.
	Version uint16
	Level   uint8
	Opcode  uint8
	Channel uint8
	Task    uint16
	Keyword uint64
	// Flags are the EVENT_HEADER flags, 0 for other headers.
	Flags uint16
	// PID and TID are the logging process and thread, -1 where the header has none.
	PID, TID int32
	// CPU is the processor, -1 unknown.
	CPU int32
	// Activity is the activity id of a HeaderEvent, which pairs starts and stops.
	Activity GUID
	// Related is the parent class of a HeaderInstance.
	Related GUID
	// InstanceID and ParentID are the instances of a HeaderInstance.
	InstanceID, ParentID uint32
	// Payload is the event's own data. It is valid until the next record is read.
	Payload []byte
	// Extended are the extended items of a HeaderEvent, still encoded.
	Extended []byte
	// Truncated says that the record's size exceeded its buffer: the payload is cut.
	Truncated bool
}

// Classic reports whether ID is the opcode of a class rather than an event id.
func (r *Record) Classic() bool { return r.Header != HeaderEvent && r.Header != HeaderMessage }

// Types of extended items that are used.
const (
	// ExtendedSchemaTL is the schema of a TraceLogging event.
	ExtendedSchemaTL = 11
	// ExtendedProviderTraits has the provider's name.
	ExtendedProviderTraits = 12
)

// ExtendedItem returns the data of the first extended item of the given type.
func (r *Record) ExtendedItem(kind uint16) (data []byte, ok bool) {
	items := r.Extended
	for len(items) >= 8 {
		size := int(le16(items))
		length := int(le16(items[6:]))
		if size < 8 || size > len(items) || length > size-8 {
			return nil, false
		}
		if le16(items[2:]) == kind {
			return items[8 : 8+length], true
		}
		if le16(items[4:])&1 == 0 {
			return nil, false
		}
		items = items[size:]
	}
	return nil, false
}

func le16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func le64(b []byte) uint64 { return uint64(le32(b)) | uint64(le32(b[4:]))<<32 }
