// Errors in words for users. Before the stream `useChat` has the answer's body for a message, inside it the sentence.

const WORDS = {
  insufficient_quota: "The budget is used up.",
  rate_limit_exceeded: "Too much at once. Wait a little.",
  budget_unavailable: "Busy. Try again in a moment.",
  overloaded: "Busy. Try again in a moment.",
};

/** What to show for an error of `useChat`. */
export function explained(error) {
  let said = null;
  try {
    said = JSON.parse(error.message).error;
  } catch {
    // No JSON: it came inside the stream, or the connection broke.
  }
  return said ? (WORDS[said.code] ?? said.message) : error.message;
}
