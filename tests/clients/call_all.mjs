// `node call_all.mjs PLAN`: what `tests.clients.steps` says, with the TypeScript client. Each answer is held against zod's schemas, which are
// made from the same document. Prints the operations whose answers were parsed, nothing of them lost.
import assert from "node:assert/strict";
import { openAsBlob, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

import * as client from "../../clients/typescript/dist/index.js";
import * as schemas from "../../clients/typescript/dist/generated/zod.gen.js";

const plan = JSON.parse(readFileSync(process.argv[2], "utf-8"));
const jobs = new client.PipelineJobs(plan.url, { key: plan.key });
const kept = { receiver: plan.receiver };

/** With what was kept in the place of its `$NAME`. */
function filled(value) {
  if (Array.isArray(value)) return value;
  if (typeof value === "string") return value.startsWith("$") ? kept[value.slice(1)] : value;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, filled(one)]));
}

const part = (answer, path) => path.split(".").reduce((found, name) => found[name], answer);

async function call(step) {
  const name = step.operation.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
  const body = step.content === null ? filled(step.body) : new Blob([step.content]);
  const options = { client: jobs.client, path: filled(step.path), query: filled(step.query), headers: step.headers };
  if (body !== null) options.body = body;
  for (;;) {
    const answer = await client[name](options);
    if (Object.entries(step.until).every(([path, value]) => part(answer.data, path) === value)) {
      check(step, name, answer);
      for (const [word, path] of Object.entries(step.keep)) kept[word] = part(answer.data, path);
      return;
    }
    await pause(100);
  }
}

function check(step, name, { data, error, response }) {
  if (step.refused) {
    assert.equal(response.status, step.refused);
    schemas.zProblem.parse(error);
    return;
  }
  assert.equal(error, undefined, `${name}: ${JSON.stringify(error)}`);
  assert.ok(response.ok, name);
  if (response.headers.get("Content-Length") === "0" || response.status === 204) return;
  if (typeof data === "string" || data instanceof Blob) {
    assert.ok(data.length ?? data.size, name);
    return;
  }
  const schema = schemas[`z${name[0].toUpperCase()}${name.slice(1)}Response`];
  const parsed = schema ? schema.parse(data) : undefined;
  // Nothing lost; what the document gives a default may be there besides.
  assert.partialDeepStrictEqual(parsed, data, name);
}

/** What the client does besides: upload, follow, wait, refuse, verify. */
async function wrapped() {
  // First: it is good for five minutes.
  assert.deepEqual(client.verifyWebhook(plan.secret, plan.headers, plan.body), { type: "job.completed" });
  const upload = await jobs.upload(await openAsBlob(plan.film), { tenantId: "acme", piece: 100_000, metadata: { filename: "talk.mp4" } });
  assert.ok(upload.complete);
  const job = await jobs.create({ url: upload.url, pipeline: "media", quality: "144p", tenant_id: "acme" });
  const events = [];
  for await (const event of jobs.follow(job.job_id)) events.push(event);
  assert.deepEqual(events.map((event) => event.seq), events.map((_, n) => n + 1));
  assert.equal(events.at(-1).type, "job.completed");
  const ended = await jobs.wait(job.job_id, 60);
  assert.equal(ended.status, "completed");
  const [, artifact, signature] = JSON.stringify(ended).match(/\/pipeline\/artifacts\/([^"?]+)\?signature=([^"&]+)/);
  Object.assign(kept, { film: job.job_id, artifact, signature });
  const slow = await jobs.create({ pipeline: "sleep", params: { seconds: 0 }, run_at: "2099-01-01T00:00:00Z", tenant_id: "acme" });
  await assert.rejects(jobs.create({ pipeline: "nope" }), client.Refused);
  await assert.rejects(jobs.follow("job_none").next(), client.Refused);
  await assert.rejects(jobs.wait(slow.job_id, 0.5), /has not ended/);
  assert.throws(() => client.verifyWebhook(plan.secret, plan.headers, `${plan.body} `));
}

await wrapped();
for (const step of plan.steps) await call(step);
console.log(JSON.stringify(plan.steps.map((step) => step.operation)));
