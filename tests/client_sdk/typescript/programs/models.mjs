// Calls of the official SDKs against a fake model server, whose address is MODELS.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const baseURL = process.env.MODELS;
const early = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: "k", maxRetries: 0 });
const clevagent = await import(process.env.CLIENT);
clevagent.init();
const openai = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: "k", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL, apiKey: "k", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const include = { stream_options: { include_usage: true } };

const programs = {
  async chat() {
    const answer = await openai.chat.completions.create({ model: "gpt-5", messages });
    console.log(answer.choices[0].message.content);
  },
  async chatStream() {
    const stream = await openai.chat.completions.create({ model: "gpt-5", messages, stream: true, ...include });
    for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
  },
  async leftStream() {
    const stream = await anthropic.messages.create({ model: "endless", max_tokens: 9, messages, stream: true });
    for await (const event of stream) if (event.type === "content_block_delta") break;
  },
  async responses() {
    const stream = await openai.responses.create({ model: "gpt-5", input: "hi", stream: true });
    for await (const event of stream) if (event.delta) process.stdout.write(event.delta);
  },
  async embeddings() {
    await openai.embeddings.create({ model: "small", input: "hi", encoding_format: "float" });
  },
  async message() {
    const answer = await anthropic.messages.create({ model: "claude", max_tokens: 9, messages });
    console.log(answer.content[0].text);
  },
  async messageStream() {
    const stream = anthropic.messages.stream({ model: "claude", max_tokens: 9, messages });
    console.log((await stream.finalMessage()).content[0].text);
  },
  async unwatched() {
    await early.chat.completions.create({ model: "gpt-5", messages });
  },
  async watched() {
    await clevagent.watch(clevagent.watch(early)).chat.completions.create({ model: "gpt-5", messages });
    await clevagent.watch(openai).chat.completions.create({ model: "gpt-5", messages }); // the same id: counted once
  },
  async raw() {
    const { data, response } = await openai.chat.completions.create({ model: "gpt-5", messages }).withResponse();
    console.log(data.id, response.status, response.url.endsWith("/chat/completions"), response instanceof Response);
  },
  async failing() {
    await openai.chat.completions.create({ model: "none", messages }).catch((error) => console.log(error.status));
  },
};
await programs[process.argv[2]]();
