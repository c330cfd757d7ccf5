// Scenarios of Anthropic's own SDK.

import Anthropic from "@anthropic-ai/sdk";
import { told } from "./told.mjs";

const clientOf = ({ url, key, maxRetries = 0 }) => new Anthropic({ baseURL: url, apiKey: key, maxRetries });
const asking = ({ fields }) => ({
  model: "gpt-4o",
  max_tokens: 100,
  messages: [{ role: "user", content: "Say hello." }],
  ...fields,
});

// Every event of a stream: which they were, what they say, and how it ended.
export async function stream(options) {
  const seen = { events: [], texts: [], error: null };
  try {
    const wish = { ...asking(options), stream: true };
    const { data, response } = await clientOf(options).messages.create(wish).withResponse();
    seen.requestId = response.headers.get("request-id");
    for await (const event of data) {
      if (seen.events.at(-1) !== event.type) seen.events.push(event.type);
      if (event.delta?.text) seen.texts.push(event.delta.text);
    }
  } catch (error) {
    seen.error = told(error, Anthropic);
  }
  return seen;
}

// The helper that puts a stream together.
export async function helper(options) {
  const texts = [];
  try {
    const running = clientOf(options).messages.stream(asking(options));
    running.on("text", (delta) => texts.push(delta));
    return { texts, message: await running.finalMessage(), error: null };
  } catch (error) {
    return { texts, error: told(error, Anthropic) };
  }
}

// A whole answer, or why there is none.
export async function answer(options) {
  try {
    const message = await clientOf(options).messages.create(asking(options));
    return { message, requestId: message._request_id, error: null };
  } catch (error) {
    return { error: told(error, Anthropic) };
  }
}

// Left after the first piece.
export async function abort(options) {
  const texts = [];
  const events = await clientOf(options).messages.create({ ...asking(options), stream: true });
  for await (const event of events) {
    if (event.delta?.text) {
      texts.push(event.delta.text);
      events.controller.abort();
    }
  }
  return { texts };
}

export async function abortHelper(options) {
  const running = clientOf(options).messages.stream(asking(options));
  running.once("text", () => running.abort());
  return { error: await running.done().then(() => null, (error) => told(error, Anthropic)) };
}

export async function count(options) {
  const { model, messages } = asking(options);
  return clientOf(options).messages.countTokens({ model, messages });
}

export async function models(options) {
  const ids = [];
  for await (const model of clientOf(options).models.list()) ids.push(model.id);
  return { ids };
}
