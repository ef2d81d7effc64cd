export function Traceback({ text, summary, open = false }: { text: string; summary: string; open?: boolean }) {
  return (
    <details class="oq-details" open={open}>
      <summary>{summary}</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable region must be reachable to be scrolled by keys */}
      <pre class="oq-pre" tabIndex={0}>
        {text}
      </pre>
    </details>
  );
}
