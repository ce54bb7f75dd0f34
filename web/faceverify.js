/**
 * The face verifier in a browser: find, align, embed and compare faces with the bundle's own files.
 *
 * The arithmetic is that of the Python package `faceverify`, to the byte where it is in whole
 * numbers. Points are (x, y) in pixels, counted from the middle of the first pixel.
 * Call `loadLiteRt(folder of the wasm files)` of `@litertjs/core` once before `Verifier.load`.
 *
 * @module faceverify
 */

import { loadAndCompile, Tensor } from "@litertjs/core";

/**
 * @typedef {{width: number, height: number, data: Uint8Array}} Picture
 *   RGB, three bytes a pixel, row by row.
 * @typedef {Picture & {scale: number}} Photo
 *   An upright photo of at most LONGEST_SIDE; `scale` pixels of the photo as taken lie along one.
 * @typedef {[number, number]} Point
 * @typedef {[[number, number, number], [number, number, number]]} Matrix
 *   From (x, y, 1) of one picture to (x, y) of another.
 * @typedef {{corners: [number, number, number, number], eyes: [Point, Point], score: number}} Box
 *   A found face: left, top, right, bottom; the person's right and left eye.
 * @typedef {{points: Point[], turns: number, aligned: Picture, interocular: number}} Face
 *   `points`: right eye, left eye, nose tip, right and left mouth corner, of the person, in the
 *   photo after `turns` quarter turns counter-clockwise. `aligned`: 178 x 218.
 * @typedef {{embedding: Float32Array, quality: number, face: Face}} Embedded
 * @typedef {{accepted: boolean, theta: number, thetas: Record<string, number>, threshold: number}}
 *   Comparison `theta` in radians, [0, pi], low for one person.
 */

/** Most bytes and pixels of a photo; the longest side that a larger one is shrunk to. */
export const MAX_BYTES = 64 * 2 ** 20;
export const MAX_PIXELS = 64_000_000;
export const LONGEST_SIDE = 2048;

/** Why a photo cannot be used: `code` for programs, the message for the person who took it. */
export class CaptureError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "CaptureError";
    this.code = code;
  }
}

// ---- Photos

/**
 * Decode a photo file with the browser's own decoder, upright, transparency as white.
 *
 * @param {Blob} file
 * @returns {Promise<Photo>}
 * @throws {CaptureError} `unreadable` or `too_many_pixels`
 */
export async function decodePhoto(file) {
  if (file.size === 0) throw new CaptureError("unreadable", "The file is empty; take the photo again.");
  if (file.size > MAX_BYTES) {
    throw new CaptureError("unreadable", "The file is larger than 64 MB; save the photo as JPEG.");
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    const start = new Uint8Array(await file.slice(0, 12).arrayBuffer());
    const heic = String.fromCharCode(...start.slice(4, 8)) === "ftyp";
    throw new CaptureError(
      "unreadable",
      heic
        ? "This browser cannot open HEIC or AVIF photos, or videos; save the photo as JPEG."
        : "This is not a photo, or it is damaged; choose a JPEG or PNG photo.",
    );
  }
  try {
    return fromImage(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

/**
 * The pixels of anything that a canvas can draw: a bitmap, a video's present frame.
 *
 * @param {CanvasImageSource} image
 * @param {number} width
 * @param {number} height
 * @returns {Photo}
 */
export function fromImage(image, width, height) {
  if (width * height > MAX_PIXELS) {
    throw new CaptureError(
      "too_many_pixels",
      "The photo has more than 64 megapixels; lower the camera's resolution.",
    );
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  return toPhoto(fromRgba(context.getImageData(0, 0, width, height)));
}

/**
 * A picture as a photo: shrunk by area to LONGEST_SIDE where it is larger.
 *
 * @param {Picture} picture
 * @returns {Photo}
 */
export function toPhoto(picture) {
  const longest = Math.max(picture.width, picture.height);
  const small = longest > LONGEST_SIDE ? resized(picture, LONGEST_SIDE / longest) : picture;
  return { ...small, scale: longest / Math.max(small.width, small.height) };
}

/** @param {{width: number, height: number, data: Uint8ClampedArray}} image @returns {Picture} */
function fromRgba({ width, height, data }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return { width, height, data: rgb };
}

/** A picture as the browser draws it. @param {Picture} picture @returns {ImageData} */
export function toImageData({ width, height, data }) {
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  return image;
}

/**
 * A picture after quarter turns counter-clockwise.
 *
 * @param {Picture} picture
 * @param {number} turns
 * @returns {Picture}
 */
export function turned(picture, turns) {
  let found = picture;
  for (let turn = 0; turn < turns; turn++) found = turnedOnce(found);
  return found;
}

/** @param {Picture} picture @returns {Picture} */
function turnedOnce({ width, height, data }) {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (y * width + x);
      const to = 3 * ((width - 1 - x) * height + y);
      out[to] = data[from];
      out[to + 1] = data[from + 1];
      out[to + 2] = data[from + 2];
    }
  }
  return { width: height, height: width, data: out };
}

// ---- Resizing and warping

/** Round half to even, as NumPy, Python and OpenCV do. @param {number} x */
function rint(x) {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Shrink a picture by a factor below 1, to 1 pixel at least, by means over areas, so that fine
 * detail does not alias.
 *
 * @param {Picture} picture
 * @param {number} factor
 * @returns {Picture}
 */
export function resized(picture, factor) {
  const width = Math.max(rint(picture.width * factor), 1);
  const height = Math.max(rint(picture.height * factor), 1);
  const same = width === picture.width && height === picture.height;
  return same ? picture : shrunk(picture, width, height);
}

/**
 * The same, nearly, in less time: first by means of 2 x 2 pixels, while they fit.
 *
 * @param {Picture} picture
 * @param {number} factor
 * @returns {Picture}
 */
function halvedFirst(picture, factor) {
  let [found, left] = [picture, factor];
  while (left <= 0.5 && found.width % 2 === 0 && found.height % 2 === 0) {
    found = shrunk(found, found.width / 2, found.height / 2);
    left *= 2;
  }
  return resized(found, left);
}

/**
 * What each source pixel gives to which target pixel of a row or column.
 *
 * @param {number} from
 * @param {number} to
 * @returns {{source: number, target: number, share: number}[]}
 */
function shares(from, to) {
  const scale = from / to;
  const found = [];
  for (let target = 0; target < to; target++) {
    const start = target * scale;
    const end = Math.min(start + scale, from);
    for (let source = Math.floor(start); source < Math.ceil(end - 1e-9); source++) {
      const covered = Math.min(source + 1, end) - Math.max(source, start);
      if (covered > 1e-9) found.push({ source, target, share: covered / scale });
    }
  }
  return found;
}

/** @param {Picture} picture @param {number} width @param {number} height @returns {Picture} */
function shrunk(picture, width, height) {
  const across = shares(picture.width, width);
  const out = new Uint8Array(width * height * 3);
  const sums = new Float64Array(width * height * 3);
  const row = new Float64Array(width * 3);
  let filled = -1;
  for (const { source, target, share } of shares(picture.height, height)) {
    if (source !== filled) {
      row.fill(0);
      const start = 3 * source * picture.width;
      for (const one of across) {
        const from = start + 3 * one.source;
        const to = 3 * one.target;
        row[to] += picture.data[from] * one.share;
        row[to + 1] += picture.data[from + 1] * one.share;
        row[to + 2] += picture.data[from + 2] * one.share;
      }
      filled = source;
    }
    const start = 3 * target * width;
    for (let i = 0; i < row.length; i++) sums[start + i] += row[i] * share;
  }
  // Sums of shares are off by some 1e-13, which must not decide how a half is rounded.
  const halvesUp = picture.width === 2 * width && picture.height === 2 * height;
  for (let i = 0; i < sums.length; i++) {
    const sum = Math.round(sums[i] * 2 ** 24) / 2 ** 24;
    out[i] = halvesUp ? Math.floor(sum + 0.5) : rint(sum);
  }
  return { width, height, data: out };
}

/**
 * Warp a picture by `matrix`, bilinear in steps of 1/32 pixel. Outside the picture its border
 * pixels are repeated. Where `matrix` shrinks, the picture is first resized by area.
 *
 * @param {Picture} picture
 * @param {Matrix} matrix from the picture's pixels to those of the result
 * @param {number} width
 * @param {number} height
 * @returns {Picture}
 */
export function warp(picture, matrix, width, height) {
  const scale = Math.hypot(matrix[0][0], matrix[1][0]);
  if (scale >= 1) return warped(picture, inverse(matrix), width, height);
  const small = resized(picture, scale);
  const ratio = [small.width / picture.width, small.height / picture.height];
  const moved = matrix.map(([a, b, c]) => {
    const [p, q] = [a / ratio[0], b / ratio[1]];
    return [p, q, c + p * (0.5 - 0.5 * ratio[0]) + q * (0.5 - 0.5 * ratio[1])];
  });
  return warped(small, inverse(moved), width, height);
}

/** @param {Matrix} matrix @returns {Matrix} */
function inverse([[a, b, c], [d, e, f]]) {
  const one = 1 / (a * e - b * d);
  const [p, q, r, s] = [e * one, -b * one, -d * one, a * one];
  return [
    [p, q, -p * c - q * f],
    [r, s, -r * c - s * f],
  ];
}

/** @param {Picture} picture @param {Matrix} back @param {number} width @param {number} height */
function warped(picture, back, width, height) {
  const { width: across, height: down, data } = picture;
  const out = new Uint8Array(width * height * 3);
  const limit = 2 ** 15 - 1;
  const steps = (value) => rint(within(value, -limit, limit) * 32);
  const held = (value, size) => within(value, 0, size - 1);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const u = steps(back[0][0] * x + back[0][1] * y + back[0][2]);
      const v = steps(back[1][0] * x + back[1][1] * y + back[1][2]);
      const [left, right] = [held(u >> 5, across), held((u >> 5) + 1, across)];
      const [top, bottom] = [held(v >> 5, down) * across, held((v >> 5) + 1, down) * across];
      const [p, q] = [u & 31, v & 31];
      for (let c = 0; c < 3; c++) {
        const above = data[3 * (top + left) + c] * (32 - p) + data[3 * (top + right) + c] * p;
        const below = data[3 * (bottom + left) + c] * (32 - p) + data[3 * (bottom + right) + c] * p;
        out[to++] = (above * (32 - q) + below * q + 512) >> 10;
      }
    }
  }
  return { width, height, data: out };
}

/** @param {number} from @param {number} to @returns {{first: number, share: number}[]} */
function between(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const place = (i + 0.5) * (from / to) - 0.5;
    const first = Math.floor(place);
    if (first < 0) return { first: 0, share: 0 };
    return first >= from - 1 ? { first: from - 1, share: 0 } : { first, share: place - first };
  });
}

/**
 * Stretch a picture in width, bilinear in steps of 1/256.
 *
 * @param {Picture} picture
 * @param {number} width
 * @returns {Picture}
 */
export function stretched(picture, width) {
  const out = new Uint8Array(width * picture.height * 3);
  const columns = between(picture.width, width);
  for (let y = 0, to = 0; y < picture.height; y++) {
    for (const { first, share } of columns) {
      const right = rint(share * 256);
      const from = 3 * (y * picture.width + first);
      const next = first + 1 < picture.width ? 3 : 0;
      for (let c = 0; c < 3; c++) {
        const sum = picture.data[from + c] * (256 - right) + picture.data[from + next + c] * right;
        out[to++] = (sum + 128) >> 8;
      }
    }
  }
  return { width, height: picture.height, data: out };
}

// ---- Alignment

/**
 * The similarity transform, without mirroring, that brings points nearest to others by least
 * squares.
 *
 * @param {Point[]} points
 * @param {Point[]} targets
 * @returns {Matrix}
 */
export function similarity(points, targets) {
  const mean = (list, i) => list.reduce((sum, point) => sum + point[i], 0) / list.length;
  const [mx, my, tx, ty] = [mean(points, 0), mean(points, 1), mean(targets, 0), mean(targets, 1)];
  let [dot, cross, square] = [0, 0, 0];
  points.forEach(([px, py], i) => {
    const [x, y, u, v] = [px - mx, py - my, targets[i][0] - tx, targets[i][1] - ty];
    dot += x * u + y * v;
    cross += x * v - y * u;
    square += x * x + y * y;
  });
  const [a, b] = [dot / square, cross / square];
  return [
    [a, -b, tx - a * mx + b * my],
    [b, a, ty - b * mx - a * my],
  ];
}

/**
 * An aligned face as the network takes it.
 *
 * @param {Photo | Picture} photo
 * @param {Point[]} points the five points
 * @param {object} input `input` of verifier.json
 * @returns {Picture}
 */
export function align(photo, points, input) {
  const matrix = similarity(points, targets(input));
  return warp(photo, matrix, input.aligned_width, input.aligned_height);
}

/** Where an aligned photo has the five points. @param {object} input @returns {Point[]} */
function targets({ alignment: to }) {
  return [to.right_eye, to.left_eye, to.nose_tip, to.mouth_right, to.mouth_left];
}

/**
 * How far five points are from their places in the aligned photo, in its pixels: the root of the
 * mean squared distance. Points that are not a face's, or are in another order, fit badly.
 *
 * @param {Point[]} points
 * @param {object} input `input` of verifier.json
 */
export function residual(points, input) {
  const to = targets(input);
  const matrix = similarity(points, to);
  const squares = points.map(([x, y], i) => {
    const moved = matrix.map(([a, b, c], axis) => a * x + b * y + c - to[i][axis]);
    return moved[0] ** 2 + moved[1] ** 2;
  });
  return Math.sqrt(squares.reduce((sum, one) => sum + one, 0) / squares.length);
}

// ---- Light and sharpness

const FACE_AREA = { top: 86, bottom: 174, left: 50, right: 128 };
const FINE_BAND = [1.4, 2.0];
const COARSE_BAND = [3.0, 6.0];

/** Luma of ITU-R BT.601, rounded. @param {Picture} picture @returns {Uint8Array} */
function grey({ width, height, data }) {
  return Uint8Array.from({ length: width * height }, (_, i) => {
    const sum = data[3 * i] * 9798 + data[3 * i + 1] * 19235 + data[3 * i + 2] * 3735;
    return (sum + 16384) >> 15;
  });
}

/** The mean luma of an aligned face, 0 (black) to 255. @param {Picture} aligned */
export function brightness(aligned) {
  const luma = grey(aligned);
  let [sum, count] = [0, 0];
  for (let y = FACE_AREA.top; y < FACE_AREA.bottom; y++) {
    for (let x = FACE_AREA.left; x < FACE_AREA.right; x++, count++) {
      sum += luma[y * aligned.width + x];
    }
  }
  return sum / count;
}

/**
 * Fine detail of an aligned face over its coarse detail, the lesser of along x and along y.
 *
 * @param {Picture} aligned
 */
export function sharpness(aligned) {
  const luma = Float32Array.from(grey(aligned));
  const bands = [FINE_BAND, COARSE_BAND].map((sigmas) => {
    const [sharp, soft] = sigmas.map((sigma) => blurred(luma, aligned, sigma));
    return sharp.map((value, i) => value - soft[i]);
  });
  const ratios = [1, aligned.width].map((step) => {
    const [fine, coarse] = bands.map((band) => gradient(band, aligned.width, step));
    return coarse > 0 ? fine / coarse : 0;
  });
  return Math.min(...ratios);
}

/** The standard deviation of differences to the next pixel, within FACE_AREA. */
function gradient(band, width, step) {
  const [below, right] = step === 1 ? [0, 1] : [1, 0];
  const differences = [];
  for (let y = FACE_AREA.top; y < FACE_AREA.bottom - below; y++) {
    for (let x = FACE_AREA.left; x < FACE_AREA.right - right; x++) {
      differences.push(band[y * width + x + step] - band[y * width + x]);
    }
  }
  const mean = differences.reduce((sum, one) => sum + one, 0) / differences.length;
  const square = differences.reduce((sum, one) => sum + (one - mean) ** 2, 0);
  return Math.sqrt(square / differences.length);
}

/** A Gaussian blur whose border is mirrored at the outermost pixels. */
function blurred(luma, { width, height }, sigma) {
  const radius = rint(sigma * 8 + 1) >> 1;
  const raw = Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp(-((i - radius) ** 2) / (2 * sigma * sigma)),
  );
  const total = raw.reduce((sum, one) => sum + one, 0);
  const mirrored = (i, size) => (i < 0 ? -i : i >= size ? 2 * size - 2 - i : i);
  const pass = (from, place) => {
    const to = new Float32Array(from.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (let k = 0; k < raw.length; k++) sum += raw[k] * from[place(x, y, k - radius)];
        to[y * width + x] = sum / total;
      }
    }
    return to;
  };
  const across = pass(luma, (x, y, k) => y * width + mirrored(x + k, width));
  return pass(across, (x, y, k) => mirrored(y + k, height) * width + x);
}

// ---- Finding

const SIDE = 192; // pixels of the square that the finder and the mesh see
const CELLS = 48; // the finder's anchors lie in the middle of so many x so many cells
const NUMBERS = 16; // of a box: centre, size, right eye, left eye and four more places
const SAME_FACE = 0.3; // boxes that overlap by more than this share of their union are one face
const LEAST_SCORE = 0.3; // boxes below this score are no face
const MESH_POINTS = 468;
const RIGHT_EYE = [33, 160, 158, 133, 153, 144];
const LEFT_EYE = [362, 385, 387, 263, 373, 380];
const [NOSE_TIP, MOUTH_RIGHT, MOUTH_LEFT] = [4, 61, 291];

/** How a face is searched: scores, sides as shares of a face's or a photo's, angles in radians. */
export const SEARCH = {
  // Of a box below the first score the finder is asked again, with the face upright: it must score
  // the second there, and no more upside down.
  CLEAR_SCORE: 0.7,
  UPRIGHT_SCORE: 0.5,
  MESH_SCORE: 0.8, // the least that the mesh's own score is for a face
  MESH_ROOM: 1.5, // side of the square that the mesh sees, in the face's
  FINDER_ROOM: 2.5, // that of the finder, when it is asked again
  LEAST_READS: 2, // of the mesh: the first view is the finder's, which is coarse
  READS: 6, // at most
  // where the first read scores less than the first, or none after LEAST_READS the second, none
  // follows
  HOPELESS_SCORES: [0.0001, 0.001],
  LEVEL: (2 * Math.PI) / 180, // roll within which the last read counts as upright
  MOST_BOXES: 6, // of one view that are looked at
  // sides of further squares around the middle, in the photo's: with a border, for a face that
  // touches the frame, and closer, for a small one
  ZOOMS: [1.5, 0.6, 0.35],
  LEAST_CLOSER: 370, // pixels: a closer view of a smaller side is left out
  GRID: 8, // pixels of the photo, along which a view is cut out of it
  MOST_ROLL: (75 * Math.PI) / 180, // how far a head in a live photo may lean
};

/** A square of a photo: its middle and side in pixels, and its roll, clockwise, in radians. */
class View {
  /** @param {Point} centre @param {number} side @param {number} roll */
  constructor(centre, side, roll) {
    this.centre = centre;
    this.side = side;
    this.scale = side / SIDE;
    this.cosine = Math.cos(roll);
    this.sine = Math.sin(roll);
    this.roll = roll;
  }

  /** @param {Point} point of the view's pixels @returns {Point} in pixels of the photo */
  out([x, y]) {
    const [u, v] = [x - (SIDE - 1) / 2, y - (SIDE - 1) / 2];
    return [
      this.centre[0] + (u * this.cosine - v * this.sine) * this.scale,
      this.centre[1] + (u * this.sine + v * this.cosine) * this.scale,
    ];
  }

  /** What the view shows of a photo, 192 x 192. @param {Picture} photo @returns {Picture} */
  of(photo) {
    const size = [photo.width, photo.height];
    const low = size.map((most, i) =>
      within(SEARCH.GRID * Math.floor((this.centre[i] - this.side) / SEARCH.GRID), 0, most - 1),
    );
    const high = size.map((most, i) =>
      within(SEARCH.GRID * Math.ceil((this.centre[i] + this.side) / SEARCH.GRID), low[i] + 1, most),
    );
    const part = cropped(photo, low, high);
    const small = halvedFirst(part, Math.min(1 / this.scale, 1));
    const ratio = [small.width / part.width, small.height / part.height];
    const origin = this.out([0, 0]);
    const [cosine, sine] = [this.cosine * this.scale, this.sine * this.scale];
    const back = [
      [cosine, -sine, origin[0] - low[0] + 0.5],
      [sine, cosine, origin[1] - low[1] + 0.5],
    ].map((row, i) => row.map((value) => value * ratio[i]));
    back[0][2] -= 0.5;
    back[1][2] -= 0.5;
    return warped(small, back, SIDE, SIDE);
  }
}

/** @param {number} value @param {number} low @param {number} high */
const within = (value, low, high) => Math.min(Math.max(value, low), high);

/** @param {Picture} picture @param {Point} low @param {Point} high @returns {Picture} */
function cropped(picture, [left, top], [right, bottom]) {
  const [width, height] = [right - left, bottom - top];
  if (width === picture.width && height === picture.height) return picture;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = 3 * ((top + y) * picture.width + left);
    data.set(picture.data.subarray(from, from + 3 * width), 3 * y * width);
  }
  return { width, height, data };
}

/** @param {number} logit */
const sigmoid = (logit) => 1 / (1 + Math.exp(-within(logit, -100, 100)));

/** By how much the line between the eyes falls, clockwise. @param {Point[]} eyes right, left */
const rollOf = ([right, left]) => Math.atan2(left[1] - right[1], left[0] - right[0]);

/** An angle in (-pi, pi]. @param {number} angle */
const turnedTo = (angle) => angle - 2 * Math.PI * Math.ceil((angle - Math.PI) / (2 * Math.PI));

/**
 * The finder's boxes, the likeliest first, one for each face.
 *
 * @param {ArrayLike<number>} numbers 2304 x 16
 * @param {ArrayLike<number>} logits 2304
 * @returns {Box[]} in pixels of the square, counted from its edge
 */
export function decodeBoxes(numbers, logits) {
  const found = [];
  for (let i = 0; i < logits.length; i++) {
    const score = sigmoid(logits[i]);
    if (!(score >= LEAST_SCORE)) continue;
    const anchor = [(i % CELLS) + 0.5, Math.floor(i / CELLS) + 0.5].map((n) => n * (SIDE / CELLS));
    const pair = (k) => [numbers[NUMBERS * i + 2 * k], numbers[NUMBERS * i + 2 * k + 1]];
    const place = (k) => pair(k).map((n, axis) => n + anchor[axis]);
    const [[x, y], [width, height]] = [place(0), pair(1)];
    const corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
    found.push({ score, corners, eyes: [place(2), place(3)] });
  }
  return merged(found.sort((one, other) => other.score - one.score));
}

/** The mean, weighted by score, of boxes that overlap. @param {Box[]} boxes @returns {Box[]} */
function merged(boxes) {
  const found = [];
  for (let left = boxes; left.length; ) {
    const [best] = left;
    const same = left.filter((box) => box === best || overlap(best, box) > SAME_FACE);
    left = left.filter((box) => !same.includes(box));
    const total = same.reduce((sum, box) => sum + box.score, 0);
    const mean = (of) => same.reduce((sum, box) => sum + (box.score / total) * of(box), 0);
    found.push({
      score: best.score,
      corners: best.corners.map((_, i) => mean((box) => box.corners[i])),
      eyes: best.eyes.map((eye, e) => eye.map((_, i) => mean((box) => box.eyes[e][i]))),
    });
  }
  return found;
}

/** The intersection of two boxes over their union. @param {Box} one @param {Box} other */
function overlap({ corners: a }, { corners: b }) {
  const area = (c) => Math.max(c[2] - c[0], 0) * Math.max(c[3] - c[1], 0);
  const shared = area([0, 1, 2, 3].map((i) => Math[i < 2 ? "max" : "min"](a[i], b[i])));
  return shared / Math.max(area(a) + area(b) - shared, 1e-9);
}

/**
 * The mesh's points.
 *
 * @param {ArrayLike<number>} numbers 468 x 3
 * @returns {Point[]} in pixels of the square, counted from the middle of its first pixel
 */
export function decodeMesh(numbers) {
  // The mesh counts from a pixel's corner.
  return Array.from({ length: MESH_POINTS }, (_, i) => [
    numbers[3 * i] - 0.5,
    numbers[3 * i + 1] - 0.5,
  ]);
}

/**
 * The five points of a mesh: right eye, left eye, nose tip, right and left mouth corner.
 *
 * @param {Point[]} mesh
 * @returns {Point[]}
 */
export function fivePoints(mesh) {
  const mean = (list) =>
    [0, 1].map((axis) => list.reduce((sum, i) => sum + mesh[i][axis], 0) / list.length);
  return [mean(RIGHT_EYE), mean(LEFT_EYE), mesh[NOSE_TIP], mesh[MOUTH_RIGHT], mesh[MOUTH_LEFT]];
}

/** The ends of points along each axis: [low, high]. @param {Point[]} points @returns {Point[]} */
const ends = (points) =>
  [0, 1].map((axis) => {
    const values = points.map((point) => point[axis]);
    return [Math.min(...values), Math.max(...values)];
  });

/** The middle of points' ends. @param {Point[]} points @returns {Point} */
const middle = (points) => ends(points).map(([low, high]) => (low + high) / 2);

/**
 * Where faces are searched: the whole photo, on each side if asked, then with room around it for a
 * face that touches the frame, then the middle of a large one for small faces.
 */
function* views({ width, height }, anySide) {
  const centre = [(width - 1) / 2, (height - 1) / 2];
  const side = Math.max(width, height);
  for (const quarter of anySide ? [0, 2, 1, 3] : [0]) {
    yield new View(centre, side, (quarter * Math.PI) / 2);
  }
  for (const zoom of SEARCH.ZOOMS) {
    if (zoom > 1 || zoom * side >= SEARCH.LEAST_CLOSER) yield new View(centre, zoom * side, 0);
  }
}

/** The networks that find a face. */
class FaceFinder {
  /** @param {import("@litertjs/core").CompiledModel} finder @param {same} mesh */
  constructor(finder, mesh) {
    this.finder = finder;
    this.mesh = mesh;
  }

  /**
   * The largest face of a photo; null where there is none. `others`: further faces whose side is
   * at least `secondFace` of its own.
   *
   * @param {Picture} photo
   * @param {{secondFace: number, anySide: boolean}} options
   * @returns {Promise<{turns: number, points: Point[], others: number, photo: Picture} | null>}
   */
  async locate(photo, { secondFace, anySide }) {
    let faces = await this.search(photo, anySide);
    let turns = 0;
    if (anySide && faces.length) {
      turns = (rint(largest(faces).roll / (Math.PI / 2)) + 4) % 4;
      if (turns) {
        // A card on its side gives the face of an upright one.
        photo = turned(photo, turns);
        faces = await this.search(photo, false);
      }
    }
    if (!faces.length) return null;
    const main = largest(faces);
    const others = faces.filter((face) => face !== main && face.side >= secondFace * main.side);
    return { turns, points: fivePoints(main.mesh), others: others.length, photo };
  }

  /** The faces of the first view that shows any. @param {Picture} photo */
  async search(photo, anySide) {
    for (const view of views(photo, anySide)) {
      const faces = await this.faces(photo, view, anySide ? Math.PI : SEARCH.MOST_ROLL);
      if (faces.length) return faces;
    }
    return [];
  }

  /** The faces that the finder sees in a view and the mesh takes for faces, too. */
  async faces(photo, view, mostRoll) {
    const found = [];
    for (const box of (await this.boxes(view.of(photo))).slice(0, SEARCH.MOST_BOXES)) {
      const [left, top, right, bottom] = box.corners;
      const centre = view.out([(left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5]);
      const side = Math.max(right - left, bottom - top) * view.scale;
      const roll = rollOf(box.eyes.map((eye) => view.out(eye)));
      const face = await this.read(photo, new View(centre, SEARCH.MESH_ROOM * side, roll));
      if (!face || Math.abs(face.roll) > mostRoll) continue;
      if (box.score < SEARCH.CLEAR_SCORE && !(await this.isClear(photo, face))) continue;
      if (found.every((other) => areApart(face, other))) found.push(face);
    }
    return found;
  }

  /** The face in a view: read, turned upright by what was read, and read again until level. */
  async read(photo, view) {
    let best = 0;
    for (let reads = 1; reads <= SEARCH.READS; reads++) {
      const [numbers, logit] = await this.run(this.mesh, view.of(photo), 1 / 255, 0);
      const points = decodeMesh(numbers);
      const mesh = points.map((point) => view.out(point));
      const roll = rollOf(fivePoints(mesh));
      const side = Math.max(...ends(points).map(([low, high]) => high - low)) * view.scale;
      const score = sigmoid(logit[0]);
      best = Math.max(best, score);
      const isFace = score >= SEARCH.MESH_SCORE;
      const isLevel = Math.abs(turnedTo(roll - view.roll)) < SEARCH.LEVEL;
      const enough = reads >= SEARCH.LEAST_READS;
      if (enough && isFace && isLevel) return { mesh, roll, side };
      if (best < SEARCH.HOPELESS_SCORES[enough ? 1 : 0]) return null;
      view = new View(view.out(middle(points)), SEARCH.MESH_ROOM * side, roll);
    }
    return null;
  }

  /** Whether the finder, too, takes a face for one, and for one that is this way up. */
  async isClear(photo, { mesh, side, roll }) {
    const best = async (turn) => {
      const view = new View(middle(mesh), SEARCH.FINDER_ROOM * side, roll + turn);
      return Math.max(0, ...(await this.boxes(view.of(photo))).map((box) => box.score));
    };
    return (await best(0)) >= Math.max(SEARCH.UPRIGHT_SCORE, await best(Math.PI));
  }

  /** @param {Picture} square @returns {Promise<Box[]>} */
  async boxes(square) {
    const [numbers, logits] = await this.run(this.finder, square, 1 / 127.5, -1);
    return decodeBoxes(numbers, logits);
  }

  /** Run a network on a square; its outputs, the longer one first. */
  async run(model, square, scale, offset) {
    const numbers = Float32Array.from(square.data, (value) => value * scale + offset);
    const outputs = await run(model, [numbers, [1, SIDE, SIDE, 3]]);
    return outputs.sort((one, other) => other.length - one.length);
  }
}

/** @template {{side: number}} F @param {F[]} faces @returns {F} */
const largest = (faces) => faces.reduce((most, face) => (face.side > most.side ? face : most));

/** Whether two faces are not one, found twice. */
function areApart(one, other) {
  const mean = ({ mesh }) =>
    [0, 1].map((axis) => mesh.reduce((sum, point) => sum + point[axis], 0) / mesh.length);
  const [a, b] = [mean(one), mean(other)];
  return Math.hypot(a[0] - b[0], a[1] - b[1]) > Math.max(one.side, other.side) / 2;
}

/** Run a model of one input; its outputs in the model's order. */
async function run(model, [data, shape]) {
  const input = new Tensor(data, shape);
  const outputs = await model.run([input]);
  input.delete();
  return Promise.all(outputs.map(values));
}

/** Run a signature; its outputs by name. */
async function runNamed(model, signature, arrays) {
  const inputs = Object.fromEntries(
    Object.entries(arrays).map(([name, [data, shape]]) => [name, new Tensor(data, shape)]),
  );
  let outputs;
  try {
    outputs = await model.run(signature, inputs);
  } finally {
    Object.values(inputs).forEach((input) => input.delete());
  }
  const found = {};
  for (const [name, output] of Object.entries(outputs)) found[name] = await values(output);
  return found;
}

/** A tensor's values, from wherever it lies; the tensor is given back. */
async function values(tensor) {
  const found = (await tensor.data()).slice();
  tensor.delete();
  return found;
}

// ---- Verifying

const FORMAT = 2;

/** An exported verifier. */
export class Verifier {
  /** Use `Verifier.load`. */
  constructor(description, { network, accelerator }, finder) {
    this.description = description;
    this.network = network;
    this.accelerator = accelerator;
    this.finder = finder;
  }

  /**
   * Load the bundle of a folder: verifier.json and the files that it names, each checked.
   *
   * @param {string | URL} folder ends in a slash
   * @param {{accelerator?: "wasm" | "webgpu"}} [options] where the embedding network is to run;
   *   `accelerator` of the verifier says where it does: "wasm" where another cannot run it
   * @returns {Promise<Verifier>}
   * @throws {Error} in one sentence, where a file is missing or another one
   */
  static async load(folder, { accelerator = "wasm" } = {}) {
    const base = new URL(folder, globalThis.location?.href);
    const json = await fetched(new URL("verifier.json", base));
    const description = JSON.parse(new TextDecoder().decode(json));
    if (description.format !== FORMAT) {
      throw new Error(`verifier.json has format ${description.format}; this page reads ${FORMAT}.`);
    }
    const { model, finder, mesh } = description;
    const [network, find, read] = await Promise.all(
      [model, finder, mesh].map((file) => checked(base, file)),
    );
    return new Verifier(
      description,
      await compiled(network, accelerator, description.input),
      new FaceFinder(
        await loadAndCompile(find, { accelerator: "wasm" }),
        await loadAndCompile(read, { accelerator: "wasm" }),
      ),
    );
  }

  /**
   * Find and align the face of a photo, without a look at its quality.
   *
   * @param {Photo} photo
   * @param {{anySide?: boolean}} [options] `anySide`: a card, which may lie on any side
   * @returns {Promise<Face>}
   * @throws {CaptureError} `no_face`, `several_faces`, `wrong_points` or `face_too_small`
   */
  async findFace(photo, { anySide = false } = {}) {
    const { capture, input } = this.description;
    const found = await this.finder.locate(photo, { secondFace: capture.second_face, anySide });
    if (!found) {
      throw new CaptureError(
        "no_face",
        "No face was found; show the whole face, from the front and upright.",
      );
    }
    if (found.others) {
      throw new CaptureError("several_faces", "There is more than one face; show only your own.");
    }
    // Not a number where the points lie in one place.
    if (!(residual(found.points, input) <= capture.max_residual)) {
      throw new CaptureError(
        "wrong_points",
        "Eyes, nose and mouth do not lie as in a face seen from the front; look at the camera.",
      );
    }
    const [right, left] = found.points;
    const interocular = Math.hypot(left[0] - right[0], left[1] - right[1]) * photo.scale;
    if (interocular < capture.min_interocular) {
      throw new CaptureError("face_too_small", "The face is too small; move the camera closer.");
    }
    const aligned = align(found.photo, found.points, input);
    return { points: found.points, turns: found.turns, aligned, interocular };
  }

  /**
   * Find, check and embed the face of a photo.
   *
   * @param {Photo} photo
   * @param {{anySide?: boolean}} [options] as `findFace`
   * @returns {Promise<Embedded>}
   * @throws {CaptureError} that says why the photo cannot be used
   */
  async embed(photo, options) {
    const face = await this.findFace(photo, options);
    checkQuality(face.aligned, this.description.capture);
    const { embedding, quality } = await this.embedAligned(face.aligned);
    if (!(quality >= this.description.capture.min_quality)) {
      throw new CaptureError(
        "doubtful",
        "This is hardly to be seen as a face; show your own, from the front, in even light.",
      );
    }
    return { embedding, quality, face };
  }

  /**
   * Embed an aligned face, 178 x 218, whatever its quality.
   *
   * @param {Picture} aligned
   * @returns {Promise<{embedding: Float32Array, quality: number}>}
   */
  async embedAligned(aligned) {
    return this.embedCanvas(stretched(aligned, this.description.input.canvas_width));
  }

  /**
   * Embed an aligned face that is stretched to the canvas, 218 x 218.
   *
   * @param {Picture} canvas
   * @returns {Promise<{embedding: Float32Array, quality: number}>}
   */
  async embedCanvas(canvas) {
    const { embedding, quality } = await embedded(this.network, canvas);
    return { embedding, quality: quality[0] };
  }

  /**
   * Decide whether two embeddings are one person's.
   *
   * @param {Float32Array} first
   * @param {Float32Array} second
   * @returns {Promise<Comparison>}
   */
  async compare(first, second) {
    const { theta, thetas } = await compared(this.network, [first, second]);
    const { threshold, members } = this.description;
    const named = Object.fromEntries(members.map(({ name }, i) => [name, thetas[i]]));
    return { accepted: theta[0] < threshold, theta: theta[0], thetas: named, threshold };
  }
}

/** What a network's signature `compare` gives for two embeddings. */
function compared(network, [first, second]) {
  const shape = [1, first.length];
  return runNamed(network, "compare", { first: [first, shape], second: [second, shape] });
}

/** What a network's signature `embed` gives for a canvas. */
function embedded(network, { data, width, height }) {
  return runNamed(network, "embed", { photo: [data, [1, height, width, 3]] });
}

// Radians: the tolerances of the test vectors.
const ALIKE = { embedding: 0.1, theta: 0.05 };

/**
 * The network on the accelerator that is asked for, or on the processor where that does not run it
 * or gives other results: operations that it lacks may show when the network first runs, or in
 * what it gives alone.
 *
 * @param {Uint8Array} file @param {string} wanted @param {object} input of verifier.json
 * @returns {Promise<{network: object, accelerator: string}>}
 */
async function compiled(file, wanted, input) {
  const plain = await loadAndCompile(file, { accelerator: "wasm" });
  if (wanted === "wasm") return { network: plain, accelerator: "wasm" };
  let network;
  try {
    network = await loadAndCompile(file, { accelerator: wanted });
    await checkAlike(network, plain, input);
  } catch (error) {
    console.warn(`The network does not run on ${wanted}: ${error.message}`);
    network?.delete();
    return { network: plain, accelerator: "wasm" };
  }
  plain.delete();
  return { network, accelerator: wanted };
}

/** Throw where two compiled networks embed patterns, or compare them, unlike each other. */
async function checkAlike(network, plain, { canvas_width: width, aligned_height: height }) {
  const pattern = (period) => (_, i) =>
    128 + 100 * Math.sin((i % (3 * width)) / period + i / (60 * width));
  const [found, wanted] = [[], []];
  for (const period of [40, 25]) {
    const data = Uint8Array.from({ length: 3 * width * height }, pattern(period));
    found.push((await embedded(network, { width, height, data })).embedding);
    wanted.push((await embedded(plain, { width, height, data })).embedding);
  }
  const off = found.map((embedding, i) => angle(embedding, wanted[i]));
  const [theta, other] = [await compared(network, wanted), await compared(plain, wanted)].map(
    (result) => result.theta[0],
  );
  // Not a number where an embedding has no direction.
  if (!(Math.max(...off) <= ALIKE.embedding && Math.abs(theta - other) <= ALIKE.theta)) {
    throw new Error("its results are others than the processor's");
  }
}

/** The angle of two vectors in radians; see `angle` of the Python package. */
function angle(first, second) {
  const [a, b] = [first, second].map((vector) => Math.hypot(...vector));
  const [apart, along] = [-1, 1].map((sign) =>
    Math.hypot(...first.map((x, i) => x / a + (sign * second[i]) / b)),
  );
  return 2 * Math.atan2(apart, along);
}

/** @param {Picture} aligned @param {object} limits `capture` of verifier.json */
function checkQuality(aligned, limits) {
  const light = brightness(aligned);
  if (light < limits.min_brightness) {
    throw new CaptureError("too_dark", "The face is too dark; use more light.");
  }
  if (light > limits.max_brightness) {
    throw new CaptureError(
      "washed_out",
      "The face is washed out; avoid flash, glare and bright light on it.",
    );
  }
  if (sharpness(aligned) < limits.min_sharpness) {
    throw new CaptureError("blurred", "The face is blurred; hold still and use more light.");
  }
}

// A face that is less sharp, or brighter, is often not recognised; see docs/verify.md.
const SHARP = 0.42;
const BRIGHT = 220;

/**
 * What may keep the person on an aligned face from being recognised, each with what to do.
 *
 * @param {Picture} aligned
 * @returns {string[]}
 */
export function advice(aligned) {
  const said = [];
  if (brightness(aligned) > BRIGHT) {
    said.push("The face is rather bright; avoid flash, glare and bright light on it.");
  }
  if (sharpness(aligned) < SHARP) {
    said.push("The face is rather blurred; hold still and use more light.");
  }
  return said;
}

/** @param {URL} url @returns {Promise<Uint8Array>} */
async function fetched(url) {
  const answer = await fetch(url).catch(() => null);
  const name = url.pathname.split("/").pop();
  if (!answer?.ok) throw new Error(`${name} is missing; it belongs beside verifier.json.`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** The file that verifier.json names, with its SHA-256 checked. */
async function checked(base, { file, sha256 }) {
  const data = await fetched(new URL(file, base));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) {
    throw new Error(`${file} is not the file that verifier.json describes; bring both again.`);
  }
  return data;
}
