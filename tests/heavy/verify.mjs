// Checks webhooks with the npm package `standardwebhooks`: a line of JSON {secret, headers, body} each on standard input.
// The library refuses what is older than five minutes, so each is checked at its own time.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

// Packages are looked for in the folder in which this is run.
const { Webhook } = createRequire(process.cwd() + "/")("standardwebhooks");
const now = Date.now;
let good = 0, bad = 0, forged = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  const webhook = new Webhook(secret);
  Date.now = () => Number(headers["webhook-timestamp"]) * 1000;
  try { webhook.verify(body, headers); good += 1; } catch (error) { bad += 1; }
  try { webhook.verify(body + " ", headers); forged += 1; } catch (error) { /* as it should be */ }
}
Date.now = now;
console.log(JSON.stringify({ good, bad, forged }));
