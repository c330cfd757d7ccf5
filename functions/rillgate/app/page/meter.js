// Times and counts of one answer. Times are milliseconds of the caller's clock.

/** Live rates jump about while they rest on a handful of chunks. */
const RATE_AFTER_MS = 250;

/** Watches the chunks of one answer go by. Until usage comes, one chunk with content counts as one token. */
export class Meter {
  #startedAt;
  #firstAt = null;
  #lastAt = null;
  #endedAt = null;
  #chunks = 0;
  #sawReasoning = false;
  #usage = null;
  #estimated = false;

  finishReason = null;
  cut = null; // what the gateway says of it, if it ended the answer itself
  model = null;

  constructor(now) {
    this.#startedAt = now;
  }

  take(chunk, now) {
    const choice = chunk.choices?.[0];
    const delta = choice?.delta ?? {};
    const reasoning = delta.reasoning_content ?? delta.reasoning;
    if (delta.content || delta.refusal || reasoning) {
      this.#firstAt ??= now;
      this.#lastAt = now;
      this.#chunks += 1;
    }
    if (reasoning) this.#sawReasoning = true;
    if (choice?.finish_reason) this.finishReason = choice.finish_reason;
    if (chunk.rillgate?.stop) this.cut = chunk.rillgate;
    if (chunk.rillgate?.estimated) this.#estimated = true;
    if (chunk.usage) this.#usage = chunk.usage;
    if (chunk.model) this.model = chunk.model;
  }

  end(now) {
    this.#endedAt = now;
  }

  /** Milliseconds from the request to the first word; null before it came. */
  get firstTokenMs() {
    return this.#firstAt === null ? null : this.#firstAt - this.#startedAt;
  }

  waitedMs(now) {
    return now - this.#startedAt;
  }

  get inputTokens() {
    return this.#usage?.prompt_tokens ?? null;
  }

  get outputTokens() {
    return this.#usage?.completion_tokens ?? this.#chunks;
  }

  /** Whether the counts are guesses: ours from chunks, or the gateway's own where a provider gives none. */
  get estimated() {
    return this.#estimated || typeof this.#usage?.completion_tokens !== "number";
  }

  /** Tokens after the first, by the time from the first to the last; null where that says nothing. */
  tokensPerSecond(now) {
    const running = this.#endedAt === null;
    const elapsedMs = (running ? now : this.#lastAt) - this.#firstAt;
    if (this.#firstAt === null || elapsedMs <= 0 || (running && elapsedMs < RATE_AFTER_MS)) return null;
    // Reasoning that is not shown was over before the first word came: it does not belong to this time.
    const hidden = this.#sawReasoning ? 0 : (this.#usage?.completion_tokens_details?.reasoning_tokens ?? 0);
    const tokens = this.outputTokens - hidden - 1;
    return tokens > 0 ? (tokens * 1000) / elapsedMs : null;
  }
}
