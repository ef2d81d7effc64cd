// Serves the views on a scripted store: see dev/harness.ts for what the address can choose.
import { resolve } from "node:path";
import { context } from "esbuild";

const root = resolve(import.meta.dirname, "..");
const server = await context({
  absWorkingDir: root,
  entryPoints: ["dev/harness.ts"],
  outdir: "dev",
  bundle: true,
  format: "esm",
  jsx: "automatic",
  jsxImportSource: "preact",
  write: false,
  logLevel: "warning",
});
const { port } = await server.serve({ servedir: "dev", host: "127.0.0.1", port: Number(process.argv[2] ?? 8123) });
process.stdout.write(`http://127.0.0.1:${port}/?view=dashboard&scene=busy\n`);
