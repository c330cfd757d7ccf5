// One scenario of one client: `node run.mjs openai text '{"baseURL": …}'` prints what the client made of it, as JSON.
//
// The clients are as they come. Only their waits between two tries take no time: they are remembered instead.

const napsMs = [];
const NAP_MS_MAX = 90_000; // longer ones are deadlines, which stay what they are
const timer = globalThis.setTimeout;
globalThis.setTimeout = (callback, ms, ...more) => {
  const [, , caller = ""] = new Error().stack.split("\n");
  if (!caller.includes("node_modules") || !(ms >= 50 && ms <= NAP_MS_MAX)) return timer(callback, ms, ...more);
  napsMs.push(Math.round(ms));
  return timer(callback, 0, ...more);
};

const [client, scenario, text] = process.argv.slice(2);
const options = JSON.parse(text);
const scenarios = await import(`./${client}.mjs`);
const result = await scenarios[scenario](options);
if (options.after) await fetch(options.after); // answered when the test has seen what it waits for: we are alive until then
process.stdout.write(`${JSON.stringify({ ...result, napsMs })}\n`);
process.exit(0); // open connections of a client's pool would keep it for seconds
