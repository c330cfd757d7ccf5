// The way to the gateway: a ticket from our own back end, and the cancel.

import { DefaultChatTransport } from "ai";

const MARGIN_MS = 30_000; // a ticket that ends so soon is not used any more

let kept = null;

/** `{ gateway, ticket, model }`; the key stays at the back end. Asks only when it has to. */
async function access() {
  if (kept === null || performance.now() > kept.until) {
    const response = await fetch("/tickets", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    if (!response.ok) throw new Error(await response.text());
    const answer = await response.json();
    // Counted from here, by this machine's own clock, which may differ from the gateway's.
    kept = { ...answer, until: performance.now() + answer.ttl_s * 1000 - MARGIN_MS };
  }
  return kept;
}

/** For `useChat`: `extras` go along with every request, such as `{ tools, instructions, maxOutputTokens }`. */
export function gatewayTransport(extras) {
  return new DefaultChatTransport({
    prepareSendMessagesRequest: async ({ id, messages, trigger, messageId, body }) => {
      const { gateway, ticket, model } = await access();
      return {
        api: `${gateway}/v1/ui-stream`,
        headers: { authorization: `Bearer ${ticket}` },
        body: { id, messages, trigger, messageId, ...(model && { model }), ...extras, ...body },
      };
    },
    fetch: asked,
  });
}

/** Answers that have not ended. On Lambda nobody tells the function that a tab was closed, so the page says it. */
const running = new Set();

// `pagehide` also comes when a tab is closed or another page is opened; `unload` and `beforeunload` are not reliable.
addEventListener("pagehide", () => {
  for (const cancel of running) cancel();
});

/** `fetch`, under an id of our own: it cancels too, and is known before the gateway's headers have come. */
async function asked(url, init) {
  const id = crypto.randomUUID();
  const headers = new Headers(init.headers);
  headers.set("x-client-request-id", id);

  function cancel() {
    over();
    // `keepalive` lets it go out after the page is gone. `sendBeacon` cannot: it sends no `Authorization`.
    fetch(new URL(`/v1/requests/${id}/cancel`, url), {
      method: "POST",
      keepalive: true,
      headers: { authorization: headers.get("authorization") },
    }).catch(() => {}); // nobody is left who could be told
  }

  function over() {
    running.delete(cancel);
    init.signal?.removeEventListener("abort", cancel);
  }

  running.add(cancel);
  // Stop closes the connection. In a container that stops the meter; on Lambda only the cancel does.
  init.signal?.addEventListener("abort", cancel);
  try {
    const response = await fetch(url, { ...init, headers });
    if (!response.ok || !response.body) {
      over();
      return response;
    }
    const body = response.body.pipeThrough(new TransformStream({ flush: over }));
    return new Response(body, response);
  } catch (error) {
    over();
    throw error;
  }
}
