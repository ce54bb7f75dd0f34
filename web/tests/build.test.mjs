// What the build says where it cannot be made.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const BUILD = fileURLToPath(new URL("../build.mjs", import.meta.url));

test("without a verifier, or with one of an older format, the build says so in one line", () => {
  const folder = mkdtempSync(join(tmpdir(), "bundle-"));
  for (const part of ["is missing", "older format"]) {
    const { status, stderr } = spawnSync("node", [BUILD, folder, join(folder, "site")]);
    assert.equal(status, 1);
    assert.match(String(stderr), new RegExp(`^.*verifier\\.json .*${part}.*\n$`));
    writeFileSync(join(folder, "verifier.json"), "{}");
  }
});
