// A LiveKit client that the tests drive by lines of JSON: commands on standard input, events on
// standard output. It publishes Ogg Opus files as they are (nothing is encoded here, so fifty
// tracks cost next to nothing), subscribes to everything, and writes each audio track that it
// receives to an Ogg Opus file.
//
// Commands, each answered by {"event":"done","do":...} or {"event":"error","do":...,"message":...}:
//
//	{"do":"join","url":U,"token":T,"folder":F,"only":[IDENTITY]}   received tracks are written below
//	                                              F; no F, no files; only: whose tracks are subscribed
//	{"do":"publish","name":N,"file":O,"loop":B,"stereo":B}   one Opus packet per Ogg page, 20 ms each
//	{"do":"mute","name":N,"muted":B}              {"do":"unpublish","name":N}
//	{"do":"data","payload":BASE64,"topic":T,"reliable":B,"to":[IDENTITY],"times":N}   as fast as it goes
//	{"do":"received"}                             answers with one "track" event for each track
//	{"do":"leave"}                                the same, then ends
//
// Events: joined, participant, gone, subscribed, unsubscribed, finished (a file that does not
// loop), data, reconnecting, reconnected, disconnected, track.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
)

type command struct {
	Do, URL, Token, Folder, Name, File, Topic string
	Payload                                   []byte
	To, Only                                  []string
	Loop, Muted, Reliable, Stereo             bool
	Times                                     int
}

type event map[string]any

var output sync.Mutex

func say(e event) {
	line, _ := json.Marshal(e)
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(line))
}

type client struct {
	room      *lksdk.Room
	folder    string
	lock      sync.Mutex
	published map[string]*published
	received  []*received
}

func main() {
	c := &client{published: map[string]*published{}}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var cmd command
		err := json.Unmarshal(lines.Bytes(), &cmd)
		if err == nil {
			err = c.run(cmd)
		}
		if err != nil {
			say(event{"event": "error", "do": cmd.Do, "message": err.Error()})
			continue
		}
		say(event{"event": "done", "do": cmd.Do})
		if cmd.Do == "leave" {
			return
		}
	}
}

func (c *client) run(cmd command) error {
	if c.room == nil && cmd.Do != "join" {
		return fmt.Errorf("not joined")
	}
	switch cmd.Do {
	case "join":
		return c.join(cmd)
	case "publish":
		p, err := publish(c.room, cmd.Name, cmd.File, cmd.Loop, cmd.Stereo)
		if err == nil {
			c.published[cmd.Name] = p
		}
		return err
	case "mute", "unpublish":
		p := c.published[cmd.Name]
		if p == nil {
			return fmt.Errorf("no track %q", cmd.Name)
		}
		if cmd.Do == "mute" {
			p.publication.SetMuted(cmd.Muted)
			return nil
		}
		delete(c.published, cmd.Name)
		p.stop()
		return c.room.LocalParticipant.UnpublishTrack(p.publication.SID())
	case "data":
		for n := 0; n < max(1, cmd.Times); n++ {
			if err := c.room.LocalParticipant.PublishDataPacket(
				lksdk.UserData(cmd.Payload),
				lksdk.WithDataPublishTopic(cmd.Topic),
				lksdk.WithDataPublishReliable(cmd.Reliable),
				lksdk.WithDataPublishDestination(cmd.To),
			); err != nil {
				return err
			}
		}
		return nil
	case "received":
		c.report()
		return nil
	case "leave":
		for _, p := range c.published {
			p.stop()
		}
		c.room.Disconnect()
		// The readers end with the connection, and close their files.
		for _, r := range c.received {
			select {
			case <-r.ended:
			case <-time.After(2 * time.Second):
			}
		}
		c.report()
		return nil
	}
	return fmt.Errorf("unknown command %q", cmd.Do)
}

func (c *client) join(cmd command) error {
	c.folder = cmd.Folder
	callback := lksdk.NewRoomCallback()
	callback.OnParticipantConnected = func(p *lksdk.RemoteParticipant) {
		say(event{"event": "participant", "participant": p.Identity()})
	}
	callback.OnParticipantDisconnected = func(p *lksdk.RemoteParticipant) {
		say(event{"event": "gone", "participant": p.Identity()})
	}
	callback.OnReconnecting = func() { say(event{"event": "reconnecting"}) }
	callback.OnReconnected = func() { say(event{"event": "reconnected"}) }
	callback.OnDisconnectedWithReason = func(reason lksdk.DisconnectionReason) {
		say(event{"event": "disconnected", "reason": string(reason)})
	}
	callback.OnTrackSubscribed = func(
		track *webrtc.TrackRemote, pub *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant,
	) {
		c.lock.Lock()
		r := newReceived(track, pub.Name(), p.Identity(), c.folder, len(c.received))
		c.received = append(c.received, r)
		c.lock.Unlock()
		say(event{"event": "subscribed", "participant": p.Identity(), "track": pub.Name(), "kind": track.Kind().String(), "codec": track.Codec().MimeType})
		go r.read()
	}
	callback.OnTrackUnsubscribed = func(
		track *webrtc.TrackRemote, pub *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant,
	) {
		say(event{"event": "unsubscribed", "participant": p.Identity(), "track": pub.Name(), "kind": track.Kind().String()})
	}
	callback.OnDataPacket = func(data lksdk.DataPacket, params lksdk.DataReceiveParams) {
		if user, ok := data.(*lksdk.UserDataPacket); ok {
			say(event{"event": "data", "participant": params.SenderIdentity, "topic": user.Topic, "payload": user.Payload})
		}
	}
	subscribe := func(pub *lksdk.RemoteTrackPublication, p *lksdk.RemoteParticipant) {
		if slices.Contains(cmd.Only, p.Identity()) {
			_ = pub.SetSubscribed(true)
		}
	}
	if cmd.Only != nil {
		callback.OnTrackPublished = subscribe
	}
	room, err := lksdk.ConnectToRoomWithToken(cmd.URL, cmd.Token, callback,
		lksdk.WithDisableRegionDiscovery(), lksdk.WithAutoSubscribe(cmd.Only == nil))
	if err != nil {
		return err
	}
	c.room = room
	if cmd.Only != nil {
		for _, p := range room.GetRemoteParticipants() {
			for _, pub := range p.TrackPublications() {
				if remote, ok := pub.(*lksdk.RemoteTrackPublication); ok {
					subscribe(remote, p)
				}
			}
		}
	}
	say(event{"event": "joined", "participant": room.LocalParticipant.Identity(), "room": room.Name()})
	return nil
}

func (c *client) report() {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, r := range c.received {
		say(r.report())
	}
}
