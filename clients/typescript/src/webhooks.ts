import { Webhook } from "standardwebhooks";

/**
 * The event of a webhook, if it is genuine and at most five minutes old (Standard Webhooks). Throws `WebhookVerificationError`.
 *
 * Answer 2xx only when the event is safe with you, and pass over values of `webhook-id` that you have seen: one may come twice.
 *
 * @param secret `whsec_...`, as the API showed it.
 * @param body as it came, byte for byte; parsed and written again it has another signature.
 */
export function verifyWebhook(secret: string, headers: Record<string, string>, body: string | Buffer): unknown {
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return new Webhook(secret).verify(body, lower);
}
