// The form: asks in the chosen way, shows the words as they come, and how it ended.

import { Failure } from "./failure.js";
import { Run } from "./run.js";
import { withEventSource } from "./with-eventsource.js";
import { withFetch } from "./with-fetch.js";
import { withOpenAI } from "./with-openai.js";

const WAYS = { fetch: withFetch, eventsource: withEventSource, openai: withOpenAI };

const form = document.getElementById("ask");
const answer = document.getElementById("answer");
const status = document.getElementById("status");
const send = document.getElementById("send");
const stop = document.getElementById("stop");

let run = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  answer.replaceChildren();
  say("running", "…");
  run = new Run((text) => answer.append(text)); // text nodes, never HTML: a model's words are a stranger's words
  busy(true);
  const { way, prompt } = Object.fromEntries(new FormData(form));
  try {
    await WAYS[way](prompt, run);
    run.over();
    say("done", run.ending());
  } catch (error) {
    const failure = Failure.of(error);
    run.over(failure);
    if (run.signal.aborted) say("stopped", "Stopped.");
    else say("failed", failure.words());
  } finally {
    busy(false);
  }
});

stop.addEventListener("click", () => run?.stop());

function busy(yes) {
  send.disabled = yes;
  stop.disabled = !yes;
}

function say(kind, text) {
  status.dataset.kind = kind;
  status.textContent = text;
}
