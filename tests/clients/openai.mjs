// Scenarios of OpenAI's own SDK.

import OpenAI from "openai";
import { told } from "./told.mjs";

const QUESTION = [{ role: "user", content: "Say hello." }];
const TOOLS = ["weather", "time"].map((name) => ({
  type: "function",
  function: { name, parameters: { type: "object", properties: {} } },
}));

const clientOf = ({ url, key, maxRetries = 0 }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries });
const asking = ({ fields }) => ({ model: "gpt-4o", messages: QUESTION, ...fields });

// Every chunk of a stream: what it says, and how it ended.
export async function stream(options) {
  const seen = { texts: [], finish: [], usage: [], extra: [], fragments: [], error: null };
  try {
    const wish = { ...asking(options), stream: true, stream_options: { include_usage: true } };
    const { data, response } = await clientOf(options).chat.completions.create(wish).withResponse();
    seen.requestId = response.headers.get("x-request-id");
    for await (const chunk of data) {
      if (chunk.usage) seen.usage.push(chunk.usage);
      if (chunk.rillgate) seen.extra.push(chunk.rillgate);
      for (const choice of chunk.choices) {
        if (choice.delta.content) seen.texts.push(choice.delta.content);
        if (choice.finish_reason) seen.finish.push(choice.finish_reason);
        seen.fragments.push(...(choice.delta.tool_calls ?? []));
      }
    }
  } catch (error) {
    seen.error = told(error, OpenAI);
  }
  return seen;
}

// The helper that puts a stream together.
export async function helper(options) {
  const texts = [];
  try {
    const running = clientOf(options).chat.completions.stream({
      ...asking(options),
      stream_options: { include_usage: true },
    });
    running.on("content", (delta) => texts.push(delta));
    return { texts, completion: await running.finalChatCompletion(), error: null };
  } catch (error) {
    return { texts, error: told(error, OpenAI) };
  }
}

// A whole answer, or why there is none.
export async function answer(options) {
  try {
    const completion = await clientOf(options).chat.completions.create(asking(options));
    return { completion, requestId: completion._request_id, error: null };
  } catch (error) {
    return { error: told(error, OpenAI) };
  }
}

// The helper that calls the functions itself and goes on with their results.
export async function tools(options) {
  const called = [];
  const functions = TOOLS.map(({ function: { name, parameters } }) => ({
    type: "function",
    function: {
      name,
      parameters,
      parse: JSON.parse,
      function: (given) => {
        called.push([name, given]);
        return `${name} is fine`;
      },
    },
  }));
  const { fields, ...more } = options;
  const running = clientOf(more).chat.completions.runTools({ ...asking({ fields }), tools: functions });
  return { text: await running.finalContent(), called, messages: running.messages };
}

// Left after the first piece, by closing the stream or by the helper's own abort.
export async function abort(options) {
  const client = clientOf(options);
  const texts = [];
  const chunks = await client.chat.completions.create({ ...asking(options), stream: true });
  for await (const chunk of chunks) {
    if (chunk.choices[0]?.delta.content) {
      texts.push(chunk.choices[0].delta.content);
      chunks.controller.abort();
    }
  }
  return { texts };
}

export async function abortHelper(options) {
  const running = clientOf(options).chat.completions.stream(asking(options));
  running.once("content", () => running.abort());
  return { error: await running.done().then(() => null, (error) => told(error, OpenAI)) };
}

// Left while there is no answer at all.
export async function abortEarly(options) {
  const controller = new AbortController();
  const asked = clientOf(options).chat.completions.create(asking(options), { signal: controller.signal });
  const failed = asked.then(() => null, (error) => told(error, OpenAI));
  await fetch(options.arrived); // answered as soon as the provider has been asked
  controller.abort();
  return { error: await failed };
}

export async function models(options) {
  const ids = [];
  for await (const model of clientOf(options).models.list()) ids.push(model.id);
  return { ids };
}
