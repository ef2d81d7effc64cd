// @vitest-environment node
import { readFileSync } from "node:fs";
import { build } from "esbuild";
import { expect, it } from "vitest";

const here = (path: string) => new URL(path, import.meta.url);

async function builtCss(): Promise<string> {
  const result = await build({
    entryPoints: [here("../src/styles/index.css").pathname],
    bundle: true,
    write: false,
    target: ["chrome111", "safari16.4"],
  });
  return result.outputFiles[0]?.text ?? "";
}

it("styles nothing outside of the root class", async () => {
  const css = (await builtCss()).replace(/\/\*.*?\*\//gs, "");
  const heads = [...css.matchAll(/([^{};]+)\{/g)].map((match) => (match[1] ?? "").trim());
  const selectors = heads.filter((head) => !head.startsWith("@") && !/^(from|to|\d+%)$/.test(head));
  expect(selectors.length).toBeGreaterThan(100);
  expect(
    selectors.flatMap((head) => head.split(/,(?![^(]*\))/)).filter((part) => !part.trim().startsWith(".omniq")),
  ).toEqual([]);
});

it("names its animations and containers so that they meet no others", async () => {
  const css = await builtCss();
  const names = [...css.matchAll(/@(?:keyframes|container) ([\w-]+)/g)].map((match) => match[1] ?? "");
  expect(names.length).toBeGreaterThan(4);
  expect(names.filter((name) => !/^(oq-|omniq)/.test(name))).toEqual([]);
});

it("locks versions without download addresses", () => {
  expect(readFileSync(here("../package-lock.json"), "utf8")).not.toMatch(/https?:|"resolved"/);
});

it("pins its dependencies exactly", () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(here("../package.json"), "utf8"));
  const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(
    ([, version]) => !/^\d+\.\d+\.\d+$/.test(String(version)),
  );
  expect(loose).toEqual([]);
});
