// A browser that the tests drive by lines of JSON: commands on standard input, events on standard
// output. What the commands do is in page.js; this script starts Chromium, serves it the page from
// this machine (a microphone is given to a secure page only, and localhost counts as one), and
// passes commands and events on.
//
//     CHROMIUM=/path/to/chromium node driver.mjs
//
// Its own commands, which end what the page was doing as they do for a user:
//
//   close_tab               reload: the page is there again, and in no room
//
// It ends, and the browser with it, at {"do":"leave"} or when its standard input closes.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const livekit = createRequire(import.meta.url).resolve("livekit-client");
const here = (name) => new URL(name, import.meta.url);
const files = {
  "/": [here("page.html"), "text/html"],
  "/page.js": [here("page.js"), "text/javascript"],
  "/attack.js": [here("attack.js"), "text/javascript"],
  "/recorder.js": [here("recorder.js"), "text/javascript"],
  "/livekit.js": [livekit, "text/javascript"],
};

const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  // Chromium gathers no loopback addresses otherwise, and the server has no other.
  "--allow-loopback-in-peer-connection",
];

const ofTheTab = {
  close_tab: (page) => page.close(),
  reload: (page) => page.reload(),
};

const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");

const server = createServer(async (request, response) => {
  const [file, type] = files[request.url] ?? [];
  response.writeHead(file ? 200 : 404, { "content-type": type ?? "text/plain" });
  response.end(file ? await readFile(file) : "");
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const profile = await mkdtemp(join(tmpdir(), "browser-client-"));
let context;
try {
  context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM,
    args: flags,
    timeout: 60_000,
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error("page:", error));
  page.on("console", (message) => console.error("console:", message.text()));
  page.on("crash", () => say({ event: "error", do: "page", message: "the page crashed" }));
  await page.exposeFunction("say", say);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  say({ event: "ready" });
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...options } = JSON.parse(line);
    try {
      if (ofTheTab[name]) await ofTheTab[name](page);
      else await page.evaluate(([name, options]) => window.run(name, options), [name, options]);
      say({ event: "done", do: name });
    } catch (error) {
      say({ event: "error", do: name, message: String(error.message ?? error) });
    }
    if (name === "leave") break;
  }
} finally {
  await context?.close();
  server.close();
  server.closeAllConnections();
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
}
process.exit(0);
