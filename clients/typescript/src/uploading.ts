import { setTimeout as pause } from "node:timers/promises";

import { checked } from "./errors.js";
import type { Client } from "./generated/client/index.js";
import { continueUpload, getUpload, startUpload, type Upload } from "./generated/index.js";
import { PASSING, secondsOf } from "./patience.js";

/** How often in a row a piece may be sent in vain. */
const TRIES = 10;
/** The server has the piece before, or is still at it: ask where to go on. */
const AGAIN = new Set([408, 409, 423, ...PASSING]);

export interface UploadOptions {
  tenantId?: string;
  /** Kept with it. */
  metadata?: Record<string, string>;
  /** How many bytes one request brings. */
  piece?: number;
}

/** Send all of it by tus 1.0, in pieces, going on where a lost connection stopped it. */
export async function upload(client: Client, content: Blob, options: UploadOptions): Promise<Upload> {
  const told = Object.entries(options.metadata ?? {}).map(([name, value]) => `${name} ${Buffer.from(value).toString("base64")}`);
  const { upload_id } = checked(
    await startUpload({
      client,
      query: options.tenantId === undefined ? {} : { tenant_id: options.tenantId },
      headers: { "Upload-Length": String(content.size), ...(told.length > 0 ? { "Upload-Metadata": told.join(",") } : {}) },
    }),
  );
  let offset = 0;
  for (let vain = 0; offset < content.size; ) {
    const piece = content.slice(offset, offset + (options.piece ?? 8 * 1024 * 1024));
    const reached = await send(client, upload_id, offset, piece, vain + 1 === TRIES);
    vain = reached > offset ? 0 : vain + 1;
    offset = reached;
  }
  return checked(await getUpload({ client, path: { upload_id } }));
}

/** Send a piece once; where to go on, which is where it was if nothing of it is known to have arrived. */
async function send(client: Client, upload_id: string, offset: number, piece: Blob, last: boolean): Promise<number> {
  const sent = await continueUpload({ client, path: { upload_id }, headers: { "Upload-Offset": String(offset) }, body: piece });
  if (sent.response?.status === 204) return Number(sent.response.headers.get("Upload-Offset"));
  const lost = sent.response === undefined;
  if (last || (!lost && !AGAIN.has(sent.response?.status ?? 0))) checked(sent);
  await pause(1000 * (lost ? 1 : secondsOf(sent.response, 0)));
  return reached(client, upload_id, offset);
}

/** Where to go on; where it was, if the server cannot say that now. */
async function reached(client: Client, upload_id: string, offset: number): Promise<number> {
  const told = await getUpload({ client, path: { upload_id } });
  if (told.response !== undefined && !PASSING.has(told.response.status)) return checked(told).offset;
  await pause(1000 * secondsOf(told.response, 1));
  return offset;
}
