// A chat of one page: `useChat` as it comes, with the gateway for its server.

import { useChat } from "@ai-sdk/react";
import { lastAssistantMessageIsCompleteWithToolCalls } from "ai";
import { useState } from "react";
import { explained } from "./failure.js";
import { gatewayTransport } from "./gateway.js";
import { run, TOOLS } from "./tools.js";

const transport = gatewayTransport({ tools: TOOLS });

export function Chat() {
  const [prompt, setPrompt] = useState("");
  const { messages, sendMessage, addToolOutput, regenerate, stop, status, error } = useChat({
    transport,
    // Tools run here, in the page. Do not await what answers a call: the next request waits for this function.
    onToolCall: ({ toolCall }) => {
      run(toolCall).then(({ output, errorText }) => {
        const call = { tool: toolCall.toolName, toolCallId: toolCall.toolCallId };
        addToolOutput(errorText ? { ...call, state: "output-error", errorText } : { ...call, output });
      });
    },
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
  });
  const busy = status === "submitted" || status === "streaming";

  function send(event) {
    event.preventDefault();
    if (busy || !prompt.trim()) return;
    sendMessage({ text: prompt });
    setPrompt("");
  }

  return (
    <>
      <h1>useChat on Rillgate</h1>
      <ol>
        {messages.map((message) => (
          <Message key={message.id} message={message} />
        ))}
      </ol>
      <form onSubmit={send}>
        <input value={prompt} onChange={(event) => setPrompt(event.target.value)} aria-label="Your message" autoFocus />
        {busy ? (
          <button type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button type="submit">Send</button>
        )}
        {status === "error" && (
          <button type="button" onClick={() => regenerate()}>
            Try again
          </button>
        )}
      </form>
      <p id="status" data-kind={error ? "failed" : status}>
        {error ? explained(error) : { submitted: "Waiting…", streaming: "Streaming…", ready: "Ready." }[status]}
      </p>
    </>
  );
}

/** What a model writes may be what a stranger wrote: text is shown as text. */
function Message({ message }) {
  return (
    <li data-role={message.role}>
      {message.parts.map((part, index) => (
        <Part key={index} part={part} />
      ))}
      <Note metadata={message.metadata} />
    </li>
  );
}

function Part({ part }) {
  if (part.type === "text") return <span className="text">{part.text}</span>;
  if (part.type === "reasoning") return part.text ? <span className="reasoning">{part.text}</span> : null;
  if (!part.type.startsWith("tool-")) return null;
  const said = part.state === "output-error" ? part.errorText : part.output;
  return (
    <span className="call">
      {part.type.slice("tool-".length)}: {said === undefined ? "…" : String(said)}
    </span>
  );
}

/** What the gateway says beside the words: usage, and whose budget an answer has met. */
function Note({ metadata }) {
  if (!metadata?.usage) return null;
  const { inputTokens, outputTokens } = metadata.usage;
  const cut = metadata.rillgate;
  return (
    <span className="note">
      {inputTokens} in, {outputTokens} out
      {cut?.stop === "budget" && `. Cut: the budget of ${cut.scope} is used up${cut.reset ? ` until ${cut.reset}` : ""}.`}
    </span>
  );
}
