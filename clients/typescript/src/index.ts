/** A client of the HTTP API of pipeline-jobs: `PipelineJobs`, and a function for each of its operations. */
export { PipelineJobs, type Options } from "./connection.js";
export { Refused } from "./errors.js";
export { verifyWebhook } from "./webhooks.js";
export * from "./generated/index.js";
