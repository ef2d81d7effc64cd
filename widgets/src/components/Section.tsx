import type { ComponentChildren } from "preact";

interface Props {
  title: string;
  aside?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}

export function Section({ title, aside, class: extra = "", children }: Props) {
  return (
    <section class={`oq-section ${extra}`} aria-label={title}>
      <div class="oq-section-head">
        <h3>{title}</h3>
        <div class="oq-section-aside">{aside}</div>
      </div>
      {children}
    </section>
  );
}
