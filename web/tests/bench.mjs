// Time to a decision in Chromium and bytes that the page loads: `npm run bench`, with the
// environment of the tests. Writes benchmarks/web.json.
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg } from "node:os";
import { launch, opened, photo, serve } from "./site.mjs";

const ROUNDS = 5;
const FIRST = photo("0-first.png");
const SECOND = photo("0-second.jpg");
const median = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)];
const seconds = (ms) => Math.round(ms / 10) / 100;

/** Open the page in a fresh browser; times in ms from there, bytes of all answers. */
async function round(site) {
  const browser = await launch();
  const start = performance.now();
  const bodies = [];
  const context = await browser.newContext();
  context.on("response", (response) => bodies.push(response.body()));
  const page = await opened(context, site.url);
  const ready = performance.now();
  const version = browser.version();
  const decided = async () => {
    const from = performance.now();
    await page.setInputFiles("#card input", FIRST);
    await page.setInputFiles("#live input", SECOND);
    await page.locator("#decision[data-theta]").waitFor();
    return performance.now() - from;
  };
  const [first, again] = [await decided(), await decided()];
  const bytes = (await Promise.all(bodies)).reduce((sum, body) => sum + body.length, 0);
  await browser.close();
  return { ready: ready - start, first, again, bytes, version };
}

const site = await serve();
const rounds = [];
for (let i = 0; i < ROUNDS; i++) rounds.push(await round(site));
site.close();
const of = (name) => seconds(median(rounds.map((one) => one[name])));
const { dependencies } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url)));
const found = {
  machine: { processor: cpus()[0].model, cores: availableParallelism(), load: loadavg()[0] },
  shared: true,
  chromium: rounds[0].version,
  litert: dependencies["@litertjs/core"],
  rounds: ROUNDS,
  seconds: { load: of("ready"), first_decision: of("first"), next_decision: of("again") },
  bytes: rounds[0].bytes,
};
writeFileSync(new URL("../../benchmarks/web.json", import.meta.url), JSON.stringify(found, null, 2) + "\n");
console.log(found);
