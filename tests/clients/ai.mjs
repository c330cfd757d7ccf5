// Scenarios of the AI SDK with its provider for servers that speak OpenAI's dialect.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, jsonSchema, RetryError, stepCountIs, streamText, tool } from "ai";

const PROMPT = "Say hello.";

const modelOf = ({ url, key }) =>
  createOpenAICompatible({ name: "rillgate", baseURL: `${url}/v1`, apiKey: key, includeUsage: true })("gpt-4o");
const asking = (options) => ({ model: modelOf(options), prompt: PROMPT, maxRetries: options.maxRetries ?? 0 });

function told(error) {
  const last = RetryError.isInstance(error) ? error.lastError : error;
  return {
    name: error?.name,
    message: error?.message,
    tries: RetryError.isInstance(error) ? error.errors.length : 1,
    isCall: APICallError.isInstance(last),
    status: last?.statusCode,
    retryable: last?.isRetryable,
    data: last?.data,
  };
}

// Everything that a stream says, part by part.
export async function stream(options) {
  const seen = { kinds: [], texts: [], reasoning: [], errors: [], finish: null, usage: null };
  const running = streamText({ ...asking(options), ...options.fields, onError: () => {} });
  for await (const part of running.fullStream) {
    if (seen.kinds.at(-1) !== part.type) seen.kinds.push(part.type);
    if (part.type === "text-delta") seen.texts.push(part.text);
    if (part.type === "reasoning-delta") seen.reasoning.push(part.text);
    if (part.type === "error") seen.errors.push(told(part.error));
    if (part.type === "finish") Object.assign(seen, { finish: part.finishReason, usage: part.totalUsage });
  }
  return seen;
}

// A whole answer, or why there is none.
export async function answer(options) {
  try {
    const { text, finishReason, usage } = await generateText({ ...asking(options), ...options.fields });
    return { text, finish: finishReason, usage, error: null };
  } catch (error) {
    return { error: told(error) };
  }
}

// Two steps: calls, then what the model makes of their results; streamed or not.
export async function tools(options) {
  const called = [];
  const make = (name) =>
    tool({
      inputSchema: jsonSchema({ type: "object", properties: {} }),
      execute: (given, { toolCallId }) => {
        called.push([toolCallId, name, given]);
        return `${name} is fine`;
      },
    });
  const wish = { ...asking(options), tools: { weather: make("weather"), time: make("time") }, stopWhen: stepCountIs(3) };
  const running = options.streaming ? streamText(wish) : await generateText(wish);
  const steps = await running.steps;
  return { text: await running.text, called, finish: steps.map((step) => step.finishReason) };
}

// Left after the first piece.
export async function abort(options) {
  const controller = new AbortController();
  const kinds = [];
  let aborted = false;
  const running = streamText({
    ...asking(options),
    abortSignal: controller.signal,
    onAbort: () => {
      aborted = true;
    },
    onError: () => {},
  });
  for await (const part of running.fullStream) {
    kinds.push(part.type);
    if (part.type === "text-delta") controller.abort();
  }
  return { kinds, aborted };
}
