// Builds the bundle into the Python package. `--check` builds in memory and fails when the committed bundle differs.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build as esbuild } from "esbuild";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const outDir = resolve(root, "../omniq_nb/omniq/notebook/static");
const BUNDLED = ["preact", "@preact/signals", "@preact/signals-core"];

const options = {
  absWorkingDir: root,
  entryPoints: { omniq: "src/index.tsx" },
  outdir: outDir,
  bundle: true,
  format: "esm",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  target: ["chrome111", "firefox113", "safari16.4"],
  banner: {
    js: "/* OmniQ, MIT. Contains Preact and Preact Signals, MIT: see THIRD_PARTY_LICENSES.txt */",
    css: "/* OmniQ, MIT */",
  },
  logLevel: "warning",
};

function licences() {
  const texts = BUNDLED.map((name) => {
    const { version } = JSON.parse(readFileSync(resolve(root, "node_modules", name, "package.json"), "utf8"));
    const text = readFileSync(resolve(root, "node_modules", name, "LICENSE"), "utf8").trim();
    return `${name} ${version}\n\n${text}\n`;
  });
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

async function outputs() {
  const result = await esbuild({ ...options, write: false });
  const files = result.outputFiles.map((file) => ({ path: file.path, text: file.text }));
  return [...files, { path: resolve(outDir, "THIRD_PARTY_LICENSES.txt"), text: licences() }];
}

function committed(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

if (process.argv.includes("--check")) {
  const stale = (await outputs()).filter((file) => committed(file.path) !== file.text);
  for (const file of stale) process.stderr.write(`${file.path} is out of date: run npm run build\n`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  mkdirSync(outDir, { recursive: true });
  for (const file of await outputs()) writeFileSync(file.path, file.text);
}
