// First way: plain `fetch`. No package, any body, headers in both directions, and it can be aborted.

import { Failure } from "./failure.js";
import { access } from "./tickets.js";

/** Streams the answer to `prompt` into `run`. Throws a Failure, or an AbortError after `run.stop()`. */
export async function withFetch(prompt, run) {
  const { gateway, ticket, model } = await access();
  run.began({ gateway, ticket });
  const response = await fetch(`${gateway}/v1/chat/completions`, {
    method: "POST",
    signal: run.signal,
    headers: {
      authorization: `Bearer ${ticket}`,
      "content-type": "application/json",
      "x-client-request-id": run.id,
    },
    body: JSON.stringify({ model, stream: true, messages: [{ role: "user", content: prompt }] }),
  });
  if (!response.ok) throw await Failure.ofResponse(response);
  for await (const data of eventData(response.body)) {
    if (data === "[DONE]") return;
    run.take(JSON.parse(data));
  }
  throw Failure.truncated();
}

/**
 * The data of each event of this stream.
 *
 * Chat Completions puts each event on one `data:` line, so lines are enough; comments (`: ping`) are skipped. A chunk of
 * bytes may end anywhere, in a character too, and several events may come in one.
 */
async function* eventData(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) yield line.slice(5).trim();
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
