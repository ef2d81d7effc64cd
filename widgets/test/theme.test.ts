import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { followTheme, hostTheme, parseTheme, resolveTheme } from "../src/theme";

const { body, documentElement: html } = document;

beforeEach(() => {
  for (const element of [body, html]) for (const { name } of [...element.attributes]) element.removeAttribute(name);
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("hostTheme", () => {
  it.each<[string, () => void, string | null]>([
    ["nothing", () => {}, null],
    ["JupyterLab, light", () => body.setAttribute("data-jp-theme-light", "true"), "light"],
    ["JupyterLab, dark", () => body.setAttribute("data-jp-theme-light", "false"), "dark"],
    ["VS Code, dark", () => body.classList.add("vscode-dark"), "dark"],
    ["VS Code, light", () => body.classList.add("vscode-light"), "light"],
    ["VS Code, high contrast", () => body.classList.add("vscode-high-contrast"), "dark"],
    ["VS Code, light high contrast", () => body.classList.add("vscode-high-contrast-light"), "light"],
    ["VS Code by attribute", () => body.setAttribute("data-vscode-theme-kind", "vscode-dark"), "dark"],
    ["Colab, dark", () => html.setAttribute("theme", "dark"), "dark"],
    ["Colab, light", () => html.setAttribute("theme", "light"), "light"],
    ["a documentation page", () => html.setAttribute("data-theme", "dark"), "dark"],
    ["marimo", () => body.classList.add("dark"), "dark"],
  ])("%s", (_, prepare, expected) => {
    prepare();
    expect(hostTheme(document)).toBe(expected);
  });
});

it("puts the choice before the notebook, and the notebook before the system", () => {
  expect(resolveTheme("light", "dark", "dark")).toBe("light");
  expect(resolveTheme("auto", "dark", "light")).toBe("dark");
  expect(resolveTheme("auto", null, "dark")).toBe("dark");
  expect(parseTheme("dark")).toBe("dark");
  expect(parseTheme("solarized")).toBe("auto");
});

describe("followTheme", () => {
  const watched = () => {
    const root = document.createElement("div");
    return { root, theme: followTheme(root, () => "auto") };
  };

  it("changes with the notebook, and uses its colours", async () => {
    body.setAttribute("data-jp-theme-light", "true");
    const { root, theme } = watched();
    expect(root.dataset.theme).toBe("light");
    expect(root.hasAttribute("data-host")).toBe(true);
    body.setAttribute("data-jp-theme-light", "false");
    await vi.waitFor(() => expect(root.dataset.theme).toBe("dark"));
    theme.dispose();
    body.setAttribute("data-jp-theme-light", "true");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(root.dataset.theme).toBe("dark");
  });

  it("does not use the colours of a notebook in the other theme", () => {
    body.setAttribute("data-jp-theme-light", "true");
    const root = document.createElement("div");
    const theme = followTheme(root, () => "dark");
    expect(root.dataset.theme).toBe("dark");
    expect(root.hasAttribute("data-host")).toBe(false);
    theme.dispose();
  });

  it("follows the system where the page says nothing", () => {
    const listeners = new Set<() => void>();
    const query = {
      matches: true,
      addEventListener: (_: string, listener: () => void) => listeners.add(listener),
      removeEventListener: (_: string, listener: () => void) => listeners.delete(listener),
    };
    vi.spyOn(window, "matchMedia").mockReturnValue(query as unknown as MediaQueryList);
    const { root, theme } = watched();
    expect(root.dataset.theme).toBe("dark");
    query.matches = false;
    for (const listener of listeners) listener();
    expect(root.dataset.theme).toBe("light");
    theme.dispose();
    expect(listeners.size).toBe(0);
  });
});
