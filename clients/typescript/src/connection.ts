import { setTimeout as pause } from "node:timers/promises";

import { checked } from "./errors.js";
import { follow } from "./following.js";
import { createClient, createConfig, type Client } from "./generated/client/index.js";
import { createJob, getJob, type Event, type Job, type JobRequest, type Upload } from "./generated/index.js";
import { patiently, secondsOf } from "./patience.js";
import { upload, type UploadOptions } from "./uploading.js";

/** The server holds a request at most so long while it waits for a job's end. */
const HOLD_SECONDS = 25;

export interface Options {
  /** `pjk_...`; absent where the API asks for none. */
  key?: string;
}

/** The API at an address. For whatever is not here, give `client` to a generated function: `listJobs({ client: jobs.client })`. */
export class PipelineJobs {
  readonly client: Client;
  readonly #url: string;
  readonly #key: string | undefined;

  /** @param url for example `http://127.0.0.1:8000`. */
  constructor(url: string, options: Options = {}) {
    this.#url = url.replace(/\/+$/, "");
    this.#key = options.key;
    this.client = createClient(createConfig({ baseUrl: this.#url, auth: options.key }));
  }

  /** A new job of these fields. Sent again after a lost answer it is still one job. Throws `Refused`. */
  async create(body: JobRequest): Promise<Job> {
    // Without an answer it is not known whether it was accepted: the key makes it safe to ask again.
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    return checked(await patiently(() => createJob({ client: this.client, body, headers })));
  }

  /** The job when it has ended, in whatever way; a server that restarts, or has no room for a request that waits, is asked again. Throws if it
   * has not by then, and `Refused`.
   *
   * @param seconds how long at most; absent: until it ends. */
  async wait(jobId: string, seconds = Infinity): Promise<Job> {
    const until = Date.now() + 1000 * seconds;
    for (;;) {
      const left = Math.min(HOLD_SECONDS, (until - Date.now()) / 1000);
      const headers = { Prefer: `wait=${Math.max(1, Math.round(left))}` };
      const answer = await patiently(() => getJob({ client: this.client, path: { job_id: jobId }, headers }));
      const job = checked(answer) as Job;
      if (job.completed_at !== null) return job;
      if (Date.now() >= until) throw new Error(`${jobId} has not ended within ${seconds} s`);
      // It did not wait: too many others do. To ask again at once would be what it has no room for.
      if (!answer.response?.headers.has("Preference-Applied")) await pause(1000 * secondsOf(answer.response, 1));
    }
  }

  /** The job's events as they happen, each once, to its last; a lost connection is made good. Throws `Refused`.
   *
   * @param after begin behind the event with this `seq`. */
  follow(jobId: string, after = 0): AsyncGenerator<Event> {
    return follow(`${this.#url}/pipeline/jobs/${encodeURIComponent(jobId)}/events`, this.#key, after);
  }

  /** Send a file (`await fs.openAsBlob(path)`); the upload's `url` is what a job takes. Goes on where a lost connection stopped it. */
  upload(content: Blob, options: UploadOptions = {}): Promise<Upload> {
    return upload(this.client, content, options);
  }
}
