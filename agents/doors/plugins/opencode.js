// ClevAgent Watchdog for opencode, served by __SERVER__/opencode/clevagent.js
//
// Save it as ~/.config/opencode/plugins/clevagent.js, or below .opencode/plugins/ of a project. Environment:
// CLEVAGENT_API_KEY (required), CLEVAGENT_AGENT, CLEVAGENT_ENDPOINT (default: the server it was loaded from).
//
// It tells the server about sessions, tool calls with hashes of their results, tokens and costs. No prompt and no answer of the
// model is sent. If the server does not answer within two seconds, opencode goes on.

const SERVER = (process.env.CLEVAGENT_ENDPOINT || "__SERVER__").replace(/\/+$/, "");
const KEY = process.env.CLEVAGENT_API_KEY || "";
const AGENT = process.env.CLEVAGENT_AGENT || "opencode";
const URL = `${SERVER}/hooks/opencode?agent=${encodeURIComponent(AGENT)}`;
const TIMEOUT_MS = 2000;
const MAX_RESULT = 100_000;
const EVENTS = new Set([
  "session.status",
  "session.idle",
  "session.error",
  "session.deleted",
  "permission.updated",
  "permission.asked",
]);

async function tell(hook, body) {
  if (!KEY) return {};
  try {
    const answer = await fetch(URL, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${KEY}` },
      body: JSON.stringify({ hook, body }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return answer.ok ? await answer.json() : {};
  } catch {
    return {};
  }
}

// What the server counts of an answer of the model, without its text.
function used(info) {
  const { id, sessionID, role, modelID, providerID, tokens, cost } = info;
  return { properties: { info: { id, sessionID, role, modelID, providerID, tokens, cost } } };
}

export const ClevAgent = async () => {
  // Calls that the server denied: they did not run, so their error is not the tool's.
  const denied = new Set();
  return {
    event: async ({ event }) => {
      const { type, properties } = event;
      const part = properties?.part;
      if (EVENTS.has(type)) await tell(`event.${type}`, { properties });
      if (type === "message.updated" && properties?.info?.role === "assistant") {
        await tell(`event.${type}`, used(properties.info));
      }
      if (type === "message.part.updated" && part?.type === "tool" && part.state?.status === "error") {
        if (denied.delete(part.callID)) return;
        const input = { tool: part.tool, sessionID: part.sessionID, callID: part.callID, args: part.state.input };
        await tell("tool.execute.error", { input, error: String(part.state.error).slice(0, MAX_RESULT) });
      }
    },
    "chat.message": async (input) => {
      await tell("chat.message", { input: { sessionID: input.sessionID } });
    },
    "tool.execute.before": async (input, output) => {
      const answer = await tell("tool.execute.before", { input, output: { args: output.args } });
      if (answer.decision !== "block") return;
      denied.add(input.callID);
      throw new Error(answer.reason);
    },
    "tool.execute.after": async (input, output) => {
      const { metadata } = output;
      const result = String(output.output ?? "").slice(0, MAX_RESULT);
      const answer = await tell("tool.execute.after", {
        input,
        output: { output: result, metadata: { exit: metadata?.exit } },
      });
      const word = answer.hookSpecificOutput?.additionalContext;
      if (word) output.output = `${output.output ?? ""}\n\n${word}`;
    },
  };
};
