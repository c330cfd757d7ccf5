// The two calls that the page makes, and everything that can go wrong with them.

import { refusalFacts } from "./budget.js";
import { EventReader } from "./sse.js";

/** What the page shows instead of an answer: a title, a sentence, and facts to quote when asking for help. */
export class Failure extends Error {
  /** The gateway's word for it, if it has one. */
  code = null;
  /** Whether another key than the one in use is needed. */
  asksForKey = false;

  constructor(title, message, facts = {}) {
    super(message);
    this.title = title;
    this.facts = facts;
  }
}

/** Goes out with every call. It is here and nowhere else: no storage, no cookie, no address. */
let key = null;

/** From now on calls carry this key; null for none. */
export function useKey(value) {
  key = value;
}

export function hasKey() {
  return key !== null;
}

/** The gateway's models, as a list of ids. Throws a Failure. */
export async function listModels() {
  const response = await call("v1/models", { cache: "no-store" });
  const body = await response.json().catch(() => null);
  if (!Array.isArray(body?.data)) {
    throw new Failure("Not a list of models", "Something else than the gateway answered.", factsOf(response));
  }
  return body.data.map((model) => String(model.id));
}

/**
 * Yields the chunks of one streamed answer, up to `[DONE]`. `onHeaders` gets its headers when they have come.
 *
 * Throws a Failure for an HTTP error, an error inside the stream, a stream that ends without `[DONE]` and a network
 * that fails. An abort of `signal` looks like a network that fails: ask the signal first.
 */
export async function* streamChat(request, signal, onHeaders) {
  const response = await call("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  onHeaders(response.headers);
  const facts = factsOf(response);
  const events = new EventReader();
  const reader = response.body.getReader();
  let complete = false;
  try {
    while (!complete) {
      const { done, value } = await reader.read().catch(() => {
        throw broken(facts);
      });
      for (const { data } of done ? events.end() : events.feed(value)) {
        complete = data.startsWith("[DONE]");
        if (complete) break;
        const chunk = parse(data, done, facts);
        if (chunk.error) throw said(chunk.error, "The stream failed", facts);
        yield chunk;
      }
      if (done && !complete) throw broken(facts);
    }
  } catch (error) {
    if (error instanceof RangeError) throw new Failure("An event is too large", error.message, facts);
    throw error;
  } finally {
    // Read to its end, a finished answer leaves its connection usable; any other is let go at once.
    if (complete) drain(reader);
    else reader.cancel().catch(() => {});
  }
}

async function drain(reader) {
  try {
    while (!(await reader.read()).done);
  } catch {
    // it was complete before it broke
  }
}

async function call(path, options) {
  const used = key;
  const headers = used === null ? options.headers : { ...options.headers, authorization: `Bearer ${used}` };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Failure("The gateway cannot be reached", "No connection. Is it running, and is your network up?");
  }
  if (response.ok) return response;
  const text = await response.text().catch(() => "");
  let error = text;
  try {
    const body = JSON.parse(text);
    error = body.error ?? body.message ?? body.detail ?? body;
  } catch {
    // a proxy's page, not the gateway's JSON: shown as it came
  }
  const failure = said(error, `Error ${response.status}`, { ...factsOf(response), ...refusalFacts(response.headers) });
  // A proxy's 401 has no code of ours; and of a key that is no longer in use nobody wants to hear.
  failure.asksForKey = response.status === 401 && failure.code !== null && used === key;
  throw failure;
}

/** A Failure from an error object in OpenAI's shape, or from whatever came in its place. */
function said(error, title, facts) {
  if (typeof error !== "object" || error === null) {
    return new Failure(title, String(error).trim().slice(0, 500) || "The answer says no more than that.", facts);
  }
  const name = error.code ?? error.type;
  const message = error.message ?? JSON.stringify(error).slice(0, 500);
  const failure = new Failure(name ? `${title} · ${name}` : title, message, { ...facts, field: error.param ?? undefined });
  failure.code = name ?? null;
  return failure;
}

function broken(facts) {
  return new Failure("The connection broke", "The answer ended before it was complete.", facts);
}

function parse(data, atEnd, facts) {
  try {
    const chunk = JSON.parse(data);
    if (typeof chunk === "object" && chunk !== null) return chunk;
  } catch {
    if (atEnd) throw broken(facts); // an event cut in two by the end of the stream
  }
  throw new Failure("Not a chunk of an answer", "The stream holds something that is not a JSON object.", facts);
}

function factsOf(response) {
  return {
    "request id": response.headers.get("x-request-id") ?? undefined,
    "retry after": seconds(response.headers.get("retry-after")),
  };
}

function seconds(value) {
  return value && /^\d+$/.test(value) ? `${value} s` : (value ?? undefined);
}
