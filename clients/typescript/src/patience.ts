import { setTimeout as pause } from "node:timers/promises";

import type { Outcome } from "./errors.js";

/** Answers that pass: a limit, a server that is away or restarts, a proxy that finds none behind it. */
export const PASSING = new Set([429, 502, 503, 504]);
/** Between two tries where the answer names no time, in seconds; after these one more is made. */
const PAUSES = [1, 2, 4, 8];

/** The answer of a generated function that may be asked for twice, tried five times in all. */
export async function patiently<T extends Outcome<unknown>>(ask: () => Promise<T>): Promise<T> {
  for (const seconds of PAUSES) {
    const found = await ask();
    const status = found.response?.status;
    if (status !== undefined && !PASSING.has(status)) return found;
    await pause(1000 * secondsOf(found.response, seconds));
  }
  return ask();
}

/** How long an answer asks to wait (`Retry-After`). */
export function secondsOf(response: Response | undefined, otherwise: number): number {
  const text = response?.headers.get("Retry-After") ?? "";
  return /^\d+$/.test(text) ? Number(text) : otherwise;
}
