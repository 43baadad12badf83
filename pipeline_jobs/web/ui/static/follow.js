"use strict";
// A job's page follows its events (docs/events.md). The server still draws the page: what an event says of progress is shown at once, any other one
// asks for the page's part anew. Without a stream (all places taken, a proxy that gathers) the polls go on as they were.
(() => {
  const live = document.getElementById("live");
  const ENDS = ["job.completed", "job.failed", "job.cancelled"];
  let after = Number(live.dataset.after);
  let source = null;
  // The last progress that the stream told. A poll that was sent before it may be answered after it, with what was true earlier.
  let shown = null;

  function show({ progress, message, stage }) {
    const bar = live.querySelector(".meter progress");
    if (!bar) return false;
    bar.value = progress;
    live.querySelector(".meter strong").textContent = `${Math.round(progress)} %`;
    const text = message || stage || "";
    if (text) live.querySelector("[data-message]").textContent = text[0].toUpperCase() + text.slice(1, 200);
    return true;
  }

  function told({ data, lastEventId }) {
    after = Number(lastEventId) || after;
    const event = JSON.parse(data);
    shown = event.type === "job.progress" ? event.data : null;
    if (!shown || !show(shown)) htmx.trigger(live, "refresh");
    if (ENDS.includes(event.type)) stop();
  }

  function start() {
    if (source || document.hidden || live.querySelector("[data-final]")) return;
    const address = new URL(live.dataset.events, location.href);
    address.searchParams.set("after", after);
    source = new EventSource(address);
    source.onmessage = told;
    // `ui.js` polls more rarely while this is set.
    source.onopen = () => {
      live.dataset.following = "1";
      // What happened between the page's making and now.
      htmx.trigger(live, "refresh");
    };
    source.onerror = () => {
      delete live.dataset.following;
      if (source?.readyState === EventSource.CLOSED) source = null;
    };
  }

  function stop() {
    source?.close();
    source = null;
    delete live.dataset.following;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  document.addEventListener("htmx:after:swap", () => {
    const bar = live.querySelector(".meter progress");
    if (shown && bar && bar.value < shown.progress) show(shown);
  });
  addEventListener("pagehide", stop);
  start();
})();
