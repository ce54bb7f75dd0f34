// Put the page and all that it loads into one folder: `node build.mjs [bundle] [site]`.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const [bundle = join(here, "../models"), site = join(here, "site")] = process.argv.slice(2);
const packages = join(here, "node_modules/@litertjs");
const json = join(bundle, "verifier.json");
if (!existsSync(json)) {
  console.error(`${json} is missing; bring the verifier there first`);
  process.exit(1);
}
const { model, finder, mesh } = JSON.parse(readFileSync(json, "utf8"));
if (!finder || !mesh) {
  console.error(`${json} names no face finder; it is of an older format`);
  process.exit(1);
}

rmSync(site, { recursive: true, force: true });
mkdirSync(join(site, "bundle"), { recursive: true });
for (const file of ["index.html", "page.css", "page.js", "faceverify.js"]) {
  cpSync(join(here, file), join(site, file));
}
cpSync(join(packages, "core/dist/index.js"), join(site, "litert/core.js"));
cpSync(join(packages, "wasm-utils/dist/index.js"), join(site, "litert/wasm-utils.js"));
cpSync(join(packages, "core/wasm"), join(site, "litert/wasm"), { recursive: true });
for (const file of ["verifier.json", model.file, finder.file, mesh.file]) {
  cpSync(join(bundle, file), join(site, "bundle", file));
}
