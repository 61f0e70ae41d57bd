// Serves the page and plays it in headless Chromium. The page is bundled for browsers from the package as it is installed in the working folder.
//
// usage: node drive.js ENDPOINT PORT PAGE. The server has to allow the origin http://localhost:PORT, and no other. Prints what the page shows.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [endpoint = "", port = "", page = ""] = process.argv.slice(2);
const bundle = await build({ entryPoints: [page], bundle: true, write: false, format: "esm", platform: "browser", absWorkingDir: process.cwd() });
const script = bundle.outputFiles[0]?.text ?? "";
const server = createServer((request, response) => {
  const isScript = request.url === "/page.js";
  response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
  response.end(isScript ? script : '<!doctype html><html lang="id"><title>toko</title><link rel="icon" href="data:,"><ol></ol><script type="module" src="page.js"></script></html>');
});
server.listen(Number(port), "127.0.0.1");
await once(server, "listening");
const executablePath = spawnSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).stdout.trim();
if (!executablePath) throw new Error("chromium is not on PATH: make setup installs it");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const tab = await browser.newPage();
  // The browser says so when it is the preflight that keeps a page out.
  let kept = false;
  tab.on("console", (message) => {
    kept ||= message.text().includes("preflight request doesn't pass");
    console.error(`console: ${message.text()}`);
  });
  for (const url of [`http://localhost:${port}/?`, `http://127.0.0.1:${port}/?stranger&`]) {
    await tab.goto(`${url}endpoint=${encodeURIComponent(endpoint)}`);
    await tab.waitForFunction(() => document.title !== "toko", undefined, { timeout: 90_000 });
    for (const line of await tab.locator("li").allTextContents()) console.log(line);
    console.log(await tab.title());
  }
  console.log(`kept out by its preflight: ${kept}`);
} finally {
  await browser.close();
  server.close();
}
