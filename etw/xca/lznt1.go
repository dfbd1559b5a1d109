package xca

// chunkSize is the uncompressed size of an LZNT1 chunk.
const chunkSize = 4096

// lznt1 decompresses LZNT1 (MS-XCA 2.5): chunks with a 16-bit header, whose
// upper bit says compressed and whose lower 12 bits are the length less one.
func lznt1(dst, src []byte, want int) ([]byte, error) {
	for len(dst) < want {
		if len(src) < 2 {
			return dst, errInput
		}
		header := int(src[0]) | int(src[1])<<8
		if header == 0 {
			return dst, nil
		}
		if header>>12&7 != 3 {
			return dst, errChunk
		}
		length := header&0xfff + 1
		if 2+length > len(src) {
			return dst, errInput
		}
		body := src[2 : 2+length]
		src = src[2+length:]
		if header&0x8000 == 0 {
			dst = append(dst, body[:min(len(body), want-len(dst))]...)
			continue
		}
		var err error
		if dst, err = lznt1Chunk(dst, body, min(want, len(dst)+chunkSize)); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// lznt1Chunk decompresses one chunk until dst has end bytes.
func lznt1Chunk(dst, src []byte, end int) ([]byte, error) {
	start := len(dst)
	for i := 0; i < len(src); {
		flags := src[i]
		i++
		for bit := 0; bit < 8 && i < len(src) && len(dst) < end; bit++ {
			if flags>>bit&1 == 0 {
				dst = append(dst, src[i])
				i++
				continue
			}
			if i+2 > len(src) {
				return dst, errInput
			}
			token := int(src[i]) | int(src[i+1])<<8
			i += 2
			// The further into the chunk, the more bits hold the distance.
			lengthBits := 12
			for position := len(dst) - start - 1; position >= 16; position >>= 1 {
				lengthBits--
			}
			length := token&(1<<lengthBits-1) + 3
			distance := token>>lengthBits + 1
			if distance > len(dst)-start {
				return dst, errDistance
			}
			dst = copyMatch(dst, distance, min(length, end-len(dst)))
		}
	}
	return dst, nil
}
