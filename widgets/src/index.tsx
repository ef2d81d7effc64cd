import "./styles/index.css";
import { signal } from "@preact/signals";
import { render as mount } from "preact";
import type { RenderProps } from "./host";
import { Page, PageProvider } from "./page";
import { parseView } from "./protocol";
import { followTheme, parseTheme } from "./theme";
import { View } from "./views/View";

function render({ model, el, signal: abort }: RenderProps): () => void {
  const root = el.ownerDocument.createElement("div");
  root.className = "omniq";
  // Keys pressed in the view are not the notebook's: "d d" on a button must not delete the cell.
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  const keepKeys = (event: Event) => event.stopPropagation();
  root.addEventListener("keydown", keepKeys);
  el.append(root);

  const theme = followTheme(root, () => parseTheme(model.get("theme")));
  const view = signal(parseView(model.get("view")));
  const showView = () => {
    view.value = parseView(model.get("view"));
  };
  model.on("change:theme", theme.apply);
  model.on("change:view", showView);

  const page = new Page(model);
  mount(
    <PageProvider value={page}>
      <View name={view} />
    </PageProvider>,
    root,
  );

  let alive = true;
  const dispose = () => {
    if (!alive) return;
    alive = false;
    abort?.removeEventListener("abort", dispose);
    model.off("change:theme", theme.apply);
    model.off("change:view", showView);
    mount(null, root);
    page.dispose();
    theme.dispose();
    root.removeEventListener("keydown", keepKeys);
    root.remove();
  };
  if (abort?.aborted) dispose();
  else abort?.addEventListener("abort", dispose);
  return dispose;
}

export default { render };
