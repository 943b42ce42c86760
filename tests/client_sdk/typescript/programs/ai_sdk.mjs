// The Vercel AI SDK, versions 6 and 7, with a model that calls a tool and then answers; with an argument, two calls at
// once, and one that fails.
import * as ai from "ai";
import { MockLanguageModelV3 } from "ai/test";
import { z } from "zod";

const clevagent = await import(process.env.CLIENT);
clevagent.init();
(ai.registerTelemetry ?? ai.registerTelemetryIntegration)(clevagent.aiTelemetry());

let turn = 0;
const model = new MockLanguageModelV3({
  provider: "openai.responses",
  modelId: "gpt-5",
  doGenerate: async () => ({
    finishReason: { unified: turn ? "stop" : "tool-calls", raw: undefined },
    usage: {
      inputTokens: { total: 30, noCache: 20, cacheRead: 10, cacheWrite: 0 },
      outputTokens: { total: 5, text: 3, reasoning: 2 },
    },
    response: { id: `resp_0123456789abcdef_${turn}`, modelId: "gpt-5-2026", timestamp: new Date() },
    warnings: [],
    content: turn++
      ? [{ type: "text", text: "It rains." }]
      : [{ type: "tool-call", toolCallId: "call-1", toolName: "weather", input: '{"city":"Ulm"}' }],
  }),
});
const tools = {
  weather: ai.tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => ({ city, rain: true }) }),
};
if (process.argv[2]) {
  turn = 1;
  const prompt = "Does it rain?";
  await Promise.all([ai.generateText({ model, prompt }), ai.generateText({ model, prompt })]);
  const failing = new MockLanguageModelV3({ doGenerate: async () => Promise.reject(new Error("overloaded")) });
  await ai.generateText({ model: failing, prompt, maxRetries: 0 }).catch((error) => console.log(error.message));
} else {
  const { text } = await ai.generateText({ model, tools, stopWhen: ai.stepCountIs(3), prompt: "Does it rain?" });
  console.log(text);
}
