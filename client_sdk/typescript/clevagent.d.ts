/**
 * Reports an AI agent to a ClevAgent Watchdog server: that it is alive, that it makes progress and what it spends.
 *
 *     import * as clevagent from "clevagent";
 *
 *     clevagent.init({ apiKey: "cv_…", agent: "research-agent" });
 *     for (const work of works) await clevagent.iteration(() => work.do());
 *
 * For Node 20 and later, Deno and Bun. Call any function at any time: before `init()` and after `shutdown()` it does
 * nothing. No function throws, prints or waits for the network, and nothing here keeps the process running. Set
 * NODE_DEBUG=clevagent to see what it does. `clevagent.js` and `clevagent.d.ts` are compiled from this file.
 */
export declare const VERSION = "1.0.0";
/** What the server concluded: passed to a function given as `onLoop` or `onCostExceeded`. */
export interface Reason {
    kind: "loop" | "cost";
    /** A sentence with the evidence. */
    text: string;
    incident?: number | undefined;
    /** The incident's page. */
    url?: string | undefined;
}
/**
 * "alert_only" logs, "flag" makes `shouldStop()` true, "stop" sends this process SIGINT, "force_stop" also kills it
 * after `stopGrace` seconds.
 */
export type Reaction = "alert_only" | "flag" | "stop" | "force_stop" | ((reason: Reason) => unknown);
export interface InitOptions {
    /** The project's key; default `CLEVAGENT_API_KEY`. */
    apiKey?: string;
    /** A name, unique in the project; default `CLEVAGENT_AGENT`, then program@host. */
    agent?: string;
    /** The server's address; default `CLEVAGENT_ENDPOINT`, then http://127.0.0.1:8000. */
    endpoint?: string;
    /** Seconds between heartbeats while nothing else is reported, at least 1; default 60. */
    interval?: number;
    /** Automatically report the tokens of OpenAI and Anthropic calls; default true. */
    autoCost?: boolean;
    onLoop?: Reaction;
    onCostExceeded?: Reaction;
    agentType?: string;
    /** Daily budget in US dollars. */
    costLimitUsd?: number;
    /** Seconds without progress until the agent counts as stalled, at least 5; default: learned. */
    progressTimeout?: number;
    /** Names and values that describe the agent, such as its version. */
    labels?: Record<string, string | number | boolean>;
    /** `false`: send only hashes of tool arguments. */
    sendArgs?: boolean;
    /** `false`: do not store what could not be sent. A string: the path to store it next to. */
    spool?: string | boolean;
    /** Seconds; see `Reaction`. */
    stopGrace?: number;
    /** Report a shutdown on SIGTERM and SIGINT, then do what the program would have done. */
    handleSignals?: boolean;
    /** Report uncaught exceptions; default true. */
    reportCrashes?: boolean;
}
export type Status = "ok" | "warning" | "error";
export interface PingDetails {
    tokensUsed?: number;
    costUsd?: number;
    toolCalls?: number;
    iterationCount?: number;
    memoryMb?: number;
    /** Any JSON value. */
    custom?: unknown;
}
export interface Usage {
    model: string;
    provider?: string;
    /** Including cached tokens. */
    inputTokens?: number;
    /** Including reasoning tokens. */
    outputTokens?: number;
    cacheReadTokens?: number;
    cacheWriteTokens?: number;
    reasoningTokens?: number;
    costUsd?: number;
    /** The provider's response id; a call reported twice with the same id counts once. */
    callId?: string;
}
export interface ToolCallDetails {
    /** Readable arguments, at most 200 characters; derived from `args` if empty. */
    argsSummary?: string;
    /** The full arguments. Only their hash is sent, to recognise repeated calls. */
    args?: unknown;
    /** The full result. Only its hash is sent. */
    result?: unknown;
    /** Milliseconds. */
    ms?: number;
    /** Whether the call succeeded. */
    ok?: boolean;
}
export interface ToolOptions {
    /** Seconds: the agent counts as waiting for at most that long. */
    timeout?: number;
}
/** A tool call that has started. Call `end` or `fail` once. */
export interface ToolCall {
    end(result?: unknown): void;
    fail(error?: unknown): void;
}
/** An iteration that has started. Call `end` or `fail` once. */
export interface Iteration {
    end(): void;
    fail(error?: unknown): void;
}
/** A declared wait. Without `end`, it lasts until the next progress. */
export interface Waiting {
    end(): void;
}
/** Callbacks that the AI SDK calls, from version 6. */
export interface AiTelemetry {
    onStepStart(event: any): void;
    onStepEnd(event: any): void;
    onStepFinish(event: any): void;
    onStepError(event: any): void;
    onToolCallStart(event: any): void;
    onToolCallFinish(event: any): void;
    onToolExecutionStart(event: any): void;
    onToolExecutionEnd(event: any): void;
}
/**
 * Reports steps, tool calls and tokens of the Vercel AI SDK: `registerTelemetry(clevagent.aiTelemetry())`, in version 6
 * `registerTelemetryIntegration(…)`, or for one call `experimental_telemetry: { integrations: [clevagent.aiTelemetry()] }`.
 */
export declare function aiTelemetry(): AiTelemetry;
/**
 * Start reporting this process as an agent. The first heartbeat is sent as soon as the program waits for something.
 *
 * Unknown and invalid options cause a warning and are ignored. A second call replaces the first client.
 */
export declare function init(options?: InitOptions): void;
/** Report progress. An error is not progress. Tokens, dollars and tool calls are added to those since the last heartbeat. */
export declare function ping(status?: Status, message?: string, details?: PingDetails): void;
/** Add spent tokens and US dollars. Leave out calls that the client captures automatically. */
export declare function logCost(tokens?: number, costUsd?: number): void;
/** Add the tokens of one model call. The server prices them. */
export declare function logUsage(usage: Usage): void;
/** Report a completed tool call. Counts as progress. */
export declare function logToolCall(name: string, details?: ToolCallDetails): void;
/** Set the agent's iteration counter. A changed value is progress. */
export declare function logIteration(count: number): void;
/** Report a prompt. Only its hash is sent; repeated prompts indicate a loop. */
export declare function logPrompt(text: string): void;
/** One iteration of the agent's loop: `await iteration(() => work())`, or `const turn = iteration(); …; turn.end()`. */
export declare function iteration(): Iteration;
export declare function iteration<T>(work: () => T): T;
/** The same function, with each call counted as an iteration. An exception is reported and thrown on. */
export declare function monitor<F extends (...args: any[]) => unknown>(work: F, name?: string): F;
/**
 * One tool call: `await tool("search", { query }, () => search(query))`, or `const call = tool("search", { query })` and
 * later `call.end(result)`. Start and end are progress. Only hashes of arguments and result are sent, and a short text
 * of the arguments.
 */
export declare function tool(name: string, args?: unknown): ToolCall;
export declare function tool<T>(name: string, args: unknown, work: () => T, options?: ToolOptions): T;
/**
 * Declare that the agent is waiting, not stalled: `await waiting("approval", 3600, () => approval())`, or a plain call,
 * which lasts until the next progress. `until` is a date or seconds from now; by default the server allows one day.
 */
export declare function waiting(what: string, until?: Date | number): Waiting;
export declare function waiting<T>(what: string, until: Date | number | undefined, work: () => T): T;
/** Whether to leave the loop: the agent is on hold, or `onLoop` or `onCostExceeded` raised the flag. */
export declare function shouldStop(): boolean;
/**
 * Count the tokens of an OpenAI or Anthropic client that was made before `init()`, or with its own `fetch`. Returns the
 * same client. Clients made after `init()` are counted without it.
 */
export declare function watch<T extends object>(client: T): T;
/** Send everything now. Resolves within `timeout` seconds to whether the server accepted all of it. */
export declare function flush(timeout?: number): Promise<boolean>;
/** Send what is left, report an intentional stop and end reporting, within 2 seconds. */
export declare function shutdown(): Promise<void>;
