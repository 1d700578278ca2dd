package main

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
)

// received is one track of somebody else's, counted and, if it is sound, written to a file.
type received struct {
	track             *webrtc.TrackRemote
	name, participant string
	file              string
	ended             chan struct{}

	lock           sync.Mutex
	packets, bytes int
	lost           int           // sequence numbers that never came, as far as is known yet
	longest        time.Duration // between two packets
	first, last    time.Time
}

func newReceived(track *webrtc.TrackRemote, name, participant, folder string, number int) *received {
	r := &received{track: track, name: name, participant: participant, ended: make(chan struct{})}
	if folder != "" && track.Kind() == webrtc.RTPCodecTypeAudio {
		r.file = filepath.Join(folder, fmt.Sprintf("%s-%d.ogg", participant, number))
	}
	return r
}

// read ends with the track.
func (r *received) read() {
	defer close(r.ended)
	var writer *oggWriter
	if r.file != "" {
		var err error
		if writer, err = newOggWriter(r.file); err != nil {
			say(event{"event": "error", "do": "write", "message": err.Error()})
		} else {
			defer writer.close()
		}
	}
	var sequence uint16
	for {
		packet, _, err := r.track.ReadRTP()
		if err != nil {
			return
		}
		now := time.Now()
		r.lock.Lock()
		if r.packets == 0 {
			r.first = now
		} else {
			r.longest = max(r.longest, now.Sub(r.last))
			// One that comes late fills the hole that its absence has made.
			if step := int16(packet.SequenceNumber - sequence); step > 0 {
				r.lost += int(step) - 1
			} else if r.lost > 0 {
				r.lost--
			}
		}
		newest := r.packets == 0 || int16(packet.SequenceNumber-sequence) > 0
		if newest {
			sequence = packet.SequenceNumber
		}
		r.packets++
		r.bytes += len(packet.Payload)
		r.last = now
		r.lock.Unlock()
		if writer != nil && newest && len(packet.Payload) > 0 {
			_ = writer.write(packet.Payload, packet.Timestamp)
		}
	}
}

func (r *received) report() event {
	r.lock.Lock()
	defer r.lock.Unlock()
	return event{
		"event": "track", "participant": r.participant, "track": r.name, "kind": r.track.Kind().String(),
		"packets": r.packets, "bytes": r.bytes, "lost": r.lost, "file": r.file,
		"seconds": r.last.Sub(r.first).Seconds(), "longest_gap": r.longest.Seconds(),
	}
}
