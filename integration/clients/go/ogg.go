package main

import (
	"encoding/binary"
	"os"
	"strings"
)

// oggWriter writes Opus packets, one to a page. Pion's own writer counts a page's position from its
// start where Ogg means its end, and opusdec refuses such a file.
type oggWriter struct {
	file   *os.File
	number uint32
	first  uint32 // the RTP timestamp of the first packet
}

const (
	oggStart = 2
	samples  = 960 // in a packet of 20 ms
)

func newOggWriter(name string) (*oggWriter, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	w := &oggWriter{file: file}
	head := binary.LittleEndian.AppendUint32([]byte("OpusHead\x01\x02\x00\x00"), 48000)
	if err := w.page(append(head, 0, 0, 0), oggStart, 0); err != nil {
		return nil, err
	}
	return w, w.page([]byte("OpusTags\x04\x00\x00\x00none\x00\x00\x00\x00"), 0, 0)
}

func (w *oggWriter) write(packet []byte, timestamp uint32) error {
	if w.number == 2 {
		w.first = timestamp
	}
	return w.page(packet, 0, uint64(timestamp-w.first)+samples)
}

func (w *oggWriter) close() error { return w.file.Close() }

func (w *oggWriter) page(packet []byte, kind byte, position uint64) error {
	page := append([]byte("OggS\x00"), kind)
	page = binary.LittleEndian.AppendUint64(page, position)
	page = binary.LittleEndian.AppendUint32(page, 1) // the stream's serial number
	page = binary.LittleEndian.AppendUint32(page, w.number)
	page = append(page, 0, 0, 0, 0, byte(len(packet)/255+1)) // room for the checksum; segments
	page = append(page, strings.Repeat("\xff", len(packet)/255)...)
	page = append(append(page, byte(len(packet)%255)), packet...)
	binary.LittleEndian.PutUint32(page[22:], oggChecksum(page))
	w.number++
	_, err := w.file.Write(page)
	return err
}

// oggChecksum is CRC-32 with the usual polynomial, but neither reflected nor inverted.
func oggChecksum(page []byte) (sum uint32) {
	for _, b := range page {
		sum ^= uint32(b) << 24
		for range 8 {
			if sum&0x80000000 != 0 {
				sum = sum<<1 ^ 0x04c11db7
			} else {
				sum <<= 1
			}
		}
	}
	return sum
}
