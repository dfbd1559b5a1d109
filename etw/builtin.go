package etw

import (
	_ "embed"
	"strconv"
	"strings"
)

//go:generate go run lostbeat/internal/gen/etwfields -o fields.txt

// builtinFields describes the payloads of providers whose captures often carry
// no schemas. A line "= GUID name" begins a provider; every other line is
// "id version name field:type...". See internal/gen/etwfields.
//
//go:embed fields.txt
var builtinFields string

// builtinClasses describes kernel classes in the same form.
//
//go:embed classes.txt
var builtinClasses string

// builtinTypes are the types of the table. A type with an equals sign has its
// length in the field with that position.
var builtinTypes = map[string]inType{
	"w":    inUTF16,
	"a":    inANSI,
	"i1":   inInt8,
	"u1":   inUint8,
	"i2":   inInt16,
	"u2":   inUint16,
	"i4":   inInt32,
	"u4":   inUint32,
	"i8":   inInt64,
	"u8":   inUint64,
	"b":    inBool,
	"g":    inGUID,
	"p":    inPointer,
	"t":    inFileTime,
	"s":    inSystemTime,
	"x4":   inHex32,
	"x8":   inHex64,
	"bin":  inBinary,
	"sock": inSockAddr,
	"ip6":  inIPv6,
	"ip4":  inIPv4,
	"port": inPort,
}

// addBuiltin adds the table.
func (s *schemas) addBuiltin() {
	var provider GUID
	classic := false
	for line := range strings.Lines(builtinFields + builtinClasses) {
		words := strings.Fields(line)
		switch {
		case len(words) < 3 || words[0] == "#":
			continue
		case words[0] == "=" || words[0] == "*":
			provider, classic = MustGUID(words[1]), words[0] == "*"
			continue
		}
		id, _ := strconv.Atoi(words[0])
		version, _ := strconv.Atoi(words[1])
		sch := &schema{name: words[2]}
		for _, word := range words[3:] {
			name, code, _ := strings.Cut(word, ":")
			code, length, sized := strings.Cut(code, "=")
			f := field{name: name, in: builtinTypes[code]}
			if n, err := strconv.Atoi(length); sized && err == nil {
				f.length = quantity{n: uint16(n), field: true, known: true}
			}
			sch.fields = append(sch.fields, f)
		}
		s.add(schemaKey{provider, uint16(id), uint16(version), classic}, sch)
	}
}

// classNames are the names of classic classes, for records without a schema.
var classNames = map[GUID]string{
	ClassEventTrace:     "EventTrace",
	groups[0x01]:        "DiskIo",
	groups[0x02]:        "PageFault",
	ClassProcess:        "Process",
	groups[0x04]:        "FileIo",
	ClassThread:         "Thread",
	ClassTCPIP:          "TcpIp",
	ClassUDPIP:          "UdpIp",
	groups[0x09]:        "Registry",
	ClassSystemConfig:   "SystemConfig",
	ClassPerfInfo:       "PerfInfo",
	ClassImage:          "Image",
	ClassImageID:        "ImageId",
	ClassSystemConfigEx: "SystemConfigEx",
	ClassStackWalk:      "StackWalk",
	ClassEventInfo:      "EventInfo",
	ClassLost:           "LostEvent",
	groups[0x0e]:        "Pool",
	groups[0x12]:        "Power",
	groups[0x1a]:        "ALPC",
	groups[0x11]:        "Object",
}

// classicName returns the class and opcode of a class that is known, the
// opcode by its name or its number.
func classicName(r *Record) string {
	class, ok := classNames[r.Class]
	if !ok || !r.Classic() {
		return ""
	}
	if name, ok := opcodeNames[r.Class][r.ID]; ok {
		return class + "/" + name
	}
	return class + "/" + strconv.Itoa(int(r.ID))
}
