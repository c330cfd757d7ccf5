// Everything that can go wrong, with the one sentence that a user gets to see.

/** Codes for which the page knows better words than the gateway, who speaks to developers. */
const WORDS = {
  insufficient_quota: "The budget is used up.",
  rate_limit_exceeded: "Too much at once.",
  ticket_expired: "This page was open for too long: send it again.",
  budget_unavailable: "The service is busy.",
  truncated: "The connection broke: the answer is not complete.",
};

export class Failure extends Error {
  /**
   * `error` is the gateway's error object, the same in an HTTP answer and inside a stream:
   * `{ message, type, code, param }`. `headers` are those of the answer, where it was one. `broken` says that nobody
   * told us of an end, so the request may still be running.
   */
  constructor(error, { headers = null, broken = false } = {}) {
    super(error?.message ?? "Something went wrong.");
    this.broken = broken;
    this.code = error?.code ?? null;
    this.retryAfterS = Number(headers?.get("retry-after")) || null;
    this.resetAt = headers?.get("x-rillgate-reset") ?? null;
  }

  /** From an HTTP answer that is no stream; what a proxy says in the gateway's place has no JSON. */
  static async ofResponse(response) {
    const body = await response.json().catch(() => null);
    return new Failure(body?.error ?? { message: `The server answered ${response.status}.` }, response);
  }

  /** A stream that just stopped: none of the gateway's ends without [DONE] or an error. */
  static truncated() {
    return new Failure({ code: "truncated" }, { broken: true });
  }

  /** From whatever was thrown: ours, the SDK's `APIError`, or a `TypeError` of a network that fails. */
  static of(error) {
    if (error instanceof Failure) return error;
    if (error.name === "TypeError") return new Failure({ message: "The service cannot be reached." }, { broken: true });
    const headers = error.headers instanceof Headers ? error.headers : null;
    return new Failure(error, { headers, broken: headers === null });
  }

  words() {
    const wait = this.retryAfterS ? ` Try again in ${this.retryAfterS} s.` : "";
    const reset = this.resetAt ? ` It is renewed ${new Date(this.resetAt).toLocaleString()}.` : "";
    return `${WORDS[this.code] ?? this.message}${wait}${reset}`;
  }
}
