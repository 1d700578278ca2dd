// A participant that wishes the others ill: the command `attack`, for so many seconds, with a seed;
// with some of the deeds only, if they are named.
//
// It answers with the event "attacked": how often each deed was begun, and how often it failed (the
// browser, its SDK or the server refuse some). A deed that takes too long is left to itself.
const DEED_SECONDS = 5;

function dice(seed) {
  // Mulberry32: small, and the same everywhere.
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function deedsOf(random) {
  const below = (limit) => Math.floor(random() * limit);
  const one = (list) => list[below(list.length)];
  const letters = ["x", "é", "\u202e", "\u0000", "💥", "/", "..", "%s", "\n"];
  const words = (count) => Array.from({ length: below(count) }, () => one(letters)).join("");
  const noise = (size) => crypto.getRandomValues(new Uint8Array(size));
  const sizes = [[2, 2], [16, 16], [64, 2000], [1920, 1080], [641, 359], [3840, 2160], [7680, 4320]];
  const local = () => room.localParticipant;
  const colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
  const show = (width, height) =>
    commands.publish({ name: words(100), source: "colour", quarters: colours, width: width & ~1, height: height & ~1 });
  const clear = async () => {
    for (const { track } of [...published.values()]) await local().unpublishTrack(track);
    published.clear();
  };
  return {
    async data() {
      for (let n = 0; n < 50; n++)
        await local().publishData(noise(below(14_000)), { topic: words(1000), reliable: random() < 0.7 });
    },
    async large() {
      await local().publishData(noise(60_000), { topic: "t".repeat(1000), reliable: true });
    },
    async unfinished() {
      // Streams that begin, go on, and never end.
      for (let n = 0; n < 20; n++) {
        const topic = one([words(50), "lk.chat"]);
        const stream = await local().streamText({ topic, totalSize: one([undefined, below(2 ** 31)]) });
        await stream.write(words(500));
      }
    },
    async chatter() {
      for (let n = 0; n < 50; n++) {
        const attributes = Object.fromEntries([[words(20), words(below(9_000))]]);
        await local().sendText(words(below(300_000)), { topic: "lk.chat", attributes });
      }
    },
    async files() {
      const stream = await local().streamBytes({ name: words(200), topic: "files", mimeType: words(50) });
      await stream.write(noise(100_000));
      if (random() < 0.5) await stream.close();
    },
    async calls() {
      const destinationIdentity = one(["app", "nobody"]);
      await local().performRpc({ destinationIdentity, method: words(60), payload: words(500), responseTimeout: 1000 });
    },
    async profile() {
      await local().setName(words(120));
      await local().setMetadata(words(20_000));
      const keys = Array.from({ length: below(100) }, (_, n) => [`${n}${words(20)}`, words(100)]);
      await local().setAttributes(Object.fromEntries(keys));
    },
    async flapping() {
      // Gone before anybody could have subscribed, or just then.
      for (let n = 0; n < 10; n++) {
        await commands.publish({ name: "flap", source: "tone", frequency: 440 });
        await sleep(random() * 0.2);
        await commands.unpublish({ name: "flap" });
      }
    },
    async muting() {
      await commands.publish({ name: "muted", source: "tone", frequency: 440 });
      for (let n = 0; n < 40; n++) await commands.mute({ name: "muted", muted: n % 2 === 0 });
      await commands.unpublish({ name: "muted" });
    },
    async many() {
      const names = Array.from({ length: 20 }, (_, n) => `one of many ${n}`);
      await Promise.all(names.map((name) => commands.publish({ name, source: "tone", frequency: 300 })));
      await sleep(1);
      await clear();
    },
    async pictures() {
      await show(...one(sizes));
      await sleep(1 + random());
      await clear();
    },
    async camera() {
      // The same track, in sizes that change.
      await commands.publish({ name: "camera", source: "camera" });
      const { mediaStreamTrack } = published.get("camera").track;
      for (let n = 0; n < 10; n++) {
        await mediaStreamTrack.applyConstraints({ width: 16 + below(1900), height: 16 + below(1060) });
        await sleep(0.2);
      }
      await clear();
    },
    async reconnecting() {
      await room.simulateScenario(one(["signal-reconnect", "full-reconnect"]));
      await sleep(2);
    },
  };
}

commands.attack = async ({ seconds, seed, only }) => {
  const random = dice(seed);
  const deeds = Object.entries(deedsOf(random)).filter(([name]) => !only || only.includes(name));
  const counts = Object.fromEntries(deeds.map(([name]) => [name, { begun: 0, failed: 0 }]));
  const end = performance.now() + seconds * 1000;
  for (let n = 0; performance.now() < end; n++) {
    // Each of them first, then at random.
    const [name, deed] = deeds[n < deeds.length ? n : Math.floor(random() * deeds.length)];
    counts[name].begun++;
    const failed = (error) => {
      counts[name].failed++;
      console.error(`${name}: ${error}`);
    };
    await Promise.race([deed().catch(failed), sleep(DEED_SECONDS)]);
  }
  say({ event: "attacked", counts });
};
