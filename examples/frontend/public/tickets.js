// Tickets, from our own back end. The key stays there; a ticket is what a browser may hold: for one user, for minutes.

import { Failure } from "./failure.js";

const MARGIN_MS = 30_000; // a ticket that ends so soon is not used any more

let kept = null;

/** `{ gateway, ticket, model }` with a ticket for many requests, to be sent as Bearer. Asks only when it has to. */
export async function access() {
  if (kept === null || performance.now() > kept.until) {
    const answer = await ask({});
    // Counted from here, by this machine's own clock, which may differ from the gateway's.
    kept = { ...answer, until: performance.now() + answer.ttl_s * 1000 - MARGIN_MS };
  }
  return kept;
}

/** A ticket for one use, which may stand in an address. It lives for a minute: ask right before it is needed. */
export async function oneUseTicket() {
  return (await ask({ one_use: true })).ticket;
}

async function ask(wish) {
  const response = await fetch("/tickets", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wish),
  });
  if (!response.ok) throw await Failure.ofResponse(response);
  return response.json();
}
