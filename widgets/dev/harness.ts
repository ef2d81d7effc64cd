/** ?view=dashboard&scene=busy&theme=auto&width=960&host=lab-dark&copies=1&single=1: one view of the bundle on a scripted store. */
import widget from "../src/index";
import { FakeKernel, SCENES } from "./kernel";

const query = new URLSearchParams(location.search);
const host = query.get("host") ?? "";
if (host.startsWith("lab")) {
  const light = host === "lab-light";
  document.body.dataset.jpThemeLight = String(light);
  document.body.classList.add(light ? "jp-light" : "jp-dark");
}
if (host.startsWith("vscode")) document.body.classList.add(host);

const scene = SCENES[query.get("scene") ?? "busy"] ?? SCENES.busy;
if (scene === undefined) throw new Error("no such scene");
const kernel = new FakeKernel(
  query.get("view") ?? "dashboard",
  scene,
  query.get("theme") ?? "auto",
  query.has("single"),
);
for (let copy = 0; copy < Number(query.get("copies") ?? 1); copy += 1) {
  const cell = document.createElement("div");
  cell.className = "cell";
  cell.style.width = `${query.get("width") ?? 960}px`;
  document.body.append(cell);
  widget.render({ model: kernel.model, el: cell });
}
kernel.play();
Object.assign(globalThis, { kernel });
