// One answer: what its chunks say, and how it is stopped, by the button or by a page that goes away.

import { Failure } from "./failure.js";

/** Answers that have not ended. On Lambda nobody tells the function that a tab was closed, so the page says it. */
const running = new Set();

// `pagehide` also comes when a tab is closed or another page is opened; `unload` and `beforeunload` are not reliable.
addEventListener("pagehide", () => {
  for (const run of running) run.stop();
});

export class Run {
  /** Our own id for the request. It cancels too, and is known before the gateway's headers have come. */
  id = crypto.randomUUID();
  #show;
  #stopping = new AbortController();
  #access = null;
  #cut = null;
  #finish = null;

  /** `show` takes each piece of text. */
  constructor(show) {
    this.#show = show;
  }

  /** Aborted when the answer is to stop: the client's side of it. */
  get signal() {
    return this.#stopping.signal;
  }

  /**
   * The request goes out now, with this access; from here on it can be cancelled at the gateway.
   *
   * `access` is `{ gateway, ticket }`: kept, since a page that goes away has no time to fetch a ticket.
   */
  began(access) {
    this.signal.throwIfAborted(); // stopped while the ticket was fetched: nothing has been sent yet
    this.#access = access;
    running.add(this);
  }

  /** What one chunk brings. Throws a Failure for an error inside the stream. */
  take(chunk) {
    if (chunk.error) throw new Failure(chunk.error);
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) this.#show(choice.delta.content);
    this.#finish = choice?.finish_reason ?? this.#finish;
    if (chunk.rillgate?.stop) this.#cut = chunk.rillgate;
  }

  /** Whether its finish reason has come. */
  get finished() {
    return this.#finish !== null;
  }

  /** How an answer ended that ended properly. */
  ending() {
    if (this.#cut?.stop === "budget") {
      const reset = this.#cut.reset ? `, renewed ${new Date(this.#cut.reset).toLocaleString()}` : "";
      return `Cut: the budget of ${this.#cut.scope ?? "this request"} is used up${reset}.`;
    }
    return this.#finish === "length" ? "Cut: it reached its token limit." : "Done.";
  }

  /** Stop reading, and stop the meter: closing the connection alone does that in a container, but not on Lambda. */
  stop() {
    if (running.delete(this)) this.#cancel();
    this.#stopping.abort();
  }

  /**
   * It has ended; `failure` says how, if not well.
   *
   * Where the connection broke the gateway may not know yet, and on Lambda never will. That is also what a browser
   * makes of an `EventSource` when its page goes away, before `pagehide` comes.
   */
  over(failure = null) {
    if (running.delete(this) && failure?.broken) this.#cancel();
  }

  #cancel() {
    const { gateway, ticket } = this.#access;
    // `keepalive` lets it go out after the page is gone. `sendBeacon` cannot: it sends no `Authorization`.
    fetch(`${gateway}/v1/requests/${encodeURIComponent(this.id)}/cancel`, {
      method: "POST",
      keepalive: true,
      headers: { authorization: `Bearer ${ticket}` },
    }).catch(() => {}); // nobody is left who could be told
  }
}
