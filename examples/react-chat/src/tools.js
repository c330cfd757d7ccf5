// Tools that run in the page: what the model is told of them, and what they do.

export const TOOLS = {
  localTime: {
    description: "The time where the user is.",
    inputSchema: { type: "object", properties: {}, additionalProperties: false },
  },
};

const RUN = { localTime: async () => new Date().toLocaleTimeString() };

/** One call: its output, or why there is none. */
export async function run({ toolName, input }) {
  try {
    return { output: await RUN[toolName](input) };
  } catch (error) {
    return { errorText: `${toolName} failed: ${error.message}` };
  }
}
