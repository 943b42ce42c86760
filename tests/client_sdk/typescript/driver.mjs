// Runs TypeScript clients for `wire.py`: reads calls, writes requests and results, each as one line of JSON.
import { createInterface } from "node:readline";
import { internals } from "../../../client_sdk/typescript/clevagent.js";

const { Client, UnreachableError, hashOf, readOptions, redacted, withoutValues } = internals;
const agents = [];
let line;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function nextLine() {
  const { value, done } = await lines.next();
  return done ? process.exit(0) : JSON.parse(value);
}

function writeLine(value) {
  process.stdout.write(JSON.stringify(value) + "\n");
}

const sender = {
  async post(path, body) {
    writeLine({ request: [path, body] });
    const { unreachable, ...answer } = await nextLine();
    if (unreachable) throw new UnreachableError(unreachable);
    return { ...answer, retryAfter: answer.retryAfter ?? undefined };
  },
  close() {},
};

function start(options) {
  const client = new Client(readOptions(options), sender, () => line.now);
  client.loop.end(); // the test makes the steps
  client.loop.wake = () => {};
  return agents.push(client) - 1;
}

const calls = {
  step: ({ reporter }) => reporter.step(line.now, line.wall),
  finish: ({ reporter }) => reporter.finish(line.now, line.wall),
  unsent: ({ reporter }) => reporter.outbox.waiting.length,
  sayGoodbye: (client) => client.sayGoodbye(),
  crash: (client, name, message) => client.crashed(Object.assign(new Error(message), { name })),
  ping: (client, status, message, details) => client.ping(status, message, details),
  logCost: ({ recorder }, tokens, dollars) => recorder.counters.spend(tokens, dollars),
  logUsage: (client, usage) => client.logUsage(usage),
  logToolCall: (client, name, details) => client.logToolCall(name, details),
  logIteration: (client, count) => client.logIteration(count),
  logPrompt: ({ recorder }, prompt) => recorder.prompt(hashOf(prompt)),
  waiting: (client, what, until) => void client.waiting(what, until),
};
const functions = { start, redacted, withoutValues, hashOf };

for (;;) {
  line = await nextLine();
  try {
    const { what, agent, args } = line;
    const result = what in functions ? functions[what](...args) : await calls[what](agents[agent], ...args);
    writeLine({ result: result ?? null });
  } catch (error) {
    writeLine({ error: error.stack });
  }
}
