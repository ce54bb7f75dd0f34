// faceverify.js beside Python: the bundle's test vectors, and theta of 30 pairs.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, opened, reference, serve } from "./site.mjs";

let site, browser, page;

before(async () => {
  site = await serve();
  browser = await launch();
  page = await opened(browser, site.url);
  await page.evaluate(async () => {
    const module = await import("./faceverify.js");
    const verifier = await module.Verifier.load("./bundle/");
    const photo = async (url) => module.decodePhoto(await (await fetch(url)).blob());
    const angle = (a, b) => {
      const [p, q] = [a, b].map((v) => Math.hypot(...v));
      const sides = [-1, 1].map((s) => Math.hypot(...a.map((x, i) => x / p + (s * b[i]) / q)));
      return 2 * Math.atan2(...sides);
    };
    const vectors = await (await fetch("/vectors/vectors.json")).json();
    Object.assign(globalThis, { module, verifier, photo, angle, vectors });
  });
});
after(async () => {
  await browser.close();
  site.close();
});

test("a face is searched as Python searches it", async () => {
  const found = await page.evaluate(() => module.SEARCH);
  assert.deepEqual(Object.keys(found).sort(), Object.keys(reference.search).sort());
  for (const [name, value] of Object.entries(reference.search)) {
    const [own, pythons] = [found[name], value].map((one) => [one].flat());
    assert.ok(own.length === pythons.length, name);
    assert.ok(own.every((one, i) => Math.abs(one - pythons[i]) < 1e-12), name);
  }
});

test("a photo is advised on as Python advises on it", async () => {
  assert.deepEqual(Object.values(reference.told), [1, 0]);
  const found = await page.evaluate(async (names) => {
    const told = {};
    for (const name of names) {
      const { face } = await verifier.embed(await photo(`/photos/${name}`));
      told[name] = module.advice(face.aligned).length;
    }
    return told;
  }, Object.keys(reference.told));
  assert.deepEqual(found, reference.told);
});

/** Theta of the pairs of a format here, beside Python's. */
async function thetas(suffix) {
  const pairs = reference.pairs.filter(({ first }) => first.endsWith(suffix));
  assert.equal(pairs.length, 30);
  return page.evaluate(async (pairs) => {
    const embed = async (name) =>
      (await verifier.embed(await photo(`/photos/${name}`), { anySide: true })).embedding;
    const found = [];
    for (const { first, second, theta } of pairs) {
      const own = await Promise.all([first, second].map(embed)).then(
        async (both) => (await verifier.compare(...both)).theta,
        () => null,
      );
      found.push({ first, second, theta, own });
    }
    return found;
  }, pairs);
}

// Rounding may end the search for the points one read earlier or later. Untrained towers see such
// small moves more than trained ones.
const SAME_PIXELS = reference.trained ? 0.02 : 0.1;
for (const [what, suffix, limit] of [
  ["from the same pixels, as PNG gives them,", ".png", SAME_PIXELS],
  ["with the browser's own decoding of JPEG", ".jpg", 0.15],
]) {
  test(`theta ${what} is at most ${limit} from Python's`, async () => {
    const found = await thetas(suffix);
    assert.ok(found.filter(({ theta }) => theta !== null).length >= 25);
    for (const { first, second, theta, own } of found) {
      if (theta === null || own === null) assert.equal(own, theta, `${first}, ${second}`);
      else assert.ok(Math.abs(own - theta) <= limit, `${first}, ${second}: ${own}, ${theta}`);
    }
    const most = Math.max(...found.map(({ theta, own }) => Math.abs(own - theta)));
    console.log(`${suffix}: theta is at most ${most.toFixed(4)} off`);
  });
}

test("the vectors' photos give their points, canvas, embedding and quality", async () => {
  const found = await page.evaluate(async () => {
    const all = [];
    for (const right of vectors.right) {
      const taken = await photo(`/vectors/${right.file}`);
      const { input } = verifier.description;
      verifier.description.capture.min_interocular = 0; // the photos are small
      const face = await verifier.findFace(taken);
      const off = face.points.map(([x, y], i) =>
        Math.hypot(x - right.points[i][0], y - right.points[i][1]),
      );
      const aligned = module.align(taken, right.points, input);
      const canvas = module.stretched(aligned, input.canvas_width);
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", canvas.data));
      const { embedding, quality } = await verifier.embedAligned(face.aligned);
      all.push({
        right,
        points: Math.max(...off),
        canvas: [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
        embedding: angle([...embedding], right.embedding),
        quality: Math.abs(quality - right.quality),
      });
    }
    return { all, tolerances: vectors.tolerances };
  });
  assert.ok(found.all.length >= 3);
  for (const { right, canvas, ...off } of found.all) {
    assert.equal(canvas, right.canvas, `${right.file}: the canvas has other bytes`);
    for (const [name, value] of Object.entries(off)) {
      assert.ok(value <= found.tolerances[name], `${right.file}: ${name} is ${value} off`);
    }
  }
});

test("the vectors' pairs give their theta", async () => {
  const found = await page.evaluate(async () => {
    const embedding = ({ embedding }) => Float32Array.from(embedding);
    const of = Object.fromEntries(vectors.right.map((one) => [one.file, embedding(one)]));
    return Promise.all(
      vectors.pairs.map(async (pair) => ({
        ...pair,
        own: await verifier.compare(of[pair.first], of[pair.second]),
      })),
    );
  });
  for (const { theta, accepted, own } of found) {
    assert.ok(Math.abs(own.theta - theta) < 1e-3, `${own.theta}, ${theta}`);
    assert.equal(own.accepted, accepted);
  }
});

test("the vectors' wrong canvases give their quality, and are refused as stated", async () => {
  const found = await page.evaluate(async () => {
    const { input, capture } = verifier.description;
    const swap = (list, order) => order.map((i) => list[i]);
    const make = {
      mirrored: (photo, points) => {
        const { data, width, height } = module.align(photo, points, input);
        const turned = new Uint8Array(data.length);
        for (let i = 0; i < width * height; i++) {
          const from = 3 * (i - (i % width) + width - 1 - (i % width));
          turned.set(data.subarray(from, from + 3), 3 * i);
        }
        return { data: turned, width, height };
      },
      bgr: (photo, points) => {
        const aligned = module.align(photo, points, input);
        for (let i = 0; i < aligned.data.length; i += 3) aligned.data.subarray(i, i + 3).reverse();
        return aligned;
      },
      swapped: (photo, points) => module.align(photo, swap(points, [1, 0, 2, 4, 3]), input),
    };
    const all = [];
    for (const wrong of vectors.wrong.filter(({ kind }) => kind in make)) {
      const { points } = vectors.right.find(({ file }) => file === wrong.file);
      const aligned = make[wrong.kind](await photo(`/vectors/${wrong.file}`), points);
      const { quality } = await verifier.embedAligned(aligned);
      all.push({ wrong, quality, refused: quality < capture.min_quality });
    }
    const [{ points }] = vectors.right;
    const residuals = [points, swap(points, [1, 0, 2, 4, 3])].map((p) => module.residual(p, input));
    return { all, tolerance: vectors.tolerances.quality, residuals, most: capture.max_residual };
  });
  assert.ok(found.all.length >= 9);
  for (const { wrong, quality, refused } of found.all) {
    const off = Math.abs(quality - wrong.quality);
    assert.ok(off <= found.tolerance, `${wrong.kind} ${wrong.file}: ${off} off`);
    assert.equal(refused, wrong.refused, `${wrong.kind} ${wrong.file}`);
  }
  assert.ok(found.residuals[0] < found.most && found.residuals[1] > found.most);
});
