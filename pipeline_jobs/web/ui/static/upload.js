"use strict";
// Files that are chosen or dropped are sent in parts (tus): what a lost connection or a reload interrupts goes on where it was.
(() => {
  const PART = 4 * 1024 * 1024;
  // Pauses between tries, in ms; after the last one the reader is told.
  const PAUSES = [500, 1000, 2000, 4000, 8000, 15000];
  const place = document.querySelector("[data-drop]");
  const target = document.querySelector("[data-uploaded]");
  if (!place || !target) return;
  const form = target.form;
  const input = place.querySelector("input[type=file]");
  const list = place.querySelector("[data-uploads]");
  let running = 0;

  const TUS = { "Tus-Resumable": "1.0.0" };
  // The same file, chosen again after a reload, with the same key.
  const keyOf = (file) => `upload ${document.body.dataset.in} ${scope()} ${file.name} ${file.size} ${file.lastModified}`;
  const at = (id) => place.dataset.at.replace("0".repeat(24), id);

  function scope() {
    const query = new URLSearchParams();
    for (const name of ["tenant_id", "workspace_id"]) {
      const value = form.elements[name]?.value.trim();
      if (value) query.set(name, value);
    }
    return String(query);
  }

  async function begin(file) {
    const name = btoa(String.fromCharCode(...new TextEncoder().encode([...file.name].slice(-100).join(""))));
    const headers = { ...TUS, "Upload-Length": file.size, "Upload-Metadata": `filename ${name}` };
    const answer = await fetch(`${place.dataset.drop}?${scope()}`, { method: "POST", headers });
    if (!answer.ok) throw await refused(answer);
    const made = await answer.json();
    localStorage.setItem(keyOf(file), made.upload_id);
    return made;
  }

  async function known(file) {
    const id = localStorage.getItem(keyOf(file));
    if (!id) return null;
    const answer = await fetch(at(id), { headers: TUS });
    if (answer.ok) return answer.json();
    if (answer.status === 404) localStorage.removeItem(keyOf(file));
    else throw await refused(answer);
    return null;
  }

  async function refused(answer) {
    let text = `The server answered ${answer.status}.`;
    try {
      text = (await answer.json()).detail;
    } catch {
      // A proxy's own page.
    }
    const error = new Error(answer.status === 401 ? "Your session has ended: sign in again, then choose the same file." : text);
    // What another try may change.
    error.passes = [408, 409, 423, 429, 500, 502, 503, 504].includes(answer.status);
    return error;
  }

  async function part(upload, file, tell) {
    const headers = { ...TUS, "Upload-Offset": upload.offset, "Content-Type": "application/offset+octet-stream" };
    const answer = await fetch(at(upload.upload_id), { method: "PATCH", headers, body: file.slice(upload.offset, upload.offset + PART) });
    if (!answer.ok) throw await refused(answer);
    upload.offset = Number(answer.headers.get("Upload-Offset"));
    tell(upload.offset / file.size);
  }

  async function send(file, tell) {
    let upload = null;
    for (let tries = 0; ; ) {
      try {
        upload = (await known(file)) ?? (await begin(file));
        tell(upload.offset / file.size);
        while (upload.offset < file.size) {
          await part(upload, file, tell);
          tries = 0;
        }
        return upload;
      } catch (error) {
        // A fetch that did not come through is a TypeError.
        if (!(error.passes ?? error instanceof TypeError) || tries === PAUSES.length) throw error;
        tell(null);
        await new Promise((resolve) => setTimeout(resolve, PAUSES[tries++]));
      }
    }
  }

  async function take(file) {
    const row = document.createElement("li");
    const name = document.createElement("span");
    const bar = document.createElement("progress");
    const said = document.createElement("span");
    name.textContent = file.name;
    said.className = "quiet";
    bar.max = 1;
    bar.setAttribute("aria-label", `Upload of ${file.name}`);
    row.append(name, " ", said, bar);
    list.append(row);
    hold(1);
    try {
      const upload = await send(file, (share) => {
        if (share === null) said.textContent = "the connection was lost; trying again";
        else {
          bar.value = share;
          said.textContent = `${Math.floor(share * 100)} %`;
        }
      });
      said.textContent = "uploaded";
      bar.remove();
      filled(upload.url);
    } catch (error) {
      said.textContent = error.message;
      said.className = "error";
    } finally {
      hold(-1);
    }
  }

  // The form waits for its files.
  function hold(change) {
    running += change;
    form.querySelector("button[type=submit]").disabled = running > 0;
  }

  function filled(url) {
    target.value = target.tagName === "TEXTAREA" && target.value.trim() ? `${target.value.trimEnd()}\n${url}` : url;
    // For the draft.
    target.dispatchEvent(new Event("input", { bubbles: true }));
  }

  async function takeAll(files) {
    const chosen = [...files].slice(0, input.multiple ? 100 : 1);
    for (const file of chosen) await take(file);
  }

  place.hidden = false;
  // The form needs an address, not the file itself.
  if (target.tagName === "INPUT") target.type = "text";
  input.addEventListener("change", () => {
    takeAll(input.files).finally(() => (input.value = ""));
  });
  for (const kind of ["dragenter", "dragover"])
    place.addEventListener(kind, (event) => {
      event.preventDefault();
      place.classList.add("over");
    });
  for (const kind of ["dragleave", "drop"]) place.addEventListener(kind, () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    takeAll(event.dataTransfer.files);
  });
})();
