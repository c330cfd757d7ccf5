// Scenarios of OpenAI's own SDK on its Responses API.

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { told } from "./told.mjs";

const TOOLS = ["weather", "time"].map((name) => ({
  type: "function",
  name,
  parameters: { type: "object", properties: {} },
  strict: false,
}));

const clientOf = ({ url, key, maxRetries = 0 }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries });
const asking = ({ fields }) => ({ model: "gpt-4o", input: "Say hello.", ...fields });

// Every event of a stream: its type, its text, and how it ended.
export async function stream(options) {
  const seen = { kinds: [], numbers: [], texts: [], response: null, error: null };
  try {
    const { data, response } = await clientOf(options)
      .responses.create({ ...asking(options), stream: true })
      .withResponse();
    seen.requestId = response.headers.get("x-request-id");
    for await (const event of data) {
      seen.numbers.push(event.sequence_number);
      if (seen.kinds.at(-1) !== event.type) seen.kinds.push(event.type);
      if (event.type === "response.output_text.delta") seen.texts.push(event.delta);
      if (event.response) seen.response = event.response;
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
    const running = clientOf(options).responses.stream(asking(options));
    running.on("response.output_text.delta", ({ delta }) => texts.push(delta));
    return { texts, response: await running.finalResponse(), error: null };
  } catch (error) {
    return { texts, error: told(error, OpenAI) };
  }
}

// A whole answer, or why there is none.
export async function answer(options) {
  try {
    const response = await clientOf(options).responses.create(asking(options));
    return { response, text: response.output_text, requestId: response._request_id, error: null };
  } catch (error) {
    return { error: told(error, OpenAI) };
  }
}

// An answer after a schema, parsed.
export async function parse(options) {
  const format = zodTextFormat(z.object({ name: z.string() }), "city");
  const response = await clientOf(options).responses.parse({ ...asking(options), text: { format } });
  return { parsed: response.output_parsed };
}

// Calls, and what the model makes of their results: the items go back as they came.
export async function tools(options) {
  const client = clientOf(options);
  const input = [{ role: "user", content: "Weather?" }];
  const wish = { ...asking(options), tools: TOOLS };
  const first = await client.responses.stream({ ...wish, input }).finalResponse();
  const calls = first.output.filter((item) => item.type === "function_call");
  input.push(...first.output);
  for (const { call_id, name } of calls) {
    input.push({ type: "function_call_output", call_id, output: `${name} is fine` });
  }
  const last = await client.responses.create({ ...wish, input });
  return { called: calls.map((call) => [call.call_id, call.name, JSON.parse(call.arguments)]), text: last.output_text };
}

// Left after the first piece, by closing the stream or by the helper's own abort.
export async function abort(options) {
  const texts = [];
  const events = await clientOf(options).responses.create({ ...asking(options), stream: true });
  for await (const event of events) {
    if (event.type !== "response.output_text.delta") continue;
    texts.push(event.delta);
    events.controller.abort();
  }
  return { texts };
}

export async function abortHelper(options) {
  const running = clientOf(options).responses.stream(asking(options));
  running.once("response.output_text.delta", () => running.abort());
  return { error: await running.done().then(() => null, (error) => told(error, OpenAI)) };
}
