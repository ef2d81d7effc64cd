export type ThemeChoice = "auto" | "light" | "dark";
export type Theme = "light" | "dark";

const DARK = "(prefers-color-scheme: dark)";
const WATCHED = ["class", "theme", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind"];

export function parseTheme(value: unknown): ThemeChoice {
  return value === "light" || value === "dark" ? value : "auto";
}

/** What the page around the view says about itself; null if it says nothing. */
export function hostTheme(doc: Document): Theme | null {
  const { body, documentElement: html } = doc;
  const jupyter = body.dataset.jpThemeLight; // JupyterLab and Notebook 7
  if (jupyter !== undefined) return jupyter === "false" ? "dark" : "light";
  const vscode = body.dataset.vscodeThemeKind ?? body.className;
  if (/\bvscode-(dark|high-contrast)(?!-light)\b/.test(vscode)) return "dark";
  if (/\bvscode-(light|high-contrast-light)\b/.test(vscode)) return "light";
  const named = html.getAttribute("theme") ?? html.dataset.theme; // Colab; the documentation's pages
  if (named === "dark" || named === "light") return named;
  if (body.classList.contains("dark") || body.classList.contains("dark-theme")) return "dark"; // marimo
  return null;
}

export function resolveTheme(choice: ThemeChoice, host: Theme | null, system: Theme): Theme {
  return choice === "auto" ? (host ?? system) : choice;
}

/**
 * Keeps `data-theme` on the root right while the notebook's theme changes. `data-host` marks that the notebook's own
 * colours fit the theme, so that the style sheet may use them.
 */
export function followTheme(root: HTMLElement, choice: () => ThemeChoice): { apply(): void; dispose(): void } {
  const doc = root.ownerDocument;
  const system = doc.defaultView?.matchMedia?.(DARK) ?? null;
  const apply = () => {
    const host = hostTheme(doc);
    const theme = resolveTheme(choice(), host, system?.matches ? "dark" : "light");
    root.dataset.theme = theme;
    root.toggleAttribute("data-host", theme === host);
  };
  const observer = new MutationObserver(apply);
  for (const element of [doc.documentElement, doc.body]) {
    observer.observe(element, { attributes: true, attributeFilter: WATCHED });
  }
  system?.addEventListener("change", apply);
  apply();
  return {
    apply,
    dispose() {
      observer.disconnect();
      system?.removeEventListener("change", apply);
    },
  };
}
