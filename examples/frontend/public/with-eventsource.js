// Second way: `EventSource`. It is in every browser and parses events itself, but sends no headers and no body: the
// ticket stands in the address, so it is one for one use.

import { Failure } from "./failure.js";
import { access, oneUseTicket } from "./tickets.js";

/** Streams the answer to `prompt` into `run`. Throws a Failure, or an AbortError after `run.stop()`. */
export async function withEventSource(prompt, run) {
  const { gateway, ticket, model } = await access(); // for the cancel, which is not an EventSource's
  const address = new URL(model ? `${gateway}/chat/${encodeURIComponent(model)}` : `${gateway}/chat`);
  address.search = new URLSearchParams({ message: prompt, ticket: await oneUseTicket() });
  run.signal.throwIfAborted();
  const source = new EventSource(address);
  try {
    await heard(source, run, { gateway, ticket });
  } finally {
    source.close(); // or it comes back by itself
  }
}

function heard(source, run, access) {
  let begun = false;
  return new Promise((resolve, reject) => {
    run.signal.addEventListener("abort", () => reject(run.signal.reason));
    source.addEventListener("message", (event) => {
      try {
        if (event.data === "[DONE]") return;
        begun = true;
        know(run, event.lastEventId, access);
        run.take(JSON.parse(event.data)); // errors come as messages: `error` is the browser's own event
      } catch (error) {
        reject(error);
      }
    });
    source.addEventListener("done", () => resolve());
    source.addEventListener("error", () => {
      // CLOSED before the first event: refused; the status and its reason are hidden from scripts. Later it is a page
      // that goes away. CONNECTING: the connection broke; the gateway answers its return with 204, so nothing more comes.
      const refused = source.readyState === EventSource.CLOSED && !begun;
      reject(refused ? new Failure({ message: "The service refused." }) : Failure.truncated());
    });
  });
}

/** The gateway's id is in each event's id, `<request id>:<number>`; the first event is the first chance to see it. */
function know(run, lastEventId, access) {
  const id = lastEventId.slice(0, lastEventId.lastIndexOf(":"));
  if (!id || id === run.id) return;
  run.id = id;
  run.began(access);
}
