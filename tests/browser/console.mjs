// Looks at a console with noVNC in headless Chromium, on a page of http://localhost:PORT, types an `s`, leaves, and comes again with the same ticket. Prints what it sees.
//
// usage: node console.mjs WEBSOCKET PORT NOVNC PACKAGE: noVNC as it is installed, and the package.json next to which the driver of the browser is.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join, normalize } from "node:path";

const [socket, port, novnc, driver] = process.argv.slice(2);
const { chromium } = createRequire(driver)("playwright-core");
const page = `<!doctype html><html lang="id"><title>console</title><link rel="icon" href="data:,"><div id="screen"></div>
<script type="module">import RFB from "/novnc/core/rfb.js"; window.RFB = RFB;</script></html>`;
const server = createServer((request, response) => {
  if (!request.url.startsWith("/novnc/")) {
    response.setHeader("content-type", "text/html");
    return response.end(page);
  }
  response.setHeader("content-type", "text/javascript");
  response.end(readFileSync(join(novnc, normalize(request.url.slice("/novnc".length)))));
});
server.listen(Number(port), "127.0.0.1");
await once(server, "listening");
const executablePath = spawnSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).stdout.trim();
if (!executablePath) throw new Error("chromium is not on PATH: make setup installs it");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const tab = await browser.newPage();
  tab.on("console", (message) => console.error(`console: ${message.text()}`));
  await tab.goto(`http://localhost:${port}/`);
  await tab.waitForFunction(() => window.RFB !== undefined);
  const lines = await tab.evaluate(async (url) => {
    const said = [];
    const patience = () => new Promise((_, late) => setTimeout(() => late(new Error(`nothing came after ${said.at(-1)}`)), 30_000));
    const heard = (rfb, kind) => Promise.race([new Promise((resolve) => rfb.addEventListener(kind, resolve, { once: true })), patience()]);
    const rfb = new window.RFB(document.getElementById("screen"), url, { wsProtocols: ["binary"] });
    const named = heard(rfb, "desktopname");
    await heard(rfb, "connect");
    said.push(`connected ${(await named).detail.name}`);
    const canvas = () => document.querySelector("canvas");
    const pixels = () => canvas().getContext("2d").getImageData(0, 0, canvas().width, canvas().height).data;
    const pixel = () => `pixel ${[...pixels().slice(-4, -1)].join(",")}`;
    const digest = () => pixels().reduce((sum, part, at) => (sum * 31 + part + at) % 1_000_000_007, 7);
    const until = async (holds) => {
      const late = Date.now() + 30_000;
      while (!holds()) {
        if (Date.now() > late) throw new Error(`nothing changed after ${said.at(-1)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    // A canvas is black until something is drawn on it.
    await until(() => pixels().some((part, at) => at % 4 !== 3 && part !== 0));
    said.push(`size ${canvas().width}x${canvas().height}`, pixel());
    const before = digest();
    rfb.sendKey("s".charCodeAt(0), "KeyS");
    await until(() => digest() !== before);
    said.push("changed", pixel());
    const gone = heard(rfb, "disconnect");
    rfb.disconnect();
    said.push(`disconnected ${(await gone).detail.clean ? "clean" : "not clean"}`);
    const again = new window.RFB(document.getElementById("screen"), url);
    await heard(again, "disconnect");
    said.push("again: disconnected");
    return said;
  }, socket);
  for (const line of lines) console.log(line);
} finally {
  await browser.close();
  server.close();
}
