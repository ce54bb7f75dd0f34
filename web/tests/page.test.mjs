// The page in a real browser: decisions, and the message for everything that can go wrong.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, opened, photo, reference, serve } from "./site.mjs";

const FIRST = photo("0-first.png");
const PERSON = photo("0-second.png");
const OTHER = photo("2-second.png");
let site, browser, page;

before(async () => {
  site = await serve();
  browser = await launch();
});
after(async () => {
  await browser.close();
  site.close();
});

/** A browser that is closed with the test: one left open would let the tests never end. */
async function launched(t, ...flags) {
  const other = await launch(...flags);
  t.after(() => other.close());
  return other;
}

/** Choose a file and wait for what the page says of it. */
async function choose(slot, file) {
  await page.setInputFiles(`#${slot} input`, file);
  const message = page.locator(`#${slot} .message`);
  await page.waitForFunction(
    (id) => !document.querySelector(`#${id} .message`).textContent.startsWith("Looking"),
    slot,
  );
  return { code: await message.getAttribute("data-code"), text: await message.textContent() };
}

async function decision() {
  const found = page.locator("#decision[data-theta]");
  await found.waitFor();
  return { theta: Number(await found.getAttribute("data-theta")), text: await found.textContent() };
}

test("two photos give a decision, with both faces, their points and the scale", async () => {
  page = await opened(browser, site.url);
  await choose("card", FIRST);
  assert.match(await page.textContent("#decision"), /missing \(live photo\)/);
  await choose("live", PERSON);
  const { theta, text } = await decision();
  assert.ok(Math.abs(theta - reference.pairs[0].theta) < 0.1);
  assert.match(text, theta < 0.6 ? /^Accepted/ : /^Rejected/);
  assert.equal(await page.locator(".found:visible canvas").count(), 4);
  const points = await page.evaluate(() => {
    const canvas = document.querySelector("#card .photo");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += data[i] === 0 && data[i + 1] === 229;
    return count;
  });
  assert.ok(points > 5 * 20, `${points} pixels of the points`);
  const shown = await page.locator("#scale .theta").getAttribute("transform");
  assert.ok(Math.abs(shown.match(/[\d.]+/)[0] - (1000 * theta) / Math.PI) < 0.01);
});

test("another photo gives another decision", async () => {
  const { theta } = await decision();
  await choose("live", OTHER);
  await page.waitForFunction(
    (old) => ![undefined, String(old)].includes(document.querySelector("#decision").dataset.theta),
    theta,
  );
});

test("a photo that cannot be used is told as Python tells it, and leaves no decision", async () => {
  for (const [name, code] of Object.entries(reference.codes)) {
    assert.ok(code, name);
    const found = await choose("live", photo(name));
    assert.equal(found.code, code, name);
    assert.match(found.text, /[;,] \w+/, "says what to do");
    assert.equal(await page.locator("#decision[data-theta]").count(), 0);
    assert.ok(await page.locator("#live .found").isHidden());
  }
});

test("a file that is no photo is told", async () => {
  const files = {
    "is not a photo": Buffer.from("This is a text."),
    "is empty": Buffer.alloc(0),
    "HEIC or AVIF": Buffer.from("\0\0\0\x18ftypheic\0\0\0\0", "latin1"),
  };
  for (const [part, buffer] of Object.entries(files)) {
    const found = await choose("card", { name: "photo.jpg", mimeType: "image/jpeg", buffer });
    assert.equal(found.code, "unreadable");
    assert.ok(found.text.includes(part), found.text);
  }
});

test("a photo after a wrong one is used", async () => {
  assert.equal((await choose("card", FIRST)).code, "");
  assert.equal((await choose("live", PERSON)).code, "");
  await decision();
});

test("without WebGPU it works on the processor and says so", async () => {
  assert.equal(await page.getAttribute("#engine", "data-engine"), "wasm");
  assert.match(await page.textContent("#engine"), /gives no WebGPU/);
});

/** Open the page at an address in a browser with WebGPU, and decide on the first pair. */
async function decidedOnWebGpu(t, url) {
  const args = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
  const other = await launched(t, ...args, "--enable-features=Vulkan");
  page = await opened(other, url);
  await choose("card", FIRST);
  await choose("live", PERSON);
  const engine = await page.getAttribute("#engine", "data-engine");
  return { engine, said: await page.textContent("#engine"), theta: (await decision()).theta };
}

test("with WebGPU it works there, with the same theta, where the network runs there", async (t) => {
  const graphics = await serve({}, { "/bundle/": reference.webgpu.bundle });
  t.after(() => graphics.close());
  const { engine, theta } = await decidedOnWebGpu(t, graphics.url);
  assert.equal(engine, "webgpu");
  assert.ok(Math.abs(theta - reference.webgpu.theta) < 0.01);
});

test("where the network does not run on WebGPU it works on the processor and says so", async (t) => {
  const { engine, said, theta } = await decidedOnWebGpu(t, site.url);
  assert.equal(engine, "refused");
  assert.match(said, /does not run on this browser's WebGPU/);
  assert.ok(Math.abs(theta - reference.pairs[0].theta) < 0.1);
});

test("a camera that is refused, or missing, is told", async (t) => {
  const flags = ["--use-fake-device-for-media-stream", "--deny-permission-prompts"];
  const other = await launched(t, ...flags);
  for (const [where, why] of [
    [other, /^The camera was refused; .*choose a file/],
    [browser, /^There is no camera; choose a file/],
  ]) {
    page = await opened(where, site.url);
    await page.click("#live .camera");
    await page.locator('#live .message[data-code="camera"]').waitFor();
    assert.match(await page.textContent("#live .message"), why);
  }
});

test("a photo of the camera is used, and the camera is let go", async (t) => {
  const other = await launched(
    t,
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    `--use-file-for-fake-video-capture=${photo("camera.mjpeg")}`,
  );
  page = await opened(other, site.url);
  await page.click("#live .camera");
  await page.waitForFunction(() => document.querySelector("#live video").videoWidth > 0);
  await page.click("#live .take");
  await page.locator("#live .found").waitFor();
  assert.equal(await page.evaluate(() => document.querySelector("#live video").srcObject), null);
});

test("a bundle that is damaged is told", async (t) => {
  const damaged = await serve({ "/bundle/verifier.tflite": "not the network" });
  t.after(() => damaged.close());
  page = await opened(browser, damaged.url);
  assert.match(await page.textContent("#engine"), /verifier\.tflite is not the file/);
});

test("a rejection says which photo could be better, an acceptance does not", async (t) => {
  const description = await (await fetch(`${site.url}bundle/verifier.json`)).json();
  for (const [threshold, said] of [[0, true], [3.2, false]]) {
    const changed = JSON.stringify({ ...description, threshold });
    const other = await serve({ "/bundle/verifier.json": changed });
    t.after(other.close);
    page = await opened(browser, other.url);
    await choose("card", FIRST);
    await choose("live", photo("soft.png"));
    const { text } = await decision();
    assert.match(text, said ? /^Rejected/ : /^Accepted/);
    assert.equal(text.includes("Live photo: The face is rather blurred; hold"), said, text);
    assert.ok(!text.includes("Identity card:"), text);
  }
});

test("nothing leaves the device: no request follows a photo, and none is allowed elsewhere", async () => {
  page = await opened(browser, site.url);
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await choose("card", FIRST);
  await choose("live", PERSON);
  await decision();
  assert.deepEqual(requests.filter((url) => !/^(blob|data):/.test(url)), []);
  const sent = page.evaluate(() => fetch("https://example.org/", { method: "POST", body: "x" }));
  await assert.rejects(sent);
});

test("keyboard and screen reader reach everything", async () => {
  page = await opened(browser, site.url);
  const named = [];
  for (let i = 0; i < 4; i++) {
    await page.keyboard.press("Tab");
    named.push(await page.evaluate(() => document.activeElement.getAttribute("aria-label")));
  }
  assert.deepEqual(named, [
    "Identity card: choose a photo",
    "Identity card: use the camera",
    "Live photo: choose a photo",
    "Live photo: use the camera",
  ]);
  await choose("card", FIRST);
  await choose("live", PERSON);
  await decision();
  const tree = await page.locator("main").ariaSnapshot();
  for (const part of [
    'region "Identity card"',
    'region "Live photo"',
    'region "Decision"',
    'img "Identity card, with the face\'s five points"',
    'img "Live photo: the aligned face"',
    'img /On a scale from 0 to pi/',
  ]) {
    assert.ok(tree.includes(part.replace(/ \/(.*)\//, ' "$1')), `${part} in\n${tree}`);
  }
});

test("nothing is cut off on a narrow screen", async () => {
  page = await opened(browser, site.url, { viewport: { width: 320, height: 600 } });
  await choose("card", FIRST);
  await choose("live", PERSON);
  await decision();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 320, `${wide} pixels wide`);
});
