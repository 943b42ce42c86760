// Runs the plugin as opencode would, against a server of its own. Arguments: the plugin's file, how the server answers.
import http from "node:http";

const [file, mode] = process.argv.slice(2);
const told = [];
let bodies = "";
let authorization = "";
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const { hook } = JSON.parse(body);
    told.push(hook);
    bodies += body;
    authorization = request.headers.authorization;
    let answer = {};
    if (mode === "held" && hook === "tool.execute.before") answer = { decision: "block", reason: "the reason" };
    if (mode === "loop" && hook === "tool.execute.after") answer = { hookSpecificOutput: { additionalContext: "a word" } };
    response.end(JSON.stringify(answer));
  });
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
process.env.CLEVAGENT_ENDPOINT = `http://127.0.0.1:${mode === "away" ? 9 : server.address().port}/`;
process.env.CLEVAGENT_API_KEY = "cv_test";
const { ClevAgent } = await import(file);
const hooks = await ClevAgent({});
const call = { tool: "bash", sessionID: "s", callID: "c" };
await hooks["chat.message"]({ sessionID: "s" }, { parts: [{ type: "text", text: "secret prompt" }] });
let error = null;
await hooks["tool.execute.before"](call, { args: { command: "echo one" } }).catch((problem) => (error = problem.message));
const output = { output: "one\n", metadata: { exit: 0 } };
await hooks["tool.execute.after"]({ ...call, args: { command: "echo one" } }, output);
const part = { type: "tool", tool: "bash", callID: "c", sessionID: "s", state: { status: "error", error: "gone" } };
await hooks.event({ event: { type: "message.part.updated", properties: { part } } });
console.log(JSON.stringify({ told, error, output: output.output, authorization, bodies }));
server.close();
