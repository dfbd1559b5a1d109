package etw

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
)

// manifestEvent is the id under which an EventSource provider logs its own
// manifest: format 1, version, magic, number of chunks, chunk, then XML.
const (
	manifestEvent  = 0xfffe
	manifestHeader = 8
	manifestMagic  = 0x5b
	maxManifests   = 256
	maxManifest    = 4 << 20
)

// manifestSchema describes the chunks themselves.
var manifestSchema = &schema{
	name: "Manifest",
	fields: []field{
		{name: "Format", in: inUint8},
		{name: "Major", in: inUint8},
		{name: "Minor", in: inUint8},
		{name: "Magic", in: inUint8},
		{name: "TotalChunks", in: inUint16},
		{name: "Chunk", in: inUint16},
		{name: "Data", in: inRestANSI},
	},
}

// manifest is a manifest under assembly.
type manifest struct {
	chunks [][]byte
	size   int
}

// addManifest takes one chunk.
func (s *schemas) addManifest(r *Record) {
	b := r.Payload
	if len(b) < manifestHeader || b[0] != 1 || b[3] != manifestMagic {
		return
	}
	total, chunk := int(le16(b[4:])), int(le16(b[6:]))
	m := s.manifests[r.Class]
	if m == nil {
		if len(s.manifests) >= maxManifests {
			return
		}
		m = &manifest{}
		s.manifests[r.Class] = m
	}
	if chunk >= total || total > maxManifest>>8 {
		return
	}
	for len(m.chunks) < total {
		m.chunks = append(m.chunks, nil)
	}
	if m.chunks[chunk] == nil && m.size+len(b) <= maxManifest {
		m.chunks[chunk] = bytes.Clone(b[manifestHeader:])
		m.size += len(b)
	}
}

// settleManifests reads the manifests that are complete.
func (s *schemas) settleManifests() {
	for provider, m := range s.manifests {
		complete := true
		for _, c := range m.chunks {
			complete = complete && c != nil
		}
		if complete {
			s.readManifest(provider, bytes.Join(m.chunks, nil))
		}
	}
	clear(s.manifests)
}

// manifestXML is the part of an instrumentation manifest that names events.
type manifestXML struct {
	Providers []struct {
		Name   string `xml:"name,attr"`
		Events []struct {
			Value    int    `xml:"value,attr"`
			Version  int    `xml:"version,attr"`
			Symbol   string `xml:"symbol,attr"`
			Task     string `xml:"task,attr"`
			Opcode   string `xml:"opcode,attr"`
			Template string `xml:"template,attr"`
		} `xml:"events>event"`
		Templates []struct {
			ID   string `xml:"tid,attr"`
			Data []struct {
				Name   string `xml:"name,attr"`
				InType string `xml:"inType,attr"`
				Count  string `xml:"count,attr"`
				Length string `xml:"length,attr"`
			} `xml:"data"`
		} `xml:"templates>template"`
	} `xml:"instrumentation>events>provider"`
}

// manifestTypes are the input types of manifests.
var manifestTypes = map[string]inType{
	"win:UnicodeString": inUTF16, "win:AnsiString": inANSI, "win:Int8": inInt8,
	"win:UInt8": inUint8, "win:Int16": inInt16, "win:UInt16": inUint16,
	"win:Int32": inInt32, "win:UInt32": inUint32,
	"win:Int64": inInt64, "win:UInt64": inUint64, "win:Float": inFloat,
	"win:Double": inDouble, "win:Boolean": inBool, "win:Binary": inBinary,
	"win:GUID": inGUID, "win:Pointer": inPointer,
	"win:FILETIME": inFileTime, "win:SYSTEMTIME": inSystemTime, "win:SID": inSID,
	"win:HexInt32": inHex32, "win:HexInt64": inHex64,
}

// readManifest adds the events of a manifest; one that does not parse gives
// what stood before the fault.
func (s *schemas) readManifest(provider GUID, text []byte) {
	var doc manifestXML
	decoder := xml.NewDecoder(bytes.NewReader(text))
	decoder.Strict = false
	if err := decoder.Decode(&doc); err != nil && len(doc.Providers) == 0 {
		return
	}
	for _, p := range doc.Providers {
		templates := make(map[string][]field, len(p.Templates))
		for _, t := range p.Templates {
			var fields []field
			index := make(map[string]int, len(t.Data))
			for i, data := range t.Data {
				index[data.Name] = i
				fields = append(
					fields,
					field{
						name:   data.Name,
						in:     manifestTypes[data.InType],
						count:  reference(data.Count, index),
						length: reference(data.Length, index),
					},
				)
			}
			templates[t.ID] = fields
		}
		for _, e := range p.Events {
			name := e.Symbol
			if name == "" {
				name = join(strings.TrimPrefix(e.Task, "win:"), strings.TrimPrefix(e.Opcode, "win:"))
			}
			s.add(
				schemaKey{class: provider, id: uint16(e.Value), version: uint16(e.Version)},
				&schema{name: name, fields: templates[e.Template]},
			)
		}
	}
}

// reference reads a count or length attribute: a number or an earlier field.
func reference(s string, index map[string]int) quantity {
	if n, err := strconv.ParseUint(s, 0, 16); err == nil {
		return quantity{n: uint16(n), known: true}
	}
	if i, ok := index[s]; ok {
		return quantity{n: uint16(i), field: true, known: true}
	}
	return quantity{}
}
