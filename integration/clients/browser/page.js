// What the browser can do, by name; driver.mjs calls `run` for each command.
//
//   join      url, token, media_port (of a relay that all media goes through; none: the server's)
//   publish   name, source: "microphone" (the fake one beeps) | "camera" (the fake one moves)
//             | "tone" (frequency, level: peak of 0..1) | "colour" (quarters: four [r, g, b])
//   mute      name, muted                        unpublish   name
//   data      payload (base64), topic, reliable, to: [identity]
//   text      text, topic, attributes, to: [identity]
//   attack    seconds, seed, only: see attack.js
//   measure   seconds: answers with one "measured" event for each track that it receives
//   leave
//
// Events: joined, participant, gone, subscribed, unsubscribed, muted, unmuted, data, text,
// reconnecting, reconnected, disconnected, measured.
const { Room, RoomEvent, Track } = LivekitClient;
const room = new Room();
const received = new Map(); // track sid -> what is needed to measure it
const published = new Map(); // name -> publication
let audio;

const sources = {
  microphone: Track.Source.Microphone,
  tone: Track.Source.Microphone,
  camera: Track.Source.Camera,
  colour: Track.Source.Camera,
};
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const text = (array) => btoa(Array.from(array, (byte) => String.fromCharCode(byte)).join(""));
const about = (publication, participant) => ({
  participant: participant.identity,
  track: publication.trackName,
  kind: publication.kind,
});

room
  .on(RoomEvent.ParticipantConnected, (p) => say({ event: "participant", participant: p.identity }))
  .on(RoomEvent.ParticipantDisconnected, (p) => say({ event: "gone", participant: p.identity }))
  .on(RoomEvent.TrackMuted, (t, p) => say({ event: "muted", ...about(t, p) }))
  .on(RoomEvent.TrackUnmuted, (t, p) => say({ event: "unmuted", ...about(t, p) }))
  .on(RoomEvent.Reconnecting, () => say({ event: "reconnecting" }))
  .on(RoomEvent.Reconnected, () => say({ event: "reconnected" }))
  .on(RoomEvent.Disconnected, (reason) => say({ event: "disconnected", reason: String(reason) }))
  .on(RoomEvent.DataReceived, (payload, participant, kind, topic) =>
    say({ event: "data", participant: participant?.identity ?? "", topic: topic ?? "", payload: text(payload) }),
  )
  .on(RoomEvent.TrackUnsubscribed, (track, publication, participant) => {
    received.delete(publication.trackSid);
    track.detach().forEach((element) => element.remove());
    say({ event: "unsubscribed", ...about(publication, participant) });
  })
  .on(RoomEvent.TrackSubscribed, (track, publication, participant) => {
    // Chromium decodes a remote track only while an element plays it.
    const element = track.attach();
    document.body.append(element);
    const taps = track.kind === Track.Kind.Audio ? listenTo(track.mediaStreamTrack) : { element };
    received.set(publication.trackSid, { ...about(publication, participant), ...taps });
    say({ event: "subscribed", ...about(publication, participant) });
  });

// As LiveKit's own components do (useChat, useTranscriptions).
for (const topic of ["lk.chat", "lk.transcription"])
  room.registerTextStreamHandler(topic, async (reader, { identity }) => {
    const text = await reader.readAll();
    const { attributes } = reader.info; // those of its end too
    say({ event: "text", participant: identity, topic, text, attributes });
  });

function listenTo(track) {
  const source = audio.createMediaStreamSource(new MediaStream([track]));
  const analyser = new AnalyserNode(audio, { fftSize: 32768, smoothingTimeConstant: 0 });
  const recorder = new AudioWorkletNode(audio, "recorder");
  // A node that leads nowhere is not run; the element plays the sound already, so this is silent.
  const nothing = new GainNode(audio, { gain: 0 });
  source.connect(analyser).connect(nothing).connect(audio.destination);
  source.connect(recorder).connect(nothing);
  return { analyser, recorder };
}

const sourceTracks = {
  async microphone() {
    // As it is: an echo canceller would take the beep for an echo.
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    return (await navigator.mediaDevices.getUserMedia({ audio: plain })).getAudioTracks()[0];
  },
  async camera({ width = 640, height = 360 }) {
    return (await navigator.mediaDevices.getUserMedia({ video: { width, height } })).getVideoTracks()[0];
  },
  tone({ frequency, level = 0.3 }) {
    const oscillator = new OscillatorNode(audio, { frequency });
    const destination = audio.createMediaStreamDestination();
    oscillator.connect(new GainNode(audio, { gain: level })).connect(destination);
    oscillator.start();
    return destination.stream.getAudioTracks()[0];
  },
  // Pictures made of exact I420 values. A canvas would do, but Chromium converts it by one colour
  // matrix and range, and its receiver converts it back by another.
  colour({ quarters, width = 640, height = 360 }) {
    const generator = new MediaStreamTrackGenerator({ kind: "video" });
    const writer = generator.writable.getWriter();
    const picture = i420(quarters, width, height);
    const colorSpace = { primaries: "smpte170m", transfer: "smpte170m", matrix: "smpte170m", fullRange: false };
    const timer = setInterval(() => {
      if (generator.readyState === "ended") return clearInterval(timer);
      const timestamp = Math.round(performance.now() * 1000);
      const frame = { format: "I420", codedWidth: width, codedHeight: height, timestamp, colorSpace };
      writer.write(new VideoFrame(picture, frame));
    }, 40);
    return generator;
  },
};

// A picture whose quarters (top left, top right, bottom left, bottom right) have those colours,
// [r, g, b] of 0..255, by BT.601 in limited range, which is what WebRTC means by I420.
function i420(quarters, width, height) {
  const luma = width * height;
  const picture = new Uint8Array((luma * 3) / 2);
  const yuv = quarters.map(([r, g, b]) => [
    16 + 0.257 * r + 0.504 * g + 0.098 * b,
    128 - 0.148 * r - 0.291 * g + 0.439 * b,
    128 + 0.439 * r - 0.368 * g - 0.071 * b,
  ]);
  const fill = (start, w, h, plane) => {
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++)
        picture[start + y * w + x] = Math.round(yuv[(y >= h / 2) * 2 + (x >= w / 2)][plane]);
  };
  fill(0, width, height, 0);
  fill(luma, width / 2, height / 2, 1);
  fill((luma * 5) / 4, width / 2, height / 2, 2);
  return picture;
}

async function measureAudio({ analyser, recorder }, seconds) {
  const blocks = [];
  recorder.port.onmessage = ({ data }) => blocks.push(data);
  await sleep(seconds);
  recorder.port.onmessage = null;
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  const loudest = bins.reduce((best, value, bin) => (value > bins[best] ? bin : best), 1);
  let power = 0;
  let samples = 0;
  let gap = 0;
  let longest = 0;
  for (const block of blocks) {
    const own = block.reduce((sum, value) => sum + value * value, 0);
    power += own;
    samples += block.length;
    gap = Math.sqrt(own / block.length) < 0.001 ? gap + block.length : 0;
    longest = Math.max(longest, gap);
  }
  return {
    frequency: (loudest * audio.sampleRate) / analyser.fftSize,
    level: Math.sqrt(power / Math.max(1, samples)), // RMS
    longest_gap: longest / audio.sampleRate,
    seconds: samples / audio.sampleRate,
  };
}

async function measureVideo({ element }, seconds) {
  const before = element.getVideoPlaybackQuality().totalVideoFrames;
  await sleep(seconds);
  const frames = element.getVideoPlaybackQuality().totalVideoFrames - before;
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const context = canvas.getContext("2d");
  context.drawImage(element, 0, 0, 64, 64);
  const mean = (x, y, size) => {
    const { data } = context.getImageData(x, y, size, size);
    const sums = [0, 0, 0];
    data.forEach((value, n) => n % 4 < 3 && (sums[n % 4] += value));
    return sums.map((sum) => Math.round(sum / (size * size)));
  };
  return {
    width: element.videoWidth,
    height: element.videoHeight,
    frames,
    rgb: mean(0, 0, 64),
    quarters: [mean(0, 0, 32), mean(32, 0, 32), mean(0, 32, 32), mean(32, 32, 32)],
  };
}

// All media goes to that port of this machine and comes from there: neither side learns another
// address of the other's.
function throughRelay(port) {
  const candidate = (text) => {
    const parts = text.split(" "); // candidate:1 component protocol priority address port ...
    return parts[2]?.toLowerCase() === "udp" ? parts.with(4, "127.0.0.1").with(5, port).join(" ") : "";
  };
  const lines = (sdp, change) =>
    sdp.split("\r\n").flatMap((line) => (line.startsWith("a=candidate:") ? change(line) : [line])).join("\r\n");
  const theirs = (line) => [candidate(line)].filter(Boolean);
  const patch = (name, change) => {
    const original = RTCPeerConnection.prototype[name];
    RTCPeerConnection.prototype[name] = function (...all) {
      return change(all, (...changed) => original.apply(this, changed));
    };
  };
  patch("addIceCandidate", ([one], original) => {
    const text = one?.candidate && candidate(one.candidate);
    return text === "" ? Promise.resolve() : original(text ? { ...one.toJSON?.() ?? one, candidate: text } : one);
  });
  patch("setRemoteDescription", ([{ type, sdp }], original) => original({ type, sdp: lines(sdp, theirs) }));
  for (const name of ["createOffer", "createAnswer"])
    patch(name, async (all, original) => {
      const { type, sdp } = await original(...all);
      return { type, sdp: lines(sdp, () => []) };
    });
  Object.defineProperty(RTCPeerConnection.prototype, "onicecandidate", { get: () => null, set() {} });
}

const commands = {
  async join({ url, token, media_port }) {
    if (media_port) throughRelay(media_port);
    audio = new AudioContext({ sampleRate: 48000 });
    await audio.audioWorklet.addModule("/recorder.js");
    await audio.resume();
    await room.connect(url, token);
    say({ event: "joined", participant: room.localParticipant.identity, room: room.name });
  },
  async publish({ name, source, simulcast = false, ...options }) {
    const track = await sourceTracks[source](options);
    const publication = await room.localParticipant.publishTrack(track, {
      name,
      source: sources[source],
      dtx: false,
      simulcast,
    });
    published.set(name, publication);
  },
  async mute({ name, muted }) {
    const { track } = published.get(name);
    await (muted ? track.mute() : track.unmute());
  },
  async unpublish({ name }) {
    await room.localParticipant.unpublishTrack(published.get(name).track);
    published.delete(name);
  },
  async data({ payload, topic, reliable = true, to = [] }) {
    await room.localParticipant.publishData(bytes(payload), { topic, reliable, destinationIdentities: to });
  },
  async text({ text, topic, attributes = {}, to = [] }) {
    await room.localParticipant.sendText(text, { topic, attributes, destinationIdentities: to });
  },
  async measure({ seconds }) {
    const all = [...received.values()].map(async (track) => {
      const measured = await (track.analyser ? measureAudio : measureVideo)(track, seconds);
      const { participant, track: name, kind } = track;
      say({ event: "measured", participant, track: name, kind, ...measured });
    });
    await Promise.all(all);
  },
  async leave() {
    await room.disconnect();
  },
};

window.run = (name, options) => {
  if (!commands[name]) throw new Error(`unknown command ${name}`);
  return commands[name](options);
};
