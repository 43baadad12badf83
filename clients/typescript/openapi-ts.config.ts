import { defineConfig } from "@hey-api/openapi-ts";

// `make clients` gives the document; zod's schemas are for the tests, which hold every answer against them.
export default defineConfig({
  input: process.env.OPENAPI ?? "../../.clients/openapi.json",
  output: "src/generated",
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk", "zod"],
});
