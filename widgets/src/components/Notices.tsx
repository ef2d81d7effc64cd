import { useComputed } from "@preact/signals";
import { usePage } from "../page";
import { Glyph } from "./icons";

const SHOWN = 3;

/** Lies over the view, so that an error moves nothing; also the place where a screen reader hears of it. */
export function Notices() {
  const { commands } = usePage();
  const errors = useComputed(() =>
    [...commands.states.value].flatMap(([key, state]) =>
      state.phase === "error" ? [{ key, text: state.message }] : [],
    ),
  ).value;
  return (
    <div class="oq-notices" role="status" aria-live="polite">
      {errors.slice(-SHOWN).map(({ key, text }) => (
        <p key={key} class="oq-notice">
          <Glyph name="alert" />
          <span>
            <b>{describe(key)}:</b> {text}
          </span>
          <button type="button" class="oq-icon-button" aria-label="Dismiss" onClick={() => commands.dismiss(key)}>
            <Glyph name="close" />
          </button>
        </p>
      ))}
    </div>
  );
}

function describe(key: string): string {
  const [op = "", ...target] = key.split(" ");
  const words = op.replaceAll("_", " ");
  return `${words.charAt(0).toUpperCase()}${words.slice(1)} ${target.join(" ")}`.trim();
}
