// The chat page: one conversation, kept in this tab only.

import { Failure, listModels, streamChat } from "./gateway.js";
import { Meter } from "./meter.js";
import { TextView } from "./text.js";

const SETTINGS_KEY = "rillgate.page";
const FOLLOW_WITHIN_PX = 48; // so near to the end, the reader wants to stay there
const MODELS_AGAIN_MS = { first: 2000, last: 30000 };
const FINISHED_BECAUSE = {
  length: "it reached its token limit",
  content_filter: "the provider’s content filter stopped it",
  tool_calls: "it asked for a tool, and this page has none",
};

const byId = (id) => document.getElementById(id);
const scroller = byId("scroller");
const log = byId("log");
const prompt = byId("prompt");
const models = byId("model");
const settings = byId("settings");
const settingsToggle = byId("settings-toggle");
const systemPrompt = byId("system-prompt");
const maxTokens = byId("max-tokens");

/** Turns that are on the page, oldest first: `{ question, text, article }`. `text` is what the model said. */
let turns = [];
/** Aborts the answer that is running; null when none is. */
let running = null;
let following = true;

// Settings ------------------------------------------------------------------------------------------------------

const remembered = recall();
systemPrompt.value = remembered.systemPrompt ?? "";
maxTokens.value = remembered.maxTokens ?? "";
for (const field of [systemPrompt, maxTokens, models]) field.addEventListener("change", remember);

function recall() {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS_KEY)) ?? {};
  } catch {
    return {}; // storage may be switched off
  }
}

function remember() {
  const values = { systemPrompt: systemPrompt.value, maxTokens: maxTokens.value, model: models.value };
  Object.assign(remembered, values);
  try {
    localStorage.setItem(SETTINGS_KEY, JSON.stringify(values));
  } catch {
    // then they last as long as the page
  }
}

function showSettings(shown) {
  settings.hidden = !shown;
  settingsToggle.setAttribute("aria-expanded", String(shown));
  (shown ? systemPrompt : settingsToggle).focus();
}

settingsToggle.addEventListener("click", () => showSettings(settings.hidden));

// Models --------------------------------------------------------------------------------------------------------

let modelsTimer = 0;
let modelsAgainMs = MODELS_AGAIN_MS.first;

async function loadModels() {
  clearTimeout(modelsTimer);
  let found = [];
  try {
    found = await listModels();
    if (found.length) notice(null);
    else notice("No models yet.", "Set OPENAI_API_KEY or OLLAMA_HOST, or name a provider in rillgate.toml, and start Rillgate again.");
  } catch (error) {
    const title = error instanceof Failure ? error.title : "Error";
    notice(`The models could not be listed: ${title}.`, error.message);
  }
  offerModels(found);
  if (found.length) {
    modelsAgainMs = MODELS_AGAIN_MS.first;
  } else {
    modelsTimer = setTimeout(loadModels, modelsAgainMs);
    modelsAgainMs = Math.min(modelsAgainMs * 2, MODELS_AGAIN_MS.last);
  }
}

function offerModels(found) {
  if (!found.length && models.value) return; // what was known a moment ago is better than nothing
  if (found.length && found.join("\n") === Array.from(models.options, (option) => option.value).join("\n")) return;
  const wanted = models.value || remembered.model;
  // Without a list, a request may still name no model and get the gateway's default one.
  const options = found.length ? found.map((id) => new Option(id, id)) : [new Option("default model", "")];
  models.replaceChildren(...options);
  if (found.includes(wanted)) models.value = wanted;
  models.disabled = !found.length;
}

function notice(title, text = "") {
  byId("notice-title").textContent = title ?? "";
  byId("notice-text").textContent = text;
  byId("notice").hidden = title === null;
}

byId("notice-retry").addEventListener("click", loadModels);
window.addEventListener("online", loadModels);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) loadModels(); // models come and go while the tab is in the background
});

// One answer ----------------------------------------------------------------------------------------------------

/** The part of a turn that shows the model's answer while it comes. */
class AnswerView {
  constructor(article) {
    this.article = article;
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
    follow();
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
      const because = meter.cutBy ? `the gateway cut it: ${meter.cutBy}` : FINISHED_BECAUSE[reason];
      this.#stat("finish", because ? `${reason}: ${because}` : reason);
    }
    follow();
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

/** Ask the model for `turn`, after all that was said before it. */
async function answer(turn) {
  const article = instance("answer-template");
  turn.article?.remove();
  turn.article = article;
  turn.text = "";
  turn.question.after(article);
  const request = requestFor(turn); // before any await: what is on the page now
  const view = new AnswerView(article);
  const meter = new Meter(performance.now());
  const controller = new AbortController();
  setRunning(controller);

  let frame = 0;
  const paint = () => {
    view.paint(meter, performance.now());
    frame = requestAnimationFrame(paint);
  };
  paint();

  let failure = null;
  try {
    for await (const chunk of streamChat(request, controller.signal)) {
      meter.take(chunk, performance.now());
      turn.text += view.take(chunk);
    }
  } catch (error) {
    if (!controller.signal.aborted) failure = error;
  }
  cancelAnimationFrame(frame);
  meter.end(performance.now());
  const how = failure ? "failed" : controller.signal.aborted ? "stopped" : "finished";
  if (running === controller) setRunning(null);
  view.end(meter, performance.now(), how);
  if (failure) showFailure(turn, failure);
}

function requestFor(turn) {
  const messages = [];
  if (systemPrompt.value.trim()) messages.push({ role: "system", content: systemPrompt.value });
  for (const earlier of turns.slice(0, turns.indexOf(turn))) {
    if (!earlier.text) continue; // what was never answered is not part of the conversation
    messages.push({ role: "user", content: earlier.said }, { role: "assistant", content: earlier.text });
  }
  messages.push({ role: "user", content: turn.said });
  const request = { messages };
  if (models.value) request.model = models.value;
  if (maxTokens.value) request.max_tokens = Number(maxTokens.value);
  return request;
}

function showFailure(turn, failure) {
  const box = instance("failure-template");
  const facts = Object.entries(failure.facts ?? {}).filter(([, value]) => value !== undefined);
  box.querySelector(".failure-title").textContent = failure.title ?? "Error in this page";
  box.querySelector(".failure-message").textContent = failure.message;
  box.querySelector(".failure-facts").textContent = facts.map(([name, value]) => `${name} ${value}`).join(" · ");
  box.querySelector(".retry").addEventListener("click", () => {
    if (running) return;
    prompt.focus();
    following = true;
    answer(turn);
  });
  turn.article.querySelector(".stats").before(box);
  follow();
  if (failure.title?.endsWith("model_not_found")) loadModels();
}

// The conversation ----------------------------------------------------------------------------------------------

function instance(templateId) {
  return byId(templateId).content.firstElementChild.cloneNode(true);
}

function ask(said) {
  if (running || !said.trim()) return;
  byId("welcome").hidden = true;
  const question = instance("question-template");
  question.querySelector(".text").textContent = said;
  log.append(question);
  for (const retry of log.querySelectorAll(".retry")) retry.remove(); // only the last turn can be asked again
  const turn = { said, question, text: "", article: null };
  turns.push(turn);
  following = true;
  answer(turn);
}

function clear() {
  running?.abort();
  setRunning(null);
  turns = [];
  log.replaceChildren();
  byId("welcome").hidden = false;
  following = true;
  follow();
  prompt.focus();
}

function setRunning(controller) {
  const stop = byId("stop");
  const hadFocus = document.activeElement === stop || document.activeElement === byId("send");
  running = controller;
  stop.hidden = !controller;
  byId("send").hidden = Boolean(controller);
  if (hadFocus) prompt.focus(); // a hidden button would drop it
}

byId("clear").addEventListener("click", clear);
byId("stop").addEventListener("click", () => running?.abort());
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    prompt.focus();
    ask(example.textContent);
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (running) running.abort();
  else if (!settings.hidden) showSettings(false);
});

// The field for the message -------------------------------------------------------------------------------------

function autosize() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
  byId("send").disabled = !prompt.value.trim();
}

function send() {
  if (running || !prompt.value.trim()) return;
  const said = prompt.value;
  prompt.value = "";
  autosize();
  ask(said);
}

prompt.addEventListener("input", autosize);
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});

// Scrolling -----------------------------------------------------------------------------------------------------

function follow() {
  if (following) scroller.scrollTop = scroller.scrollHeight;
}

new ResizeObserver(follow).observe(scroller); // the settings, a notice or a growing message take room

let lastTop = 0;
scroller.addEventListener("scroll", () => {
  const toEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  const up = scroller.scrollTop < lastTop;
  lastTop = scroller.scrollTop;
  // The first pixel upwards counts: a wheel moves by a few in each frame, and must not be pulled back.
  if (up) following = toEnd <= 1;
  else following ||= toEnd < FOLLOW_WITHIN_PX;
  byId("to-end").hidden = following;
});
byId("to-end").addEventListener("click", () => {
  following = true;
  follow();
  prompt.focus();
});

autosize();
loadModels();
