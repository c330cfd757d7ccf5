// What the gateway says of budgets, in words.

/**
 * Why the gateway ended an answer.
 *
 * Shape: `{ stop: "budget", scope: "team:core", reset: "2026-11-22T00:00:00Z" }`, the field `rillgate` of the chunk with
 * the finish reason; no `reset` for a budget in total, and the scope "request" for a cap of the request's own.
 */
export function cutWords({ stop, scope, reset }) {
  if (stop !== "budget" || !scope) return `the gateway cut it: ${stop}`;
  if (scope === "request") return "the gateway cut it: the limit of this request";
  const renewed = reset ? `, which is renewed ${moment(reset)}` : "";
  return `cut by the budget of ${scope}${renewed}`;
}

/** Whose limit refused a request and when it is renewed, from the headers of an error: facts to show. */
export function refusalFacts(headers) {
  const reset = headers.get("x-rillgate-reset");
  return { scope: headers.get("x-rillgate-scope") ?? undefined, renewed: reset ? moment(reset) : undefined };
}

/**
 * What the tightest budgets leave, from the headers of an answer; "" where there are none.
 *
 * They were written when the answer began, with all that it might have needed held back: it is never less than that.
 */
export function leftWords(headers) {
  const tokens = headers.get("x-ratelimit-remaining-tokens");
  const usd = headers.get("x-rillgate-remaining-usd");
  const left = [];
  if (tokens && /^\d+$/.test(tokens)) left.push(`${Number(tokens).toLocaleString()} tokens`);
  if (usd && /^\d+(\.\d+)?$/.test(usd)) left.push(dollars(usd));
  return left.length ? `at least ${left.join(" and ")} left` : "";
}

/** "12.345678901" → "$12.34": cut, never rounded up, since it is all that one may spend. */
function dollars(usd) {
  const [whole, rest = ""] = usd.split(".");
  return `$${whole}.${rest.padEnd(2, "0").slice(0, 2)}`;
}

/** A moment in RFC 3339, as people here write it; what is none is shown as it came. */
function moment(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? text : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
