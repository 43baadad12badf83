"use strict";
// The film and its transcript: the line that is spoken is marked and kept in sight, a click on a line goes there, and one can search in it.
// Without this script each line is a link that opens the page with the film at that place.
(() => {
  const ready = new WeakSet();

  function begin() {
    const words = document.querySelector("[data-words]");
    if (!words || ready.has(words)) return;
    ready.add(words);
    const film = document.querySelector(".film video, .film audio");
    const list = words.querySelector("ol");
    const lines = [...list.children];
    const starts = lines.map((line) => Number(line.dataset.start));
    const part = (name) => words.querySelector(`[data-${name}]`);
    let current = null;
    let following = true;

    function follow(on) {
      following = on;
      part("follow").hidden = on || !film;
      if (on && current) list.scrollTop = current.offsetTop - list.clientHeight / 3;
    }

    function mark() {
      // The last line that has begun.
      let low = 0;
      let high = starts.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (starts[middle] <= film.currentTime + 0.05) low = middle + 1;
        else high = middle;
      }
      const line = lines[low - 1] ?? null;
      if (line === current) return;
      current?.removeAttribute("aria-current");
      line?.setAttribute("aria-current", "true");
      current = line;
      if (following) follow(true);
    }

    function go(event) {
      const place = event.target.closest("[data-start]");
      // Whoever marks a text with the pointer does not want to go there.
      if (!film || !place || String(getSelection())) return;
      event.preventDefault();
      film.currentTime = Number(place.dataset.start);
      // A shared link keeps its token.
      const here = new URL(location.href);
      here.searchParams.set("t", Math.floor(film.currentTime));
      history.replaceState(null, "", here);
      follow(true);
      film.play().catch(() => {});
    }

    function find() {
      const wanted = part("find").value.trim().toLowerCase();
      let found = 0;
      let first = null;
      for (const line of lines) {
        const place = line.querySelector("[data-text]");
        const text = place.textContent;
        const low = text.toLowerCase();
        const pieces = [];
        let at = 0;
        // Where lower case has another length (İ), places would be off: the line is not marked then.
        for (let hit; wanted && low.length === text.length && (hit = low.indexOf(wanted, at)) >= 0; at = hit + wanted.length) {
          const marked = document.createElement("mark");
          marked.textContent = text.slice(hit, hit + wanted.length);
          pieces.push(text.slice(at, hit), marked);
          found += 1;
          first ??= line;
        }
        if (pieces.length || place.childElementCount) place.replaceChildren(...pieces, text.slice(at));
      }
      part("found").textContent = wanted ? `${found} found` : "";
      if (first) {
        follow(false);
        list.scrollTop = first.offsetTop - list.clientHeight / 3;
      }
    }

    part("find").hidden = false;
    part("find").addEventListener("input", find);
    part("follow").addEventListener("click", () => follow(true));
    part("copy").hidden = !navigator.clipboard;
    part("copy").addEventListener("click", async () => {
      await navigator.clipboard.writeText(lines.map((line) => line.querySelector("[data-text]").textContent).join("\n"));
      part("copy").textContent = "Copied";
    });
    for (const place of [list, ...document.querySelectorAll(".chapters")]) place.addEventListener("click", go);
    if (!film) return;
    for (const kind of ["timeupdate", "seeked"]) film.addEventListener(kind, mark);
    // Scrolled by hand: it stays where the reader is.
    for (const kind of ["wheel", "touchmove"]) list.addEventListener(kind, () => follow(false), { passive: true });
    list.addEventListener("keydown", (event) => ["ArrowUp", "ArrowDown", "PageUp", "PageDown"].includes(event.key) && follow(false));
  }

  document.addEventListener("htmx:after:swap", begin);
  begin();
})();
