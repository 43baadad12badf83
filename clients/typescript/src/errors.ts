import type { Problem } from "./generated/index.js";

/** The API refused a request; `problem` is its body (RFC 9457): switch on `problem.code`. */
export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(`${problem.code}: ${problem.detail}`);
    this.name = "Refused";
  }
}

/** What a generated function gives: the answer, or why there is none. */
export interface Outcome<T> {
  data?: T;
  error?: unknown;
  response?: Response;
}

/** The answer, if it is a good one. Throws `Refused`, or what the connection threw. */
export function checked<T>(outcome: Outcome<T>): T {
  if (outcome.error !== undefined) throw isProblem(outcome.error) ? new Refused(outcome.error) : outcome.error;
  return outcome.data as T;
}

export function isProblem(said: unknown): said is Problem {
  return typeof said === "object" && said !== null && "code" in said && "detail" in said;
}
