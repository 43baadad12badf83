"use strict";
// What was typed into a form is kept in this tab until it was sent, by key: a session that ends in between costs nothing.
(() => {
  for (const form of document.querySelectorAll("form[data-draft]")) {
    const key = `draft ${document.body.dataset.in} ${form.dataset.draft}`;
    const kept = () => [...form.elements].filter((field) => field.name && field.name !== "token" && !["hidden", "file", "password"].includes(field.type));

    // Several boxes share a name.
    const nameOf = (field) => (field.type === "checkbox" ? `${field.name} ${field.value}` : field.name);

    function keep() {
      const values = Object.fromEntries(kept().map((field) => [nameOf(field), field.type === "checkbox" ? field.checked : field.value]));
      sessionStorage.setItem(key, JSON.stringify(values));
    }

    function give() {
      const values = JSON.parse(sessionStorage.getItem(key) ?? "null");
      if (!values) return;
      let changed = false;
      for (const field of kept()) {
        const value = values[nameOf(field)];
        if (value === undefined || value === (field.type === "checkbox" ? field.checked : field.value)) continue;
        if (field.type === "checkbox") field.checked = value;
        else field.value = value;
        for (let box = field.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
        changed = true;
      }
      if (changed) say();
    }

    function say() {
      const note = document.createElement("p");
      note.className = "note warn";
      note.setAttribute("role", "status");
      note.textContent = "This is what you had typed before; it was not sent. ";
      const empty = document.createElement("button");
      empty.type = "button";
      empty.className = "link";
      empty.textContent = "Begin anew";
      empty.addEventListener("click", () => {
        sessionStorage.removeItem(key);
        form.reset();
        note.remove();
      });
      note.append(empty);
      form.before(note);
    }

    // A form that came back with its faults has what was typed already.
    if (!("typed" in form.dataset)) give();
    form.addEventListener("input", keep);
    form.addEventListener("change", keep);
    form.addEventListener("submit", () => {
      keep();
      sessionStorage.setItem("sent", key);
    });
  }
})();
