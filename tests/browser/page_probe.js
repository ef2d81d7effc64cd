// Watches a page from inside while a dashboard moves in it. `start()` begins, `stop()` gives what was seen.
(() => {
  const seen = () => ({ frames: [], long: [], clicks: [], counts: [], renders: 0, nodes: 0 });
  const count = (board) => board.querySelector('.oq-total[data-status="succeeded"] .oq-total-count');
  let found = seen();
  let last = null;
  let running = null;

  // What a frame's callbacks have changed is drawn when they are through: a message comes after that.
  const afterFrame = (then) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => then(performance.now());
    channel.port2.postMessage(null);
  };

  const onFrame = (now) => {
    if (last !== null) found.frames.push(now - last);
    last = now;
    running = requestAnimationFrame(onFrame);
  };

  const onChange = (board) => () => {
    found.renders += 1;
    found.nodes = Math.max(found.nodes, board.querySelectorAll("*").length);
    const shown = count(board)?.title;
    if (shown !== undefined && shown !== found.counts.at(-1)) found.counts.push(shown);
  };

  const onClick = ({ target, timeStamp }) => {
    const tab = target.closest?.(".omniq .oq-tab");
    if (!tab) return;
    const list = tab.closest(".omniq").querySelector(".oq-tasks-list");
    const click = { shown: null, answered: null };
    found.clicks.push(click);
    const look = () => {
      const pressed = tab.getAttribute("aria-pressed") === "true";
      if (pressed) afterFrame((now) => { click.shown ??= now - timeStamp; });
      if (pressed && list.getAttribute("aria-busy") !== "true") {
        afterFrame((now) => { click.answered = now - timeStamp; });
      } else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  };

  const longTasks = new PerformanceObserver((entries) => {
    found.long.push(...entries.getEntries().map((entry) => entry.duration));
  });
  let changes = null;

  window.omniqProbe = {
    start() {
      found = seen();
      last = null;
      running = requestAnimationFrame(onFrame);
      longTasks.observe({ type: "longtask" });
      document.addEventListener("click", onClick, { capture: true });
      const board = document.querySelector(".omniq");
      if (board === null) return;
      changes = new MutationObserver(onChange(board));
      changes.observe(board, { subtree: true, childList: true, characterData: true, attributes: true });
    },
    stop() {
      cancelAnimationFrame(running);
      longTasks.disconnect();
      changes?.disconnect();
      document.removeEventListener("click", onClick, { capture: true });
      return found;
    },
  };
})();
