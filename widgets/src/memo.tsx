import { Component, type ComponentType, type FunctionComponent } from "preact";

/** Renders again only when a prop is another object; `share` keeps equal data identical. */
export function memo<P extends object>(Inner: FunctionComponent<P>): ComponentType<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      const keys = Object.keys(next) as (keyof P)[];
      return keys.length !== Object.keys(this.props).length || keys.some((key) => next[key] !== this.props[key]);
    }

    override render() {
      return <Inner {...(this.props as P)} />;
    }
  };
}
