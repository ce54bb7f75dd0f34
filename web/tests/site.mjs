// A browser with the built page, the bundle's vectors and the reference photos.
import { createReadStream, existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};
const { CHROMIUM, REFERENCE, BUNDLE } = process.env;
const FOLDERS = {
  "/photos/": join(REFERENCE, "photos"),
  "/vectors/": BUNDLE,
  "/": fileURLToPath(new URL("../site", import.meta.url)),
};

export const reference = JSON.parse(readFileSync(join(REFERENCE, "reference.json")));
export const photo = (name) => join(REFERENCE, "photos", name);

/** Serve the page; `changes` maps a path to other bytes, `folders` the beginning of one to a folder. */
export async function serve(changes = {}, folders = {}) {
  const all = { ...folders, ...FOLDERS, ...folders }; // "/" stays last
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://site").pathname);
    if (path in changes) return response.end(changes[path]);
    const start = Object.keys(all).find((prefix) => path.startsWith(prefix));
    const file = join(all[start], path.slice(start.length) || "index.html");
    if (!existsSync(file)) return response.writeHead(404).end();
    response.setHeader("Content-Type", TYPES[extname(file)] ?? "application/octet-stream");
    createReadStream(file).pipe(response);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() };
}

export const launch = (...args) =>
  chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...args] });

/** A page whose verifier is loaded, or has said why it is not. */
export async function opened(browser, url, options) {
  const page = await browser.newPage(options);
  await page.goto(url);
  await page.waitForFunction(
    () => !document.querySelector("#engine").textContent.startsWith("Loading"),
    null,
    { timeout: 60_000 },
  );
  return page;
}
