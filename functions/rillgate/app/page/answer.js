// One answer on the page while it comes: its words, and the numbers below them.

import { cutWords } from "./budget.js";
import { TextView } from "./text.js";

const FINISHED_BECAUSE = {
  length: "it reached its token limit",
  content_filter: "the provider’s content filter stopped it",
  tool_calls: "it asked for a tool, and this page has none",
};

/** Shows one answer in `article`, a copy of the page's template; `follow` is called when it has grown. */
export class AnswerView {
  #follow;

  constructor(article, follow) {
    this.article = article;
    this.#follow = follow;
    this.text = new TextView(article.querySelector(":scope > .text"));
    this.reasoning = new TextView(article.querySelector(".reasoning .text"));
    this.pending = { text: "", reasoning: "" };
    article.setAttribute("aria-busy", "true"); // the whole answer is announced when it is there, not each word
  }

  /** Keep what `chunk` brings for the next paint; returns its visible text. */
  take(chunk) {
    const delta = chunk.choices?.[0]?.delta ?? {};
    const text = delta.content || delta.refusal || "";
    this.pending.text += text;
    this.pending.reasoning += delta.reasoning_content ?? delta.reasoning ?? "";
    return text;
  }

  paint(meter, now) {
    const { text, reasoning } = this.pending;
    this.pending = { text: "", reasoning: "" };
    if (text) this.text.append(text);
    if (reasoning) {
      this.reasoning.append(reasoning);
      this.article.querySelector(".reasoning").hidden = false;
    }
    const waiting = this.article.querySelector(".waiting");
    waiting.hidden = meter.firstTokenMs !== null;
    const waitedMs = meter.waitedMs(now);
    if (!waiting.hidden && waitedMs >= 2000) {
      waiting.querySelector(".elapsed").textContent = `${Math.floor(waitedMs / 1000)} s`;
    }
    this.#stats(meter, now);
    this.#follow();
  }

  end(meter, now, how) {
    this.paint(meter, now);
    this.text.end();
    this.reasoning.end();
    const waiting = this.article.querySelector(".waiting");
    waiting.hidden = meter.firstTokenMs !== null || how === "failed";
    waiting.textContent = how === "stopped" ? "Stopped before the first word came." : "The model had nothing to say.";
    this.article.setAttribute("aria-busy", "false");
    this.article.dataset.end = how;
    if (meter.model) this.#stat("model", meter.model);
    if (how === "stopped" && meter.firstTokenMs !== null) this.#stat("finish", "stopped");
    const reason = meter.finishReason;
    if (reason && reason !== "stop") {
      const because = meter.cut ? cutWords(meter.cut) : FINISHED_BECAUSE[reason];
      this.#stat("finish", because ? `${reason}: ${because}` : reason);
    }
    this.#follow();
  }

  /** What the budgets leave, in words; "" where the gateway says nothing of it. */
  left(words) {
    if (words) this.#stat("left", words);
  }

  #stats(meter, now) {
    const about = meter.estimated ? "≈ " : "";
    if (meter.firstTokenMs !== null) this.#stat("ttft", `first token ${duration(meter.firstTokenMs)}`);
    const rate = meter.tokensPerSecond(now);
    if (rate !== null) this.#stat("rate", `${about}${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s`);
    if (meter.inputTokens !== null) this.#stat("input", `${about}${meter.inputTokens} in`);
    if (meter.outputTokens) this.#stat("output", `${about}${meter.outputTokens} out`);
  }

  #stat(name, text) {
    const item = this.article.querySelector(`[data-stat=${name}]`);
    item.hidden = false;
    if (item.textContent !== text) item.textContent = text;
  }
}

function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}
