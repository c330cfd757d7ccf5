// Third way: the OpenAI SDK, in the browser. `npm install` brings it; the page's import map says where it is.

import { Failure } from "./failure.js";
import { access } from "./tickets.js";

/** Streams the answer to `prompt` into `run`. Throws the SDK's APIError, or an APIUserAbortError after `run.stop()`. */
export async function withOpenAI(prompt, run) {
  const { OpenAI } = await import("openai");
  const { gateway, ticket, model } = await access();
  const client = new OpenAI({
    baseURL: `${gateway}/v1`,
    apiKey: ticket,
    dangerouslyAllowBrowser: true, // the danger is a key in the browser; this is a ticket
  });
  run.began({ gateway, ticket });
  const stream = await client.chat.completions.create(
    { model: model ?? "", stream: true, messages: [{ role: "user", content: prompt }] },
    { signal: run.signal, headers: { "x-client-request-id": run.id } },
  );
  for await (const chunk of stream) run.take(chunk);
  run.signal.throwIfAborted(); // for the SDK an aborted stream just ends, and so does one that breaks off
  if (!run.finished) throw Failure.truncated();
}
