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
