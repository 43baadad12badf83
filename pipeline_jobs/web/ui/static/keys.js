"use strict";
// Shortcuts of one key. They are dead in fields, and can be switched off in their sheet (WCAG 2.1.4).
(() => {
  const sheet = document.getElementById("keys");
  if (!sheet) return;
  const root = document.querySelector(".brand").pathname;
  const on = () => localStorage.getItem("keys") !== "off";
  const GO = { o: "", j: "/jobs", b: "/batches", s: "/schedules" };
  let prefix = false;

  const opener = document.querySelector("[data-keys]");
  opener.hidden = false;
  opener.addEventListener("click", () => sheet.showModal());
  const box = sheet.querySelector("[data-keys-on]");
  box.checked = on();
  box.addEventListener("change", () => localStorage.setItem("keys", box.checked ? "on" : "off"));

  const about = () => document.querySelector(".brand").search;
  const rows = () => [...document.querySelectorAll("table.jobs tbody tr")];
  // The one whose link has the focus: a poll draws the list anew, and keeps that.
  const row = () => document.activeElement?.closest("table.jobs tbody tr");

  function move(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(row());
    const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))];
    next.querySelector("a").focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  function search() {
    const field = document.querySelector('input[name="find"]');
    if (field) field.select();
    else location.assign(`${root}/jobs${about()}`);
  }

  const ACTS = {
    "?": () => sheet.showModal(),
    "/": search,
    n: () => document.querySelector(".top .new")?.click(),
    j: () => move(1),
    k: () => move(-1),
    x: () => row()?.querySelector(".pick")?.click(),
    f: () => document.querySelector("[data-find]:not([hidden])")?.select(),
    l: () => document.querySelector("[data-follow]:not([hidden])")?.click(),
    " ": () => {
      const film = document.querySelector(".film video, .film audio");
      if (!film) return false;
      if (film.paused) film.play().catch(() => {});
      else film.pause();
      return true;
    },
  };

  document.addEventListener("keydown", (event) => {
    if (!on() || sheet.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = event.target;
    if (place.closest("input, select, textarea, [contenteditable]")) return;
    // Space presses a button, opens a summary, and is the player's own.
    if (event.key === " " && place.closest("button, summary, video, audio, [role=button]")) return;
    if (prefix) {
      prefix = false;
      if (event.key in GO) location.assign(root + GO[event.key] + about());
      return;
    }
    if (event.key === "g") prefix = true;
    else if (event.key in ACTS && ACTS[event.key]() !== false) event.preventDefault();
  });
})();
