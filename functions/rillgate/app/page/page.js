// The chat page: one conversation, kept in this tab only.

import { AnswerView } from "./answer.js";
import { leftWords } from "./budget.js";
import { Failure, hasKey, listModels, streamChat, useKey } from "./gateway.js";
import { KeyForm } from "./key.js";
import { Meter } from "./meter.js";

const SETTINGS_KEY = "rillgate.page";
const FOLLOW_WITHIN_PX = 48; // so near to the end, the reader wants to stay there
const MODELS_AGAIN_MS = { first: 2000, last: 30000 };

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
let modelsAsked = 0;

async function loadModels() {
  clearTimeout(modelsTimer);
  if (lacksKey()) return;
  const mine = ++modelsAsked;
  let found = [];
  try {
    found = await listModels();
    if (mine !== modelsAsked) return; // asked again meanwhile, perhaps with another key
    acceptKey();
    if (found.length) notice(null);
    else notice("No models yet.", "Set OPENAI_API_KEY or OLLAMA_HOST, or name a provider in rillgate.toml, and start Rillgate again.");
  } catch (error) {
    if (mine !== modelsAsked) return;
    if (error.asksForKey) return askForKey(error);
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
  const none = lacksKey() ? "no key yet" : "default model";
  const options = found.length ? found.map((id) => new Option(id, id)) : [new Option(none, "")];
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

// The key -------------------------------------------------------------------------------------------------------

const keyForm = new KeyForm((key) => {
  useKey(key);
  loadModels(); // says whether it is right
});

/** Whether the gateway asks for a key, and there is none. */
function lacksKey() {
  return keyForm.shown && !hasKey();
}

function askForKey(failure) {
  useKey(null);
  modelsAsked += 1; // a list that is still to come is that of the old key
  clearTimeout(modelsTimer);
  notice(null);
  byId("key-used").hidden = true;
  keyForm.ask(failure);
  offerModels([]);
  if (document.activeElement !== prompt || !prompt.value) keyForm.focus(); // nobody's words go into the wrong field
}

function acceptKey() {
  byId("key-used").hidden = !hasKey();
  if (!keyForm.shown || !keyForm.accept()) return;
  const retry = prompt.value ? null : log.querySelector(".retry"); // what was refused waits to be asked again
  (retry ?? prompt).focus();
}

byId("forget-key").addEventListener("click", () => {
  useKey(null);
  byId("key-used").hidden = true;
  showSettings(false);
  loadModels();
});

// One answer ----------------------------------------------------------------------------------------------------

/** Ask the model for `turn`, after all that was said before it. */
async function answer(turn) {
  const article = instance("answer-template");
  turn.article?.remove();
  turn.article = article;
  turn.text = "";
  turn.question.after(article);
  const request = requestFor(turn); // before any await: what is on the page now
  const view = new AnswerView(article, follow);
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
  let left = "";
  const onHeaders = (headers) => {
    left = leftWords(headers);
  };
  try {
    for await (const chunk of streamChat(request, controller.signal, onHeaders)) {
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
  view.left(left);
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
    if (lacksKey()) return keyForm.focus();
    prompt.focus();
    following = true;
    answer(turn);
  });
  turn.article.querySelector(".stats").before(box);
  follow();
  if (failure.code === "model_not_found") loadModels();
  if (failure.asksForKey) askForKey(failure);
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
    if (!running && lacksKey()) {
      prompt.value = example.textContent;
      autosize();
      keyForm.focus();
      return;
    }
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
  if (lacksKey()) return keyForm.focus(); // what was written stays
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
  if (following && turns.length) scroller.scrollTop = scroller.scrollHeight; // the welcome begins at its top
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
