import { setTimeout as pause } from "node:timers/promises";

import { isProblem, Refused } from "./errors.js";
import type { Event } from "./generated/index.js";
import { PASSING, secondsOf } from "./patience.js";

/** Longest silence of a stream: it is pinged every 15 s. */
const SILENCE_MS = 45_000;

/** The events of a stream as they happen, each once, to the last; a lost connection is made good. */
export async function* follow(url: string, key: string | undefined, after: number): AsyncGenerator<Event> {
  let last = after;
  for (;;) {
    const stop = new AbortController();
    let silence = setTimeout(() => stop.abort(), SILENCE_MS);
    let seconds = 1;
    try {
      const response = await open(url, key, last, stop.signal);
      if (response.status === 204) return;
      const later = PASSING.has(response.status);
      if (later) seconds = secondsOf(response, 1);
      else await refuse(response);
      for await (const line of later || response.body === null ? [] : lines(response.body)) {
        clearTimeout(silence);
        silence = setTimeout(() => stop.abort(), SILENCE_MS);
        if (!line.startsWith("data:")) continue;
        const event = JSON.parse(line.slice(5)) as Event;
        last = event.seq;
        yield event;
      }
    } catch (error) {
      // fetch says TypeError of a connection that could not be had or was lost, AbortError of one that was silent.
      const lost = error instanceof TypeError || (error instanceof Error && error.name === "AbortError");
      if (!lost) throw error;
    } finally {
      clearTimeout(silence);
      stop.abort();
    }
    await pause(1000 * seconds);
  }
}

async function open(url: string, key: string | undefined, last: number, signal: AbortSignal): Promise<Response> {
  const headers = new Headers({ Accept: "text/event-stream", "Last-Event-ID": String(last) });
  if (key !== undefined) headers.set("Authorization", `Bearer ${key}`);
  return fetch(url, { headers, signal });
}

async function refuse(response: Response): Promise<void> {
  if (response.status < 400) return;
  const said: unknown = await response.json();
  throw isProblem(said) ? new Refused(said) : new Error(`status ${response.status}`);
}

async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of body) {
    const found = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = found.pop() ?? "";
    yield* found;
  }
}
