package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

const frame = 20 * time.Millisecond

type published struct {
	publication *lksdk.LocalTrackPublication
	stopped     chan struct{}
	once        sync.Once
}

func (p *published) stop() { p.once.Do(func() { close(p.stopped) }) }

// publish returns once the server knows the track; the sound starts when it is bound.
func publish(room *lksdk.Room, name, file string, loop, stereo bool) (*published, error) {
	packets, err := readOpus(file)
	if err != nil {
		return nil, err
	}
	track, err := lksdk.NewLocalSampleTrack(webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
	})
	if err != nil {
		return nil, err
	}
	p := &published{stopped: make(chan struct{})}
	bound := make(chan struct{})
	var once sync.Once
	track.OnBind(func() { once.Do(func() { close(bound) }) })
	p.publication, err = room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{
		Name: name, Source: livekit.TrackSource_MICROPHONE, DisableDTX: true, Stereo: stereo,
	})
	if err != nil {
		return nil, err
	}
	go func() {
		select {
		case <-bound:
		case <-p.stopped:
			return
		}
		if p.play(track, packets, loop) {
			say(event{"event": "finished", "track": name})
		}
	}()
	return p, nil
}

// play reports whether the file was played to its end.
func (p *published) play(track *lksdk.LocalTrack, packets [][]byte, loop bool) bool {
	next := time.Now()
	for {
		for _, packet := range packets {
			if track.WriteSample(media.Sample{Data: packet, Duration: frame}, nil) != nil {
				return false
			}
			next = next.Add(frame) // from the start, and not from now: no drift
			select {
			case <-time.After(time.Until(next)):
			case <-p.stopped:
				return false
			}
		}
		if !loop {
			return true
		}
	}
}

// readOpus gives the packets of a file made by `opusenc --framesize 20 --max-delay 20`.
func readOpus(file string) ([][]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pages, _, err := oggreader.NewWith(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	var packets [][]byte
	for {
		packet, _, err := pages.ParseNextPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(packet, []byte("OpusTags")) {
			packets = append(packets, packet)
		}
	}
	if len(packets) == 0 {
		return nil, errors.New(file + " holds no sound")
	}
	return packets, nil
}
