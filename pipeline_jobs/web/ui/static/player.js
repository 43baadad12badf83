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
    // Places of what was searched for, in seconds.
    let hits = [];

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
      hits = [];
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
          hits.push(Number(line.dataset.start));
        }
        if (pieces.length || place.childElementCount) place.replaceChildren(...pieces, text.slice(at));
      }
      bar?.draw();
      part("found").textContent = wanted ? `${found} found` : "";
      if (first) {
        follow(false);
        list.scrollTop = first.offsetTop - list.clientHeight / 3;
      }
    }

    const bar = film ? seekBar(film, [...document.querySelectorAll(".chapters li")], () => hits) : null;

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

  const SVG = "http://www.w3.org/2000/svg";

  function clock(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const rest = `${String(Math.floor(whole / 60) % 60).padStart(whole < 3600 ? 1 : 2, "0")}:${String(whole % 60).padStart(2, "0")}`;
    return whole < 3600 ? rest : `${Math.floor(whole / 3600)}:${rest}`;
  }

  // Whatever name of the host a link was written with: it is one of our own files.
  function ours(name, address) {
    const found = new URL(name, new URL(address, location.href));
    return found.pathname + found.search;
  }

  // The cues of a storyboard: from when on which part of which picture is seen.
  async function tilesOf(address) {
    const answer = await fetch(address);
    if (!answer.ok) return [];
    const found = [];
    for (const [, hours, minutes, seconds, name, box] of (await answer.text()).matchAll(/(?:(\d+):)?(\d+):([\d.]+) --> .*\n(\S+)#xywh=([\d,]+)/g)) {
      const [x, y, wide, high] = box.split(",").map(Number);
      found.push({ start: Number(hours ?? 0) * 3600 + Number(minutes) * 60 + Number(seconds), picture: ours(name, address), x, y, wide, high });
    }
    return found;
  }

  // Chapters are the pieces of the bar, what was searched for its ticks; pointing at it shows what is seen there.
  function seekBar(film, chapters, hits) {
    const place = document.querySelector("[data-seek]");
    if (!place) return null;
    const svg = place.querySelector("svg");
    const tip = place.querySelector(".tip");
    const picture = tip.querySelector("i");
    const parts = chapters.map((one) => ({ start: Number(one.dataset.start), title: one.lastChild.textContent.trim(), line: one }));
    let tiles = null;

    const length = () => (Number.isFinite(film.duration) ? film.duration : 0);
    const x = (seconds) => (1000 * Math.min(seconds, length())) / (length() || 1);

    function rect(kind, from, wide, y, high) {
      const made = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ class: kind, x: from, y, width: Math.max(0, wide), height: high })) made.setAttribute(name, value);
      return made;
    }

    function draw() {
      place.hidden = !length();
      if (!length()) return;
      const starts = [0, ...parts.map((one) => one.start).filter((start) => start > 0 && start < length())];
      const pieces = starts.map((start, n) => rect("part", x(start), x(starts[n + 1] ?? length()) - x(start) - 2, 6, 8));
      const past = starts.filter((start) => start < film.currentTime).map((start, n) => rect("past", x(start), Math.min(x(film.currentTime), x(starts[n + 1] ?? length()) - 2) - x(start), 6, 8));
      svg.replaceChildren(...pieces, ...past, ...hits().map((at) => rect("hit", x(at), 3, 0, 5)), rect("at", x(film.currentTime) - 2, 4, 3, 14));
      svg.setAttribute("aria-valuemax", Math.round(length()));
      svg.setAttribute("aria-valuenow", Math.round(film.currentTime));
      svg.setAttribute("aria-valuetext", `${clock(film.currentTime)} of ${clock(length())}`);
      const now = parts.filter((one) => one.start <= film.currentTime + 0.05).at(-1);
      for (const one of parts) if (one === now) one.line.setAttribute("aria-current", "true"); else one.line.removeAttribute("aria-current");
    }

    const at = (event) => {
      const box = svg.getBoundingClientRect();
      return length() * Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    };

    async function point(event) {
      const seconds = at(event);
      const part = parts.filter((one) => one.start <= seconds).at(-1);
      tip.querySelector("span").textContent = `${clock(seconds)}${part ? ` ${part.title}` : ""}`;
      tip.hidden = false;
      const edge = place.getBoundingClientRect();
      tip.style.left = `${Math.max(4, Math.min(edge.width - tip.offsetWidth - 4, event.clientX - edge.left - tip.offsetWidth / 2))}px`;
      if (!place.dataset.storyboard) return;
      tiles ??= tilesOf(place.dataset.storyboard).catch(() => []);
      const tile = (await tiles).filter((one) => one.start <= seconds).at(-1);
      if (!tile) return;
      Object.assign(picture.style, { display: "block", width: `${tile.wide}px`, height: `${tile.high}px`, backgroundImage: `url("${tile.picture}")`, backgroundPosition: `-${tile.x}px -${tile.y}px` });
    }

    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerleave", () => (tip.hidden = true));
    svg.addEventListener("click", (event) => {
      film.currentTime = at(event);
      draw();
    });
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -5, ArrowRight: 5, PageDown: -60, PageUp: 60 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      film.currentTime = Math.max(0, Math.min(length(), film.currentTime + by));
    });
    for (const kind of ["loadedmetadata", "durationchange", "timeupdate", "seeked"]) film.addEventListener(kind, draw);
    draw();
    return { draw };
  }

  document.addEventListener("htmx:after:swap", begin);
  begin();
})();
