// The Vercel AI SDK with a model that calls a tool and then answers.
import { generateText, registerTelemetryIntegration, stepCountIs, tool } from "ai";
import { MockLanguageModelV3 } from "ai/test";
import { z } from "zod";

const clevagent = await import(process.env.CLIENT);
clevagent.init();
registerTelemetryIntegration(clevagent.aiTelemetry());

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
  weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => ({ city, rain: true }) }),
};
const { text } = await generateText({ model, tools, stopWhen: stepCountIs(3), prompt: "Does it rain?" });
console.log(text);
