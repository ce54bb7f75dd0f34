// The page: two photos in, a decision out. All arithmetic is in faceverify.js.
import { getWebGpuDevice, loadLiteRt } from "@litertjs/core";
import {
  advice,
  CaptureError,
  decodePhoto,
  fromImage,
  toImageData,
  turned,
  Verifier,
} from "./faceverify.js";

const READY = {
  webgpu: "Ready, on this device's graphics processor (WebGPU).",
  wasm: "Ready, on the processor: this browser gives no WebGPU.",
  refused: "Ready, on the processor: the network does not run on this browser's WebGPU.",
};
const CAMERA = {
  NotAllowedError: "The camera was refused; allow it in the browser's settings, or choose a file.",
  NotFoundError: "There is no camera; choose a file.",
  NotReadableError: "Another program uses the camera; close it, or choose a file.",
};
const NO_CAMERA = "The camera cannot be used here; choose a file.";
const SHOWN = 480; // pixels of the longest side of a shown photo
const $ = (selector, root = document) => root.querySelector(selector);

/** Load the verifier, on WebGPU where the browser gives it and the network runs there. */
async function load() {
  await loadLiteRt("./litert/wasm/");
  const asked = getWebGpuDevice() ? "webgpu" : "wasm";
  const verifier = await Verifier.load("./bundle/", { accelerator: asked });
  return { verifier, engine: verifier.accelerator === asked ? asked : "refused" };
}

/** One of the two photos: how it is taken, what was found in it. */
class Slot {
  constructor(name, title, camera) {
    this.name = name;
    this.title = title;
    this.camera = camera;
    this.taken = 0;
    this.embedded = null;
    this.root = this.built();
    this.input = $("input", this.root);
    this.input.addEventListener("change", () => {
      const [file] = this.input.files;
      this.input.value = ""; // the same file may be chosen again
      if (file) this.use(() => decodePhoto(file));
    });
    $(".camera", this.root).addEventListener("click", () => this.startCamera());
    $(".take", this.root).addEventListener("click", () => this.takePhoto());
    $(".cancel", this.root).addEventListener("click", () => this.stopCamera());
  }

  built() {
    const root = $("#slot").content.firstElementChild.cloneNode(true);
    root.id = this.name;
    root.setAttribute("aria-labelledby", `${this.name}-title`);
    $("h2", root).id = `${this.name}-title`;
    $("h2", root).textContent = this.title;
    $("input", root).setAttribute("aria-label", `${this.title}: choose a photo`);
    $(".camera", root).setAttribute("aria-label", `${this.title}: use the camera`);
    $(".slots").append(root);
    return root;
  }

  /** Read a photo, find and embed its face, and show it or what is wrong. */
  async use(read) {
    const taken = ++this.taken;
    this.embedded = null;
    this.say("Looking for the face…");
    $(".found", this.root).hidden = true;
    showDecision();
    try {
      const photo = await read();
      const embedded = await inTurn((verifier) =>
        verifier.embed(photo, { anySide: this.name === "card" }),
      );
      if (taken !== this.taken) return; // another photo was chosen meanwhile
      this.embedded = embedded;
      this.show(photo, embedded.face);
    } catch (error) {
      if (taken !== this.taken) return;
      if (!(error instanceof CaptureError)) console.error(error);
      this.say(error.message, error.code ?? "error");
    }
    showDecision();
  }

  /** @param {string} text @param {string} [code] of what is wrong */
  say(text, code = "") {
    const message = $(".message", this.root);
    message.textContent = text;
    message.dataset.code = code;
    message.classList.toggle("wrong", code !== "");
  }

  show(photo, face) {
    this.say("A face was found.");
    const upright = turned(photo, face.turns);
    const scale = Math.min(SHOWN / Math.max(upright.width, upright.height), 1);
    draw($(".photo", this.root), upright, scale, face.points);
    draw($(".aligned", this.root), face.aligned, 1, []);
    $(".photo", this.root).setAttribute("aria-label", `${this.title}, with the face's five points`);
    $(".aligned", this.root).setAttribute("aria-label", `${this.title}: the aligned face`);
    $(".found", this.root).hidden = false;
  }

  async startCamera() {
    this.say("");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: this.camera, width: { ideal: 1920 }, height: { ideal: 1080 } },
      });
    } catch (error) {
      this.say(CAMERA[error.name] ?? NO_CAMERA, "camera");
      return;
    }
    const video = $("video", this.root);
    video.srcObject = this.stream;
    $(".live", this.root).hidden = false;
    await video.play();
    $(".take", this.root).focus();
  }

  takePhoto() {
    const video = $("video", this.root);
    const photo = fromImage(video, video.videoWidth, video.videoHeight);
    this.stopCamera();
    this.use(async () => photo);
  }

  stopCamera() {
    this.stream?.getTracks().forEach((track) => track.stop());
    $("video", this.root).srcObject = null;
    $(".live", this.root).hidden = true;
    $(".camera", this.root).focus();
  }
}

/** Draw a picture with points on it. */
function draw(canvas, picture, scale, points) {
  const whole = new OffscreenCanvas(picture.width, picture.height);
  whole.getContext("2d").putImageData(toImageData(picture), 0, 0);
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const context = canvas.getContext("2d");
  context.drawImage(whole, 0, 0, canvas.width, canvas.height);
  for (const [x, y] of points) {
    context.beginPath();
    context.arc((x + 0.5) * scale, (y + 0.5) * scale, 4, 0, 2 * Math.PI);
    context.fillStyle = "#00e5ff";
    context.fill();
    context.strokeStyle = "black";
    context.stroke();
  }
}

/** Show the decision on both photos, or why there is none. */
async function showDecision() {
  const missing = slots.filter((slot) => !slot.embedded);
  if (missing.length) {
    const titles = missing.map((slot) => slot.title.toLowerCase()).join(" and ");
    decide(`There is none yet: a photo that can be used is missing (${titles}).`, "");
    $("#scale").hidden = true;
    return;
  }
  const [first, second] = slots.map((slot) => slot.embedded.embedding);
  const found = await inTurn((verifier) => verifier.compare(first, second));
  if (slots.some((slot, i) => slot.embedded?.embedding !== [first, second][i])) return;
  const { accepted, theta, threshold } = found;
  const where = `theta is ${theta.toFixed(3)}; below ${threshold} the photos are accepted as one person's`;
  if (accepted) {
    decide(`Accepted: one person (${where}).`, "yes");
  } else {
    const better = slots.flatMap(({ title, embedded }) =>
      advice(embedded.face.aligned).map((said) => ` ${title}: ${said}`),
    );
    decide(`Rejected: not shown to be one person (${where}).${better.join("")}`, "no");
  }
  showScale(theta, threshold, where);
  $("#decision").dataset.theta = theta;
}

function decide(text, kind) {
  $("#decision").textContent = text;
  $("#decision").className = kind;
  delete $("#decision").dataset.theta;
}

function showScale(theta, threshold, text) {
  const [at, limit] = [theta, threshold].map((angle) => (1000 * angle) / Math.PI);
  const set = (selector, values) =>
    Object.entries(values).forEach(([name, value]) => $(selector).setAttribute(name, value));
  set("#scale .same", { width: limit });
  set("#scale .different", { x: limit, width: 1000 - limit });
  set("#scale .threshold", { x1: limit, x2: limit });
  set("#scale .theta", { transform: `translate(${at} 0)` });
  set("#scale .middle", { x: limit });
  $("#scale .middle").textContent = String(threshold);
  $("#scale-text").textContent = `On a scale from 0 to pi, ${text}.`;
  $("#scale").hidden = false;
}

const loading = load();
let last = loading;

/** Run work with the verifier, after all work before it: the networks take one call at a time. */
function inTurn(work) {
  const result = last.catch(() => {}).then(async () => work((await loading).verifier));
  last = result;
  return result;
}

const slots = [
  new Slot("card", "Identity card", "environment"),
  new Slot("live", "Live photo", "user"),
];
loading.then(
  ({ engine }) => {
    $("#engine").textContent = READY[engine];
    $("#engine").dataset.engine = engine;
  },
  (error) => {
    $("#engine").textContent = `The verifier cannot be loaded: ${error.message}`;
    $("#engine").classList.add("wrong");
  },
);
