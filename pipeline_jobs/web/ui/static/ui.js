"use strict";
// What htmx does not do by itself: polls pause while nobody looks, end with what they show, and say when they fail.
const POLLS = ["every", "refresh"];
// Of the polls of a page that follows a stream, for what no event tells (a place in line): every so many.
const RARELY = 5;
let polls = 0;
// A form was sent (`draft.js`). What follows it says whether it was taken: not the sign-in, and not the form itself.
if (document.body.dataset.in && !document.querySelector("form[data-draft]")) {
  const sent = sessionStorage.getItem("sent");
  if (sent) sessionStorage.removeItem(sent);
  sessionStorage.removeItem("sent");
}
// Whoever signs out leaves nothing that was typed: the next one at this tab may be somebody else.
document.querySelector("form[data-leaves]")?.addEventListener("submit", () => sessionStorage.clear());
const trouble = () => document.getElementById("trouble");

function say(text) {
  const place = trouble();
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

document.addEventListener("htmx:config:request", (event) => {
  const { sourceElement, sourceEvent } = event.detail.ctx;
  if (!POLLS.includes(sourceEvent?.type)) return;
  if (sourceEvent.type === "every" && sourceElement.dataset.following && ++polls % RARELY) {
    event.preventDefault();
    return;
  }
  if (document.hidden || sourceElement.querySelector("[data-final]")) event.preventDefault();
});

document.addEventListener("visibilitychange", () => {
  const live = document.getElementById("live");
  if (live && !document.hidden) htmx.trigger(live, "refresh");
});

document.addEventListener("htmx:response:error", (event) => {
  const { response, sourceElement } = event.detail.ctx;
  if (response.status === 404) {
    // It was deleted, here or elsewhere: nothing more will come.
    sourceElement.insertAdjacentHTML("beforeend", "<span data-final hidden></span>");
    say("This is gone.");
  } else if (response.status === 401) {
    say("Your session has ended.");
  } else {
    say("The server cannot tell at the moment; what you see may be old.");
  }
});

document.addEventListener("htmx:error", () => say("The server cannot be reached; what you see may be old."));
document.addEventListener("htmx:after:swap", () => say(""));

// Times in the reader's own zone: the server writes UTC, which is what one sees without a script.
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function localTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = `${LOCAL.format(at)} ${ZONE}`;
    if (time.title !== text) time.title = text;
    if ("full" in time.dataset && time.textContent !== LOCAL.format(at)) time.textContent = LOCAL.format(at);
  }
}

// A job that ends while its page is open: the title says so, a screen reader hears it once, and who asked is notified.
const state = () => document.querySelector("[data-state]");
let before = state()?.dataset.state;

function ended() {
  const now = state();
  if (!now || !("ends" in now.dataset) || now.dataset.state === before) return;
  before = now.dataset.state;
  const text = `${now.dataset.state}: ${now.dataset.title}`;
  document.title = text;
  document.getElementById("said").textContent = text;
  if (sessionStorage.getItem(`tell ${location.pathname}`) && Notification.permission === "granted") new Notification(text, { tag: location.pathname });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-tell]");
  if (!button) return;
  const answer = await Notification.requestPermission();
  if (answer === "granted") sessionStorage.setItem(`tell ${location.pathname}`, "1");
  // Not in the button: a poll draws that anew.
  document.getElementById("said").textContent = "";
  say(answer === "granted" ? "You will be told when it ends, as long as this page is open." : "Your browser does not let this page notify you; its tab's title will change.");
});

// The theme changes without a new page: a film goes on, and a form keeps what was typed.
for (const form of document.querySelectorAll("[data-themes]"))
  form.addEventListener("submit", async (event) => {
    const { value } = event.submitter;
    event.preventDefault();
    for (const button of form.elements) button.setAttribute("aria-pressed", String(button.value === value));
    if (value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = value;
    document.querySelector('meta[name="color-scheme"]').content = value === "system" ? "light dark" : value;
    await fetch(form.action, { method: "POST", body: new URLSearchParams({ theme: value }), redirect: "manual" });
  });

// A moment is chosen in the reader's own zone, and sent as the server writes it.
for (const field of document.querySelectorAll("[data-moment]")) {
  const at = new Date(field.value);
  const known = !Number.isNaN(at.getTime());
  // What cannot be read stays as it was typed, beside what is wrong with it.
  if (field.value && !known) continue;
  field.type = "datetime-local";
  field.step = 1;
  field.value = known ? new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19) : "";
  field.form.addEventListener("formdata", (event) => field.value && event.formData.set(field.name, new Date(field.value).toISOString()));
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
  button.textContent = "Copied";
});

function shown() {
  localTimes();
  ended();
  for (const button of document.querySelectorAll("[data-tell]")) button.hidden = !("Notification" in window) || sessionStorage.getItem(`tell ${location.pathname}`) !== null;
  for (const button of document.querySelectorAll("[data-copies]")) button.hidden = !navigator.clipboard;
}

document.addEventListener("htmx:after:swap", shown);
for (const place of document.querySelectorAll("[data-zone]")) place.textContent = `Times are in ${ZONE}.`;
shown();
