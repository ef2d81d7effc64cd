// Every widget instance carries the bundle, so its size is a budget: js + css, minified, not compressed.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const BUDGET = 150_000;
const dir = new URL("../../omniq_nb/omniq/notebook/static/", import.meta.url);
let total = 0;
for (const name of ["omniq.js", "omniq.css"]) {
  const bytes = readFileSync(new URL(name, dir));
  total += bytes.length;
  process.stdout.write(`${name}  ${bytes.length} bytes  (${gzipSync(bytes).length} gzipped)\n`);
}
process.stdout.write(`total  ${total} of ${BUDGET} bytes\n`);
if (total > BUDGET) process.exitCode = 1;
