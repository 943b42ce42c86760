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
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import * as os from "node:os";
import * as path from "node:path";
import process from "node:process";
import * as tls from "node:tls";
import { debuglog } from "node:util";
import { Worker } from "node:worker_threads";
// -- The public types
export const VERSION = "1.0.0";
const debug = debuglog("clevagent");
const MAX_SAID = 1000;
const said = new Set();
/** Warn the programmer. Node prints it to stderr, unless the program handles warnings. */
function warn(message) {
    debug(message);
    process.emitWarning(message, "ClevAgentWarning");
}
/** Warn of a mistake that only a person can fix, once instead of with every heartbeat. */
function warnLoudlyOnce(message) {
    if (isNew(message))
        warn(message);
}
/** Log what would otherwise repeat with every call or heartbeat. */
function logOnce(message) {
    if (isNew(message))
        debug(message);
}
function isNew(message) {
    const fresh = !said.has(message) && said.size < MAX_SAID;
    if (fresh)
        said.add(message);
    return fresh;
}
/** Log our own errors instead of throwing them into the program. */
function safely(what, work, otherwise) {
    try {
        return work();
    }
    catch (error) {
        debug("%s failed: %s", what, textOf(error));
        return otherwise;
    }
}
// -- Texts: secrets leave free texts before they leave the machine; names are never changed
const HIDDEN = "[hidden]";
const SHAPES = /(?<![A-Za-z0-9])(?:(?:cv_|gh[pousr]_|hf_|npm_|(?:sk|pk|rk)_(?:live|test)_)[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{16,}|github_pat_[A-Za-z0-9_]{22,}|AIza(?=[A-Za-z_-]{0,30}[0-9])[A-Za-z0-9_-]{30,}|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9]))|(?<=:\/\/)[^\s/:@]+:[^\s/@]+(?=@)|(?<=Bearer )[A-Za-z0-9._~+/=-]{8,}/g;
// A JSON web token. A run without dots matches as a whole: else each `eyJ` in it would search the rest again.
const JWT = /(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)?/g;
// Formats that words may have, too: `sk-learn-trainer-01`. Only one with a random part is a key.
const MAYBE = /(?<![A-Za-z0-9])(?:sk-|gl(?:pat|rt)-|glsa_|xox[abeprs]-|xapp-|pypi-|gsk_|r8_|pplx-|xai-|tvly-|nvapi-|lsv2_|dckr_pat_|dop_v1_|ya29\.|SG\.)(?:[A-Za-z0-9_-]|\.(?=[A-Za-z0-9])){16,}/g;
const NAMED = /((?:api[_-]?key|secret|passw(?:or)?d|authorization|(?:access|auth|refresh|session|bearer|bot|user|id)[_-]?token|(?<![\p{L}\p{N}_-])token(?=["'=]))["']?\s*[=:]\s*["']?)(?!\[hidden\])[^\s"',;)}&]{4,}/giu;
// Other tokens only when they look like one: "Unexpected token: identifier" and `page_token=next` are no secrets.
const TOKEN = /(token["']?\s*[=:]\s*["']?)(?!\[hidden\])([^\s"',;)}&]{8,})/gi;
const MIN_RANDOM_LENGTH = 16;
const MIN_WORDLESS_LENGTH = 20;
const MIN_SECRET_LENGTH = 8;
// Variables whose values are secrets, unless their name says that they only tell where or which one it is.
const SECRET_NAME = /(?:token|secret|passw(?:or)?d|passphrase|credentials?|api_?key|access_?key)(?:_|\d|$)/i;
const KEY_NAME = /(?:^|_)key(?:_|\d|$)/i;
const NO_SECRET_NAME = /_(?:path|file|dir|name|id|url|uri|type|model|limit|arn|format)$/i;
/** The text without anything that is likely a key, a token or a password. The server has the same rules. */
function redacted(text) {
    return text
        .replace(JWT, (found, rest) => (rest ? HIDDEN : found))
        .replace(SHAPES, HIDDEN)
        .replace(MAYBE, (found) => (isRandom(found) ? HIDDEN : found))
        .replace(NAMED, `$1${HIDDEN}`)
        .replace(TOKEN, (found, name, value) => (isToken(value) ? name + HIDDEN : found));
}
function piecesOf(text) {
    return text.match(/[A-Za-z0-9]+/g) ?? [];
}
/** Whether a part of at least 16 letters and digits looks random: words have no digits and change case less. */
function isRandom(text) {
    return piecesOf(text).some((piece) => piece.length >= MIN_RANDOM_LENGTH && (hasDigits(piece) || isNoWord(piece)));
}
function hasDigits(piece) {
    return /[0-9]/.test(piece) && /[A-Za-z]/.test(piece);
}
/** Too long for a single word, or the case changes more often than in CamelCase, which is twice per word. */
function isNoWord(piece) {
    const isUpper = [...piece].map((letter) => letter >= "A" && letter <= "Z");
    const changes = isUpper.filter((upper, at) => at > 0 && upper !== isUpper[at - 1]).length;
    return changes === 0 ? piece.length >= MIN_WORDLESS_LENGTH : changes > piece.length * 0.35;
}
function isToken(value) {
    return piecesOf(value).some((piece) => piece.length >= MIN_RANDOM_LENGTH || (piece.length >= MIN_SECRET_LENGTH && hasDigits(piece)));
}
/** The text without values of environment variables whose names suggest a secret. */
function withoutValues(text, environment = process.env) {
    const secrets = Object.entries(environment).filter(([name, value]) => value && isSecret(name, value));
    const values = [...new Set(secrets.map(([, value]) => value))];
    return values.sort((a, b) => b.length - a.length).reduce((rest, value) => rest.replaceAll(value, HIDDEN), text);
}
function isSecret(name, value) {
    if (value.length < MIN_SECRET_LENGTH || NO_SECRET_NAME.test(name) || /^(?:\/|~\/|\.\/)/.test(value))
        return false;
    return SECRET_NAME.test(name) || (KEY_NAME.test(name) && isRandom(value));
}
/** A name the server can store: no NUL, no half characters, not too long. Otherwise unchanged. */
function storable(text, longest) {
    const cut = [...textOf(text).slice(0, longest * 2)].slice(0, longest).join("");
    return cut.replaceAll("\0", "").replace(/\p{Cs}/gu, "?");
}
/** A free text the server can store, without secrets. */
function clean(text, longest) {
    // Cut first, with a margin: searching megabytes for secrets takes too long.
    return [...redacted(storable(text, longest * 4))].slice(0, longest).join("");
}
/** The value as text, or its type if that fails: a program's own `toString` may throw anything. */
function textOf(value) {
    try {
        if (value instanceof Error)
            return `${value.name}: ${value.message}`;
        if (typeof value === "object" && value !== null)
            return JSON.stringify(value) ?? String(value);
        return String(value);
    }
    catch {
        return `<${typeof value}>`;
    }
}
function nameOf(error) {
    return safely("an error's name", () => String(error?.name || typeof error), "Error");
}
function messageOf(error) {
    return error instanceof Error ? safely("an error's message", () => String(error.message), "") : textOf(error);
}
/** 16 hex digits that are equal for equal values in every process, and in the Python client. */
function hashOf(value) {
    const text = safely("hashing", () => (typeof value === "string" ? value : sortedJson(value)), `<${typeof value}>`);
    return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
/** JSON as Python writes it with sorted keys. Throws for circular values, which are nested too deeply. */
function sortedJson(value) {
    const given = typeof value?.toJSON === "function" ? value.toJSON() : value;
    if (Array.isArray(given))
        return `[${given.map(sortedJson).join(", ")}]`;
    if (given !== null && typeof given === "object") {
        const names = Object.keys(given).filter((name) => given[name] !== undefined);
        return `{${names.sort().map((name) => `${ascii(name)}: ${sortedJson(given[name])}`).join(", ")}}`;
    }
    return typeof given === "string" ? ascii(given) : (JSON.stringify(given) ?? ascii(String(given)));
}
function ascii(text) {
    const escape = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    return JSON.stringify(text).replace(/[\u007f-\uffff]/g, escape);
}
/** The arguments as readable text: `query=release notes, page=2`. */
function summaryOf(value) {
    if (Array.isArray(value))
        return value.map(textOf).join(", ");
    if (value !== null && typeof value === "object") {
        return Object.entries(value).map(([name, item]) => `${name}=${textOf(item)}`).join(", ");
    }
    return value === null || value === undefined ? "" : textOf(value);
}
/** Custom data as JSON, or nothing if it is invalid or too long. */
function customText(data) {
    const text = safely("custom data", () => (typeof data === "string" ? data : JSON.stringify(data)), undefined);
    if (text === undefined || text.length > MAX_CUSTOM_LENGTH) {
        logOnce(`custom data is no JSON or has more than ${MAX_CUSTOM_LENGTH} characters, and was dropped`);
        return undefined;
    }
    return text;
}
/** The request's body as JSON. What JSON cannot say becomes null or text, so that the rest arrives. */
function encode(body) {
    return JSON.stringify(body, (_, value) => (typeof value === "bigint" ? String(value) : value));
}
// -- Counters: what has accumulated since the last heartbeat. Totals are exact, details are bounded
// The server keeps at most this many of each. The client drops details beyond that, but never totals.
const MAX_CALLS = 50;
const MAX_USAGE = 200;
const MAX_PROMPTS = 5;
const SEVERITY = ["ok", "shutdown", "warning", "error"];
const COUNTS = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"];
// Maximum characters the server stores.
const MAX_NAME_LENGTH = 200;
const MAX_ARGS_LENGTH = 200;
const MAX_MESSAGE_LENGTH = 2_000;
const MAX_CUSTOM_LENGTH = 32_000;
// Amounts are counted in units of a millionth of a micro-dollar, so that sums are exact.
const UNITS_PER_MICRO = 1000000n;
/** Less than a micro-dollar is carried over to the next heartbeat. */
class Counters {
    tokens = 0;
    units = 0n;
    toolCalls = 0;
    calls = [];
    usage = [];
    reported = {};
    progress = false;
    get isEmpty() {
        const counted = this.tokens || this.toolCalls || this.calls.length || this.usage.length || this.progress;
        return !counted && Object.keys(this.reported).length === 0 && this.units < UNITS_PER_MICRO;
    }
    spend(tokens, costUsd) {
        this.tokens += Math.floor(count("tokens", tokens));
        this.units += unitsOf("costUsd", costUsd);
    }
    /** Add one model call. Calls stay separate, because prices depend on their size, until there are too many. */
    addUsage(entry) {
        addUsage(this.usage, entry);
    }
    addCall(entry) {
        this.toolCalls += 1;
        this.calls = [...this.calls, entry].slice(-MAX_CALLS);
    }
    /** Add another instance's counts; its reported fields take precedence. */
    add(other) {
        this.tokens += other.tokens;
        this.units += other.units;
        this.toolCalls += other.toolCalls;
        this.calls = [...this.calls, ...other.calls].slice(-MAX_CALLS);
        for (const entry of other.usage)
            this.addUsage(entry);
        Object.assign(this.reported, other.reported);
        this.progress ||= other.progress;
    }
    /** The heartbeat's non-empty fields. `units` keeps the amount too small to report. */
    takeFields() {
        const micros = this.units / UNITS_PER_MICRO;
        this.units %= UNITS_PER_MICRO;
        const fields = {
            tokens_used: this.tokens,
            cost_usd: Number(micros) / 1e6,
            tool_calls: this.toolCalls,
            tool_call_log: this.calls,
            usage: this.usage,
            ...this.reported,
        };
        return Object.fromEntries(Object.entries(fields).filter(([, value]) => value && value.length !== 0));
    }
}
function addUsage(entries, entry) {
    if (entries.length < MAX_USAGE)
        entries.push(entry);
    else
        mergeUsage(entries, entry);
}
/** Add the call to the last one with the same model, or to the last one of all. */
function mergeUsage(entries, entry) {
    const same = entries.findLastIndex((each) => each["model"] === entry["model"] && each["provider"] === entry["provider"]);
    const at = same < 0 ? entries.length - 1 : same;
    const known = { ...entries[at] };
    for (const name of COUNTS)
        if (entry[name])
            known[name] = (known[name] ?? 0) + entry[name];
    if (entry["cost_usd"])
        known["cost_usd"] = sum(known["cost_usd"], entry["cost_usd"]);
    entries[at] = known;
}
/**
 * Merge two heartbeats that were never sent: totals are added, details are cut. The newer fields win, except that an
 * error or a warning is never replaced by a better status.
 */
function merged(older, newer) {
    const both = { ...older, ...newer };
    if (severityOf(older["status"]) > severityOf(newer["status"])) {
        Object.assign(both, only(older, ["status", "message", "custom_data"]));
    }
    if (!("doing" in newer))
        delete both["doing"];
    for (const name of ["tokens_used", "tool_calls"]) {
        if (name in both)
            both[name] = (older[name] ?? 0) + (newer[name] ?? 0);
    }
    if ("cost_usd" in both)
        both["cost_usd"] = sum(older["cost_usd"], newer["cost_usd"]);
    if ("tool_call_log" in both) {
        both["tool_call_log"] = [...(older["tool_call_log"] ?? []), ...(newer["tool_call_log"] ?? [])].slice(-MAX_CALLS);
    }
    if ("usage" in both) {
        both["usage"] = [...(older["usage"] ?? [])];
        for (const entry of newer["usage"] ?? [])
            addUsage(both["usage"], entry);
    }
    return both;
}
function severityOf(status) {
    return Math.max(0, SEVERITY.indexOf(status));
}
/** The totals of a heartbeat whose details the server refused. */
function sumsOf(beat) {
    const usage = beat["usage"]?.map((entry) => only(entry, ["model", "provider", ...COUNTS, "cost_usd"]));
    return { ...only(beat, ["tokens_used", "cost_usd", "tool_calls"]), ...(usage ? { usage } : {}) };
}
/** Who sent a heartbeat, its status and its totals. */
function essenceOf(beat) {
    const who = ["agent", "status", "beat_id", "instance", "seq", "sent_at", "sdk"];
    return { ...only(beat, who), ...sumsOf(beat) };
}
function only(fields, names) {
    return Object.fromEntries(names.filter((name) => name in fields).map((name) => [name, fields[name]]));
}
/** A count of at least 0; anything else becomes 0 and is logged. */
function count(name, value) {
    const amount = value === null || value === undefined ? 0 : numberOf(value);
    if (Number.isFinite(amount) && amount >= 0)
        return amount;
    logOnce(`${name}=${textOf(value).slice(0, 100)} is not a number of at least 0; it is not counted`);
    return 0;
}
/** NaN for what is no number: a program's own `valueOf` may throw anything. */
function numberOf(value) {
    return safely("a number", () => Number(value), NaN);
}
function unitsOf(name, value) {
    const amount = Math.min(count(name, value), MAX_DOLLARS);
    return BigInt(amount.toFixed(12).replace(".", ""));
}
function sum(first, second) {
    return Number((unitsOf("cost", first) + unitsOf("cost", second)) / UNITS_PER_MICRO) / 1e6;
}
// -- Outbox: heartbeats waiting to be sent. Ordered, bounded and retried until the server accepts them
// Heartbeats kept separate while the server is unreachable. Beyond that, neighbours are merged; totals are kept.
const MAX_KEPT = 240;
// The server accepts 500 heartbeats in one request of at most 1 MiB; our largest heartbeat is about 90 KiB.
const MAX_BATCH = 100;
const MAX_BATCH_BYTES = 700_000;
// Seconds between retries: doubling from the first to the maximum, each reduced by up to half at random.
const FIRST_WAIT = 1;
const MAX_WAIT = 60;
/**
 * One heartbeat as it will be sent. `at` is its time on the monotonic clock, `wall` on the wall clock, in seconds.
 *
 * Once sent it may have been stored, so it must not change: the server recognises a repeat by its `beat_id`.
 */
class Heartbeat {
    fields;
    at;
    wall;
    adopted;
    tried;
    reduced = false;
    progress = false;
    /** `adopted`: an earlier process made it, and may have sent it already. */
    constructor(fields, at, wall, adopted = false) {
        this.fields = fields;
        this.at = at;
        this.wall = wall;
        this.adopted = adopted;
        this.tried = adopted;
    }
    /** Whether merging it with an `ok` heartbeat would lose its status. */
    get mustStaySeparate() {
        return this.fields["status"] !== "ok";
    }
}
class Outbox {
    waiting = [];
    nextTryAt = 0;
    failures = 0;
    add(beat) {
        this.waiting.push(beat);
        if (this.waiting.length > MAX_KEPT)
            this.mergeNeighbours();
    }
    /** Merge two neighbours, the oldest possible, preferably within one hour so that spend stays in its hour. */
    mergeNeighbours() {
        const pairs = this.waiting.slice(0, -1).map((older, at) => ({ at, older, newer: this.waiting[at + 1] }));
        const untried = pairs.filter(({ older, newer }) => !older.tried && !newer.tried);
        const quiet = untried.filter(({ older, newer }) => !older.mustStaySeparate && !newer.mustStaySeparate);
        const hour = (beat) => Math.floor(beat.wall / 3600);
        const chosen = quiet.find(({ older, newer }) => hour(older) === hour(newer)) ?? quiet[0] ?? untried[0];
        if (chosen) {
            const { at, older, newer } = chosen;
            this.waiting.splice(at, 2, new Heartbeat(merged(older.fields, newer.fields), newer.at, newer.wall));
        }
    }
    /** What to send now, oldest first; nothing during a retry delay. */
    nextBatch(now) {
        if (now < this.nextTryAt)
            return [];
        if (this.waiting.length <= 1)
            return [...this.waiting];
        let size = 0;
        const fits = (beat, at) => {
            size += Buffer.byteLength(encode(beat.fields));
            return at === 0 || size <= MAX_BATCH_BYTES;
        };
        const candidates = this.waiting.slice(0, MAX_BATCH);
        const end = candidates.findIndex((beat, at) => !fits(beat, at));
        return end < 0 ? candidates : candidates.slice(0, end);
    }
    remove(beat) {
        this.waiting = this.waiting.filter((each) => each !== beat);
    }
    /** The server answered, so the next retry delay starts small again. */
    answered() {
        this.failures = this.nextTryAt = 0;
    }
    /**
     * The server will never accept it as it is: keep who it is, its status and totals, or drop it the second time.
     * Returns whether anything is left to send.
     */
    refused(beat) {
        if (beat.reduced) {
            this.remove(beat);
            return false;
        }
        beat.fields = essenceOf(beat.fields);
        beat.reduced = true;
        return true;
    }
    /** Delay the next try, longer after each failure, and at least as long as the server asks. */
    failed(now, retryAfter = 0) {
        const wait = Math.min(MAX_WAIT, FIRST_WAIT * 2 ** Math.min(this.failures, 10));
        this.failures += 1;
        this.nextTryAt = now + Math.max(wait * (0.5 + Math.random() / 2), retryAfter);
    }
}
// -- Recorder: collects what the program reports
// Ids of model calls to remember, so that a call seen by two observers counts once. Both see it within seconds.
const MAX_IDS = 2_000;
// Errors and warnings kept separate until they are sent. Further ones are merged into the last.
const MAX_PENDING = 20;
// Shorter ids repeat: Ollama has only 999.
const MIN_UNIQUE_ID_LENGTH = 16;
// Seconds. If the agent makes progress within this time after an exception, the program has handled it.
const RECOVERY_TIME = 15;
class Recorder {
    clock;
    wake;
    counters = new Counters();
    pending = [];
    iteration;
    iterationMs;
    prompts = [];
    promptsChanged = false;
    wait = null;
    waitChanged = false;
    lastProgress;
    hasNews = false;
    // When and how the program last failed, until it either goes on or has not for too long.
    failure;
    finalStatus = { status: "ok" };
    // Running tool calls, in the order in which they started.
    running = new Map();
    counted = new Set();
    /** `wake` tells the sender that there is something to send. */
    constructor(clock, wake) {
        this.clock = clock;
        this.wake = wake;
    }
    /** Whether nothing was reported since the last heartbeat. */
    get isEmpty() {
        return this.counters.isEmpty && !this.hasNews;
    }
    /** Record progress: any wait is over, and the next heartbeat says so. */
    progressed() {
        this.lastProgress = this.clock();
        this.failure = undefined;
        this.counters.progress = true;
        if (this.wait)
            [this.wait, this.waitChanged] = [null, true];
        this.notify();
    }
    /** Record an exception that the program may still handle. Progress takes it back. */
    fail(text) {
        if (this.failure)
            return;
        this.failure = { at: this.clock(), text };
        this.wake();
    }
    /** Report an exception that the program has not handled by now. */
    releaseFailure(now = Infinity) {
        if (!this.failure || now < this.failure.at + RECOVERY_TIME)
            return;
        const { text } = this.failure;
        this.failure = undefined;
        this.report("error", { message: text });
    }
    /**
     * Report a status and fields. Any status except `ok` gets a heartbeat of its own, so no later status hides it. With
     * `isFinal`, any later heartbeat of the process repeats this status.
     */
    report(status, fields = {}, isFinal = false) {
        const given = Object.entries(fields).filter(([, value]) => value !== undefined);
        Object.assign(this.counters.reported, Object.fromEntries(given));
        if (isFinal)
            this.finalStatus = { status, message: fields["message"] };
        if (status === "ok")
            return this.notify();
        const last = this.pending.at(-1);
        if (last && this.pending.length >= MAX_PENDING) {
            last.counters.add(this.counters);
            if (severityOf(status) > severityOf(last.status))
                last.status = status;
        }
        else {
            this.pending.push({ counters: this.counters, at: this.clock(), status });
        }
        this.counters = new Counters();
        this.hasNews = false;
        this.wake();
    }
    /** Add one model call, unless its id was reported before. */
    addUsage(entry, callId) {
        if (callId !== undefined && !this.isFirst(uniqueId(callId, entry)))
            return;
        this.counters.addUsage(entry);
    }
    isFirst(id) {
        if (this.counted.has(id))
            return false;
        this.counted.add(id);
        const [oldest] = this.counted;
        if (this.counted.size > MAX_IDS && oldest !== undefined)
            this.counted.delete(oldest);
        return true;
    }
    /** Set the agent's iteration counter, or increment it. */
    iterate(to) {
        this.iteration = to ?? (this.iteration ?? 0) + 1;
    }
    prompt(digest) {
        this.prompts = [...this.prompts, digest].slice(-MAX_PROMPTS);
        this.promptsChanged = true;
    }
    /** Declare a wait. */
    waitFor(wait) {
        this.wait = wait;
        this.waitChanged = true;
        this.notify();
    }
    /** The separate heartbeats if there are any, else what was reported since the last heartbeat. */
    take() {
        if (this.pending.length)
            return this.takePending();
        const { status, message } = this.finalStatus;
        if (message)
            this.counters.reported["message"] ??= message;
        const page = { counters: this.counters, at: this.clock(), status };
        this.counters = new Counters();
        this.hasNews = false;
        return [page];
    }
    /** The heartbeats that must be sent separately, oldest first. */
    takePending() {
        return this.pending.splice(0);
    }
    notify() {
        if (this.hasNews)
            return;
        this.hasNews = true;
        this.wake();
    }
}
/** The id. If it is too short to be unique, with what both observers of a call agree on. */
function uniqueId(callId, entry) {
    if (callId.length >= MIN_UNIQUE_ID_LENGTH)
        return callId;
    return `${callId} ${entry["input_tokens"]} ${entry["output_tokens"]}`;
}
// -- Heartbeats as the server reads them
const SDK = `clevagent-typescript/${VERSION}`;
// Seconds. Leaks are slower than this.
const MEMORY_EVERY = 10;
// Seconds. Older progress is reported by its age, because it did not happen when the heartbeat arrives.
const FRESH = 2;
// The server compares the silence of agents on one host, so every heartbeat names it if a label does.
const HOST_LABELS = ["host", "hostname", "host.name", "node"];
/** Builds and numbers one process's heartbeats. `instance` distinguishes it from the agent's other processes. */
class Builder {
    options;
    instance = `${os.hostname().slice(0, 30)}-${process.pid}-${randomBytes(3).toString("hex")}`;
    seq = 0;
    memory = { at: -Infinity, mb: 0 };
    constructor(options) {
        this.options = options;
    }
    /** Convert a page. Amounts too small to report are carried over. */
    build(page, recorder, now, wall) {
        const counted = cut(page.counters.takeFields());
        recorder.counters.units += page.counters.units;
        this.seq += 1;
        const made = wall - (now - page.at);
        const state = this.state(recorder, now, wall);
        const fields = { ...this.who(page.status, made), ...state, ...counted };
        const known = Object.entries(fields).filter(([name, value]) => name === "waiting" || (value ?? undefined) !== undefined);
        const beat = new Heartbeat(Object.fromEntries(known), page.at, made);
        beat.progress = page.counters.progress;
        return beat;
    }
    who(status, made) {
        const { agent, interval, agentType, costLimitUsd, progressTimeout, labels } = this.options;
        const sent = this.seq === 1 ? labels : only(labels, HOST_LABELS);
        return {
            agent,
            status,
            beat_id: randomBytes(16).toString("hex"),
            seq: this.seq,
            instance: this.instance,
            sdk: SDK,
            sent_at: moment(made),
            interval,
            agent_type: agentType,
            cost_limit_usd: costLimitUsd,
            progress_timeout: progressTimeout,
            labels: Object.keys(sent).length ? sent : undefined,
        };
    }
    state(recorder, now, wall) {
        if (now - this.memory.at >= MEMORY_EVERY)
            this.memory = { at: now, mb: memoryMb() };
        const state = {
            iteration_count: recorder.iteration,
            memory_mb: this.memory.mb,
            iteration_ms: recorder.iterationMs,
        };
        recorder.iterationMs = undefined;
        if (recorder.promptsChanged)
            state["prompt_hashes"] = recorder.prompts;
        // null means the wait is over.
        if (recorder.wait || recorder.waitChanged)
            state["waiting"] = waitingOf(recorder.wait);
        recorder.promptsChanged = recorder.waitChanged = false;
        const doing = [...recorder.running.values()].at(-1);
        if (doing) {
            state["doing"] = { tool: storable(doing.tool, MAX_NAME_LENGTH), since: moment(wall - (now - doing.since)) };
        }
        return state;
    }
}
/**
 * The heartbeat's fields for sending now, with its age, which holds even if this machine's clock is wrong. Without
 * declared progress, the server judges progress itself.
 */
function toWire(beat, lastProgress, now) {
    const fields = { ...beat.fields, age: seconds(now - beat.at) };
    // Nothing is known of an earlier process's progress since.
    if (beat.adopted)
        return { ...fields, progress: false };
    if (lastProgress === undefined || beat.reduced)
        return fields;
    if (beat.progress && now - beat.at < FRESH)
        return { ...fields, progress: true };
    return { ...fields, progress: false, progress_age: seconds(now - lastProgress) };
}
function seconds(duration) {
    return Math.round(Math.max(0, duration) * 1000) / 1000;
}
function memoryMb() {
    return safely("memory", () => Math.round((process.memoryUsage.rss() / 1_048_576) * 10) / 10, 0);
}
function waitingOf(wait) {
    return wait && { for: wait.what, until: wait.until && wait.until.toISOString() };
}
function moment(wall) {
    return new Date(wall * 1000).toISOString();
}
/** Cut texts to the server's limits, and remove secrets and characters it cannot store. */
function cut(counted) {
    if ("message" in counted)
        counted["message"] = clean(counted["message"], MAX_MESSAGE_LENGTH);
    if ("custom_data" in counted)
        counted["custom_data"] = clean(counted["custom_data"], MAX_CUSTOM_LENGTH);
    for (const call of counted["tool_call_log"] ?? []) {
        if (call.args)
            call.args = clean(call.args, MAX_ARGS_LENGTH);
    }
    return counted;
}
// -- Options: arguments first, then the environment, then defaults
const ENDPOINT = "http://127.0.0.1:8000";
const API = "/api/v1";
// Seconds. Minimum interval and progress timeout of the public API, and the server's maximum: a year.
const MIN_INTERVAL = 1;
const MIN_PROGRESS_TIMEOUT = 5;
const MAX_DURATION = 366 * 86_400;
// The server's largest daily budget, in US dollars.
const MAX_DOLLARS = 1_000_000;
const MAX_LABELS = 20;
const MAX_LABEL_NAME_LENGTH = 50;
const MAX_TYPE_LENGTH = 50;
const WRAPPING = /^[\s\u200b\ufeff"'`“”‘’]+|[\s\u200b\ufeff"'`“”‘’]+$/g;
const NAMED_REACTIONS = ["alert_only", "flag", "stop", "force_stop"];
const OFF = /^(?:off|none|0|false|no)$/i;
/** The options, with invalid values replaced and warned about, or nothing if reporting is impossible. */
function readOptions(given) {
    const apiKey = readKey(given.apiKey);
    const endpoint = apiKey && readEndpoint(given.endpoint);
    if (!apiKey || !endpoint)
        return undefined;
    return {
        apiKey,
        agent: readAgent(given.agent),
        endpoint,
        interval: readSeconds("interval", given.interval, MIN_INTERVAL) ?? 60,
        agentType: given.agentType ? storable(given.agentType, MAX_TYPE_LENGTH) : undefined,
        costLimitUsd: readDollars(given.costLimitUsd),
        progressTimeout: readSeconds("progressTimeout", given.progressTimeout, MIN_PROGRESS_TIMEOUT),
        labels: readLabels(given.labels),
        onLoop: readReaction("onLoop", given.onLoop),
        onCostExceeded: readReaction("onCostExceeded", given.onCostExceeded),
        stopGrace: readSeconds("stopGrace", given.stopGrace, 0) ?? 10,
        sendArgs: given.sendArgs !== false,
        spool: spoolPath(given.spool, apiKey),
    };
}
function readKey(given) {
    const key = textOf(given || process.env["CLEVAGENT_API_KEY"] || "").replace(WRAPPING, "");
    if (!key) {
        warn("clevagent is not reporting: no API key. Pass apiKey to init(), or set CLEVAGENT_API_KEY.");
    }
    else if (!/^[\x21-\x7e]+$/.test(key)) {
        warn("clevagent is not reporting: the API key contains a character that no key has. Copy it again: cv_ and 40 letters and digits.");
    }
    else {
        return key;
    }
    return undefined;
}
function readEndpoint(given) {
    const address = textOf(given || process.env["CLEVAGENT_ENDPOINT"] || ENDPOINT).replace(WRAPPING, "");
    try {
        const url = new URL(address);
        if (!/^https?:$/.test(url.protocol) || /\s/.test(address))
            throw new TypeError("not http or https");
        if (url.protocol === "http:" && !isThisMachine(url.hostname)) {
            warn(`clevagent: the API key and all reports travel unencrypted to ${url.hostname}; use an https:// address.`);
        }
        return url.origin + url.pathname.replace(/\/+$/, "").replace(/\/heartbeat$/, "").replace(/\/api\/v1$/, "");
    }
    catch {
        // Someone may have pasted the key, or the address may contain a password.
        warn(`clevagent is not reporting: the endpoint ${redacted(address)} is not an address; write it as http://127.0.0.1:8000 or https://host.`);
        return undefined;
    }
}
/** Within a machine nobody can listen. */
function isThisMachine(host) {
    return host === "[::1]" || /^127\.[\d.]+$/.test(host) || host === "localhost" || host.endsWith(".localhost");
}
/** The server makes every name storable, so it is sent as it is. */
function readAgent(given) {
    const name = textOf(given || process.env["CLEVAGENT_AGENT"] || "").trim();
    if (name)
        return name;
    const program = path.parse(process.argv[1] ?? "").name || "node";
    const fallback = `${program}@${os.hostname()}`;
    if (given !== undefined)
        warn(`clevagent: agent=${textOf(given)} is empty; reporting as ${fallback}.`);
    return fallback;
}
function readSeconds(name, given, smallest) {
    if (given === undefined || given === null)
        return undefined;
    const number = numberOf(given);
    if (!Number.isFinite(number)) {
        warn(`clevagent: ${name}=${textOf(given)} is not a number of seconds; using the default.`);
        return undefined;
    }
    if (number > MAX_DURATION)
        warn(`clevagent: ${name}=${number} is more than ${MAX_DURATION} seconds; using that.`);
    return Math.min(Math.max(number, smallest), MAX_DURATION);
}
function readDollars(given) {
    if (given === undefined || given === null)
        return undefined;
    const dollars = numberOf(given);
    if (dollars >= 0 && dollars <= MAX_DOLLARS)
        return dollars;
    warn(`clevagent: costLimitUsd=${textOf(given)} is not an amount from 0 to ${MAX_DOLLARS} US dollars; no limit is set.`);
    return undefined;
}
function readLabels(given) {
    if (given === undefined || given === null)
        return {};
    if (typeof given !== "object" || Array.isArray(given)) {
        warn(`clevagent: labels=${textOf(given)} is not an object of names and values; no label is set.`);
        return {};
    }
    const named = Object.entries(given).map(([name, value]) => [
        storable(name, MAX_LABEL_NAME_LENGTH),
        storable(value, MAX_NAME_LENGTH),
    ]);
    const dropped = named.slice(MAX_LABELS).map(([name]) => name);
    if (dropped.length)
        warn(`clevagent: at most ${MAX_LABELS} labels are sent; left out: ${dropped.join(", ")}.`);
    return Object.fromEntries(named.slice(0, MAX_LABELS));
}
function readReaction(name, given) {
    if (given === undefined)
        return "alert_only";
    if (typeof given === "function" || NAMED_REACTIONS.includes(given))
        return given;
    warn(`clevagent: ${name}=${textOf(given)} is not one of ${NAMED_REACTIONS.join(", ")} or a function; using alert_only.`);
    return "alert_only";
}
// -- Transport: requests over one persistent connection
// Seconds.
const TIMEOUT = 10;
const MAX_RETRY_AFTER = 3600;
// Limits the memory that a foreign page can take up. Real answers are far smaller.
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** No answer: refused, timed out, interrupted or not HTTP. `needsFix` means that waiting will not help. */
class UnreachableError extends Error {
    needsFix;
    constructor(why, needsFix = false) {
        super(why);
        this.needsFix = needsFix;
    }
}
class Transport {
    options;
    url;
    agent;
    constructor(options) {
        this.options = options;
        this.url = new URL(options.endpoint);
    }
    /** Throws UnreachableError without an answer; the server may have processed the request anyway. */
    async post(path, body) {
        const data = Buffer.from(encode(body));
        try {
            return await this.ask(path, data);
        }
        catch (error) {
            // The server may have closed the idle connection. That is normal, so try once more with a new one.
            if (!error.wasIdle)
                throw unreachable(error);
        }
        this.close();
        return await this.ask(path, data).catch((error) => Promise.reject(unreachable(error)));
    }
    ask(path, data) {
        return new Promise((resolve, reject) => {
            const { request: open } = this.url.protocol === "https:" ? https : http;
            const request = open(`${this.url.href.replace(/\/$/, "")}${API}${path}`, {
                method: "POST",
                agent: (this.agent ??= this.newAgent()),
                headers: headersOf(this.options, data),
            });
            const timer = setTimeout(() => request.destroy(new Error("no answer in time")), TIMEOUT * 1000);
            timer.unref();
            // A request in flight must not keep the process running either.
            request.on("socket", (socket) => socket.unref());
            request.on("error", (error) => {
                clearTimeout(timer);
                const wasIdle = request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
                reject(Object.assign(error, { wasIdle }));
            });
            request.on("response", (response) => {
                read(response).then((text) => {
                    clearTimeout(timer);
                    resolve(answerOf(response, text));
                }, reject);
            });
            request.end(data);
        });
    }
    newAgent() {
        const options = { keepAlive: true, maxSockets: 1 };
        const proxy = this.url.protocol === "https:" ? proxyFor(this.url) : undefined;
        if (proxy)
            return new TunnelAgent(proxy, options);
        return this.url.protocol === "https:" ? new https.Agent(options) : new http.Agent(options);
    }
    /** Close the connection. The next request opens a new one. */
    close() {
        this.agent?.destroy();
        this.agent = undefined;
    }
}
/** Reaches https servers through `HTTPS_PROXY`. */
class TunnelAgent extends https.Agent {
    proxy;
    constructor(proxy, options) {
        super(options);
        this.proxy = proxy;
    }
    createConnection(options, callback) {
        const { hostname, port, username, password } = this.proxy;
        const target = `${options.host}:${options.port ?? 443}`;
        const login = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64");
        const headers = { Host: target, ...(username ? { "Proxy-Authorization": `Basic ${login}` } : {}) };
        const request = http.request({ host: hostname, port: port || 80, method: "CONNECT", path: target, headers, agent: false });
        request.on("socket", (socket) => socket.unref());
        request.on("error", callback);
        request.on("connect", (response, socket) => {
            if (response.statusCode !== 200)
                return callback(new Error(`the proxy answered ${response.statusCode}`));
            callback(null, tls.connect({ ...options, socket, servername: options.servername ?? options.host }).unref());
        });
        request.end();
    }
}
function proxyFor(url) {
    const address = process.env["https_proxy"] || process.env["HTTPS_PROXY"];
    const excluded = (process.env["no_proxy"] || process.env["NO_PROXY"] || "").split(",").map((each) => each.trim());
    const isExcluded = excluded.some((each) => each === "*" || (each && `.${url.hostname}`.endsWith(`.${each.replace(/^\./, "")}`)));
    if (!address || isExcluded)
        return undefined;
    return safely("the proxy", () => new URL(address.includes("://") ? address : `http://${address}`), undefined);
}
function headersOf(options, data) {
    return {
        "X-API-Key": options.apiKey,
        "Content-Type": "application/json",
        "Content-Length": String(data.length),
        "User-Agent": SDK,
    };
}
function read(response) {
    return new Promise((resolve, reject) => {
        const chunks = [];
        let size = 0;
        response.on("data", (chunk) => {
            size += chunk.length;
            if (size <= MAX_ANSWER_BYTES)
                chunks.push(chunk);
            else
                response.destroy(new Error("the answer is too long"));
        });
        response.on("end", () => resolve(Buffer.concat(chunks).toString()));
        response.on("error", reject);
        response.on("aborted", () => reject(new Error("the answer was cut short")));
    });
}
function answerOf(response, text) {
    const waits = Number.parseFloat(response.headers["retry-after"] ?? "");
    const isNumber = /^\s*[\d.]+\s*$/.test(response.headers["retry-after"] ?? "");
    return {
        status: response.statusCode ?? 0,
        body: parsed(text),
        retryAfter: isNumber && Number.isFinite(waits) ? Math.min(waits, MAX_RETRY_AFTER) : undefined,
    };
}
function parsed(text) {
    try {
        return JSON.parse(text);
    }
    catch {
        return undefined;
    }
}
function unreachable(error) {
    const code = String(error.code ?? "");
    return new UnreachableError(messageOf(error) || code, /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(code));
}
function isTemporary(answer) {
    return [408, 425, 429].includes(answer.status) || answer.status >= 500;
}
function whyOf(answer) {
    const message = answer.body?.error?.message;
    return message ? `${answer.status}: ${message}` : `HTTP status ${answer.status}`;
}
/**
 * Send one request while the process is already ending, when nothing asynchronous runs any more: from a thread, for
 * which this one waits. Returns whether the server accepted it.
 */
function postAtExit(options, path, body, timeout) {
    const url = new URL(options.endpoint);
    if (url.protocol === "https:" && proxyFor(url))
        return false;
    const data = Buffer.from(encode(body));
    const state = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(POST_AND_NOTIFY, {
        eval: true,
        workerData: {
            client: url.protocol === "https:" ? "node:https" : "node:http",
            url: `${options.endpoint}${API}${path}`,
            headers: headersOf(options, data),
            data: data.toString(),
            state,
        },
    });
    worker.unref();
    Atomics.wait(state, 0, 0, timeout * 1000);
    return Atomics.load(state, 0) === 1;
}
const POST_AND_NOTIFY = `(() => {
  const { client, url, headers, data, state } = require("node:worker_threads").workerData;
  const end = (value) => { Atomics.store(state, 0, value); Atomics.notify(state, 0); };
  const request = require(client).request(url, { method: "POST", headers }, (response) => {
    response.resume();
    response.on("end", () => end(response.statusCode >= 200 && response.statusCode < 300 ? 1 : 2));
  });
  request.on("error", () => end(2));
  request.end(data);
})()`;
// -- Spool: what could not be sent is stored, and sent by this process, or by another one or the runner after its end
// Seconds between looks for what ended processes left, and the age at which it is no longer of use: as on the server.
const ADOPT_EVERY = 60;
const MAX_AGE = 7 * 86_400;
// Files and heartbeats to take over at once; the rest follows a minute later.
const MAX_FILES = 100;
const MAX_ADOPTED = 2_000;
const MAX_SPOOL_BYTES = 8_000_000;
// The name's end of a file whose process may still run, and the milliseconds after which it surely does not.
const LIVE = ".live";
const MAX_QUIET = 3_600_000;
/**
 * The path for `init({ spool })` or CLEVAGENT_SPOOL, by default in a private folder of the user, which the Python client
 * shares; nothing if off. Only who has the same key sends the file, so it arrives in the same project.
 */
function spoolPath(given, apiKey) {
    const asked = given ?? process.env["CLEVAGENT_SPOOL"];
    if (asked === false || (typeof asked === "string" && OFF.test(asked.trim())))
        return undefined;
    if (asked && typeof asked === "string")
        return path.resolve(asked);
    const folder = spoolFolders().find(isPrivate);
    const digest = createHash("sha256").update(apiKey).digest("hex").slice(0, 16);
    return folder && path.join(folder, `unsent-${digest}`);
}
/** The service's own folder, the user's, and one in /tmp for users without a home. */
function spoolFolders() {
    const env = process.env;
    const service = (env["STATE_DIRECTORY"] ?? "").split(":")[0];
    const local = env["XDG_STATE_HOME"] || env["LOCALAPPDATA"] || path.join(safely("home", os.homedir, "/"), ".local/state");
    const own = path.join(env["TMPDIR"] || "/tmp", `clevagent-${process.geteuid?.() ?? 0}`);
    return [...(service ? [path.join(service, "clevagent")] : []), path.join(local, "clevagent"), own];
}
/** Whether only this user can write to the folder, which is made if need be. */
function isPrivate(folder) {
    try {
        fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
        fs.accessSync(folder, fs.constants.W_OK | fs.constants.X_OK);
        const found = fs.lstatSync(folder);
        return found.isDirectory() && (!process.geteuid || (found.uid === process.geteuid() && !(found.mode & 0o022)));
    }
    catch {
        return false;
    }
}
/**
 * JavaScript cannot lock files as the Python client does, so the name of a running process's file says which process it
 * is. At the end of the process the file is written once more, complete. Two processes may send the same file; its
 * heartbeats count once, by their ids.
 */
class Spool {
    base;
    path;
    live;
    size = 0;
    // A request that is given up after that has failed, but is stored.
    hasEnded = false;
    constructor(base, instance) {
        this.base = base;
        this.path = `${base}.ts-${instance}`;
        this.live = this.path + LIVE;
    }
    /** Whether a file exists, which is only so while something could not be sent. */
    get isOpen() {
        return this.size > 0;
    }
    /** Store a heartbeat that could not be sent, in case the process is killed. */
    add({ fields }) {
        if (this.hasEnded)
            return;
        safely("storing an unsent heartbeat", () => {
            const line = lineOf(fields, this.size);
            if (this.size + line.length > MAX_SPOOL_BYTES)
                return;
            this.write(this.live, line, this.size ? "a" : "ax");
            this.size += line.length;
        }, undefined);
    }
    /** Everything was sent. */
    clear() {
        if (this.isOpen)
            this.delete(this.live);
        this.size = 0;
    }
    /** Store heartbeats at the end of the process, instead of what was stored before. */
    keep(beats) {
        this.hasEnded = true;
        safely("storing unsent heartbeats", () => {
            fs.rmSync(this.path, { force: true });
            let text = "";
            for (const { fields } of beats) {
                const line = lineOf(fields, text.length);
                if (text.length + line.length <= MAX_SPOOL_BYTES)
                    text += line;
            }
            if (text)
                this.write(this.path, text, "wx");
            this.clear();
        }, undefined);
    }
    /** Reports can be private, so only the owner may read the file; a new one must not exist, it may be anybody's. */
    write(file, text, flag) {
        fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
        fs.writeFileSync(file, text, { flag, mode: 0o600 });
    }
    /** What ended processes left: the heartbeats of each file. */
    left() {
        return safely("reading unsent heartbeats", () => {
            const folder = path.dirname(this.base);
            const prefix = `${path.basename(this.base)}.ts-`;
            const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => name.startsWith(prefix)).sort() : [];
            const others = names.map((name) => path.join(folder, name)).filter((file) => !file.startsWith(this.path));
            const files = others.filter((file) => isOurs(file) && isAbandoned(file));
            return files.slice(0, MAX_FILES).map((file) => ({ file, beats: linesOf(file) }));
        }, []);
    }
    delete(file) {
        safely("deleting sent heartbeats", () => fs.rmSync(file, { force: true }), undefined);
    }
}
function isOurs(file) {
    const found = fs.lstatSync(file);
    return found.isFile() && (!process.geteuid || found.uid === process.geteuid());
}
/** Whether the process that keeps the file has ended. Another machine's process is unknown, and so is Deno's at times. */
function isAbandoned(file) {
    const [, host, pid] = /\.ts-(.*)-(\d+)-[0-9a-f]+\.live$/.exec(file) ?? [];
    if (pid === undefined || Date.now() - fs.statSync(file).mtimeMs > MAX_QUIET)
        return true;
    return host === os.hostname().slice(0, 30) && !isRunning(Number(pid));
}
/** After a restart of a container, an earlier process had the number of this one. */
function isRunning(pid) {
    if (pid === process.pid)
        return false;
    try {
        return process.kill(pid, 0);
    }
    catch (error) {
        return error.code !== "ESRCH";
    }
}
function lineOf(beat, size) {
    return `${encode(size < MAX_SPOOL_BYTES / 4 ? beat : essenceOf(beat))}\n`;
}
/** The complete lines. A line cut short by a crash was never confirmed. */
function linesOf(file) {
    const lines = fs.readFileSync(file, "utf8").split("\n").map(parsed);
    return lines.filter((beat) => beat?.beat_id && typeof beat === "object").slice(0, MAX_ADOPTED);
}
// -- Reporter: turns counts into heartbeats, sends them and handles the answers
// Minimum seconds between heartbeats; reports in between go into the next one.
const MIN_SPACING = 0.9;
// Seconds without any answer since the start, after which the address is probably wrong.
const NEVER_REACHED = 30;
// What a heartbeat may not lose: `flush()` is only true once the server has counted these.
const SUMS = ["tokens_used", "cost_usd", "tool_calls", "usage"];
// Errors in the request itself: sending it again would fail again.
const PERMANENT_CODES = ["invalid", "bad_request", "too_large"];
const PERMANENT_STATUSES = [400, 413, 422];
/** Works in single steps with the clocks passed in (seconds), so that tests can cover an hour in a second. */
class Reporter {
    options;
    recorder;
    sender;
    heard;
    outbox = new Outbox();
    spool;
    builder;
    builtAt;
    adoptAt = 0;
    // Adopted files, with the ids of their heartbeats that the server has not accepted.
    adopted = new Map();
    // Errors are sent immediately, but an agent that keeps failing sends them in batches.
    urgentAt = 0;
    oneByOne = false;
    unansweredSince;
    everAnswered = false;
    lost = false;
    lostIsKnown = false;
    constructor(options, recorder, sender, heard) {
        this.options = options;
        this.recorder = recorder;
        this.sender = sender;
        this.heard = heard;
        this.builder = new Builder(options);
        this.spool = options.spool ? new Spool(options.spool, this.builder.instance) : undefined;
    }
    /** Whether the server has everything. A loss counts until this said so and a heartbeat was accepted. */
    confirm() {
        this.lostIsKnown = true;
        const { pending, failure, isEmpty } = this.recorder;
        return !this.outbox.waiting.length && !pending.length && !failure && isEmpty && !this.lost;
    }
    /** Do what is due, and return when to look again unless woken earlier. */
    async step(now, wall) {
        this.adopt(now, wall);
        this.recorder.releaseFailure(now);
        if (this.recorder.pending.length && now >= this.urgentAt) {
            this.seal(this.recorder.takePending(), now, wall);
            this.urgentAt = now + MIN_SPACING;
        }
        else if (this.isDue(now)) {
            this.seal(this.recorder.take(), now, wall);
        }
        await this.send(now);
        return this.nextLook(now);
    }
    /** Send everything now, even during a retry delay. */
    async finish(now, wall) {
        this.sealAll(now, wall);
        this.outbox.nextTryAt = 0;
        while (this.outbox.waiting.length && (await this.send(now)))
            ;
    }
    /** Send what fits into one request and store the rest, without anything asynchronous. */
    finishAtExit(now, wall, timeout) {
        this.sealAll(now, wall);
        this.outbox.nextTryAt = 0;
        const beats = this.outbox.nextBatch(now);
        // Stored first, in case the process is killed while the server hangs.
        this.storeRest();
        if (!beats.length)
            return;
        const bodies = beats.map((beat) => toWire(beat, this.recorder.lastProgress, now));
        if (safely("the last request", () => postAtExit(this.options, "/heartbeat/batch", { heartbeats: bodies }, timeout), false)) {
            for (const beat of beats)
                this.outbox.remove(beat);
            this.storeRest();
        }
    }
    /** Store what is unsent at the end of the process. */
    storeRest() {
        this.spool?.keep(this.outbox.waiting.filter((beat) => !beat.adopted));
    }
    sealAll(now, wall) {
        this.recorder.releaseFailure();
        this.seal(this.recorder.takePending(), now, wall);
        // Whoever flushes before the first step wants the first heartbeat, too.
        if (!this.recorder.isEmpty || this.builtAt === undefined)
            this.seal(this.recorder.take(), now, wall);
    }
    /** Take over what ended processes left, at the start and then whenever the server accepts heartbeats. */
    adopt(now, wall) {
        if (!this.spool || now < this.adoptAt || (this.outbox.waiting.length && this.adoptAt))
            return;
        this.adoptAt = now + ADOPT_EVERY;
        for (const { file, beats } of this.spool.left()) {
            if (this.adopted.has(file))
                continue;
            const ages = beats.map((fields) => ({ fields, age: ageOf(fields, wall) })).filter(({ age }) => age <= MAX_AGE);
            this.adopted.set(file, new Set(ages.map(({ fields }) => fields["beat_id"])));
            for (const { fields, age } of ages)
                this.outbox.add(new Heartbeat(fields, now - age, wall - age, true));
            this.forgetAdopted("");
        }
    }
    /** Delete the files whose heartbeats have all arrived. */
    forgetAdopted(id) {
        for (const [file, ids] of this.adopted) {
            ids.delete(id);
            if (ids.size)
                continue;
            this.spool?.delete(file);
            this.adopted.delete(file);
        }
    }
    isDue(now) {
        return now >= this.dueAt() || (this.recorder.hasNews && now >= this.newsAt());
    }
    /** When the next heartbeat is due without any news. */
    dueAt() {
        return this.builtAt === undefined ? 0 : this.builtAt + this.options.interval;
    }
    /** While sending is delayed, news can wait too, but at most a minute, to stay close to its time. */
    newsAt() {
        if (this.builtAt === undefined)
            return 0;
        return Math.max(this.builtAt + MIN_SPACING, Math.min(this.outbox.nextTryAt, this.builtAt + 60));
    }
    nextLook(now) {
        const looks = [this.dueAt()];
        if (this.recorder.pending.length)
            looks.push(this.urgentAt);
        if (this.recorder.hasNews)
            looks.push(this.newsAt());
        if (this.recorder.failure)
            looks.push(this.recorder.failure.at + RECOVERY_TIME);
        if (this.outbox.waiting.length)
            looks.push(this.outbox.nextTryAt);
        return Math.max(now, Math.min(...looks));
    }
    seal(pages, now, wall) {
        for (const page of pages) {
            const beat = this.builder.build(page, this.recorder, now, wall);
            this.outbox.add(beat);
            this.builtAt = now;
            if (this.spool?.isOpen)
                this.spool.add(beat);
        }
    }
    /** Send what is due. Returns whether more can be sent immediately. */
    async send(now) {
        const beats = this.outbox.nextBatch(now).slice(0, this.oneByOne ? 1 : undefined);
        if (!beats.length)
            return false;
        for (const beat of beats)
            beat.tried = true;
        const bodies = beats.map((beat) => toWire(beat, this.recorder.lastProgress, now));
        try {
            const [first] = bodies;
            const isSingle = bodies.length === 1;
            const answer = await (isSingle
                ? this.sender.post("/heartbeat", first)
                : this.sender.post("/heartbeat/batch", { heartbeats: bodies }));
            this.settle(beats, answer, now);
        }
        catch (error) {
            this.unanswered(error, now);
            this.outbox.failed(now);
        }
        this.store(now);
        return now >= this.outbox.nextTryAt;
    }
    /** Store what could not be sent, unless it is stored already; an adopted heartbeat is in its own file. */
    store(now) {
        const own = this.outbox.waiting.filter((beat) => !beat.adopted);
        if (!own.length)
            this.spool?.clear();
        else if (this.spool && !this.spool.isOpen && this.outbox.nextTryAt > now)
            own.forEach((beat) => this.spool?.add(beat));
    }
    unanswered(error, now) {
        debug("no answer from the server (%s); retrying later", textOf(error));
        this.unansweredSince ??= now;
        const never = !this.everAnswered && now - this.unansweredSince >= NEVER_REACHED;
        if (never || (error instanceof UnreachableError && error.needsFix)) {
            warnLoudlyOnce(`clevagent is not reporting: ${this.options.endpoint} does not answer (${messageOf(error)})`);
        }
    }
    settle(beats, answer, now) {
        this.everAnswered = true;
        if (answer.status < 200 || answer.status >= 300)
            return this.refused(beats, answer, now);
        this.outbox.answered();
        const given = beats.length > 1 ? answer.body?.results : [answer.body];
        // Accepted, but not answered by a watchdog server.
        const results = Array.isArray(given) && given.length === beats.length ? given : beats.map(() => undefined);
        const isKept = beats.map((beat, at) => this.handleResult(beat, results[at]));
        if (isKept.some(Boolean))
            this.outbox.failed(now);
    }
    /** Process the answer to one heartbeat. Returns whether to send it again later. */
    handleResult(beat, result) {
        const error = result?.error;
        if (typeof error !== "object" || error === null) {
            this.accepted(beat, result);
            return false;
        }
        if (PERMANENT_CODES.includes(error.code)) {
            this.dropDetail(beat, textOf(error.message));
            return false;
        }
        sayUnaccepted(textOf(error.message));
        return true;
    }
    accepted(beat, result) {
        this.outbox.remove(beat);
        if (beat.adopted)
            this.forgetAdopted(beat.fields["beat_id"]);
        this.lost &&= !this.lostIsKnown;
        const leftOut = Object.entries(result?.left_out ?? {});
        if (leftOut.length) {
            logOnce(`the server left out ${leftOut.map(([name, why]) => `${name}: ${textOf(why)}`).join("; ")}`);
            if (leftOut.some(([name]) => SUMS.includes(name)))
                this.lose();
        }
        this.heard(result);
    }
    lose() {
        this.lost = true;
        this.lostIsKnown = false;
    }
    refused(beats, answer, now) {
        const [first] = beats;
        if (!PERMANENT_STATUSES.includes(answer.status)) {
            if (!isTemporary(answer))
                sayUnaccepted(answer.body?.error?.message ?? whyOf(answer));
            this.outbox.failed(now, answer.retryAfter);
        }
        else if (beats.length > 1) {
            this.oneByOne = true; // one of them is at fault
        }
        else if (first) {
            this.dropDetail(first, whyOf(answer));
        }
        this.oneByOne &&= this.outbox.waiting.length > 0;
    }
    dropDetail(beat, why) {
        if (this.outbox.refused(beat)) {
            logOnce(`the server refused a heartbeat (${why}); sending it without details`);
        }
        else {
            if (beat.adopted)
                this.forgetAdopted(beat.fields["beat_id"]);
            warnLoudlyOnce(`clevagent: the server refused a heartbeat (${why})`);
            this.lose();
        }
    }
}
function sayUnaccepted(why) {
    warnLoudlyOnce(`clevagent: the server does not accept heartbeats from this agent: ${why}`);
}
/** How many seconds ago an earlier process made the heartbeat, by this machine's clock; 0 if unknown. */
function ageOf(fields, wall) {
    const made = Date.parse(fields["sent_at"]) / 1000;
    return Number.isFinite(made) ? Math.max(0, wall - made) : 0;
}
// -- Loop: runs the reporter's steps on a timer that does not keep the process running
// Seconds to wait after an unexpected error, so the loop does not spin.
const ERROR_DELAY = 5;
// Milliseconds: the longest that a timer takes.
const MAX_TIMER = 2 ** 31 - 1;
class Loop {
    reporter;
    clock;
    timer;
    running;
    isWoken = false;
    hasEnded = false;
    constructor(reporter, clock) {
        this.reporter = reporter;
        this.clock = clock;
    }
    /** Signal new work. */
    wake() {
        this.isWoken = true;
        if (!this.running)
            this.schedule(0);
    }
    schedule(ms) {
        clearTimeout(this.timer);
        if (this.hasEnded)
            return;
        this.timer = setTimeout(() => void this.exclusively(() => this.step()), Math.min(Math.max(0, ms), MAX_TIMER));
        this.timer.unref();
    }
    async step() {
        this.isWoken = false;
        let next = this.clock() + ERROR_DELAY;
        try {
            next = await this.reporter.step(this.clock(), Date.now() / 1000);
        }
        catch (error) {
            debug("reporting failed: %s", textOf(error));
        }
        this.schedule(this.isWoken ? 0 : (next - this.clock()) * 1000);
    }
    /** Only one step at a time may use the reporter. */
    async exclusively(work) {
        while (this.running)
            await this.running;
        this.running = work();
        await this.running;
        this.running = undefined;
        if (this.isWoken && !this.hasEnded)
            this.schedule(0);
    }
    /** Send everything now. Returns whether the server accepted it within `timeout` seconds. */
    async flush(timeout) {
        const work = this.exclusively(() => this.reporter.finish(this.clock(), Date.now() / 1000));
        // This timer is the only one that holds the process: whoever flushes waits for it.
        let timer;
        const late = new Promise((resolve) => {
            timer = setTimeout(() => resolve(false), timeout * 1000);
        });
        const inTime = await Promise.race([work.then(() => true, () => false), late]);
        clearTimeout(timer);
        return inTime && this.reporter.confirm();
    }
    end() {
        this.hasEnded = true;
        clearTimeout(this.timer);
    }
}
// -- Reactions to the server's warnings
const KINDS = { loop_detected: "loop", cost_exceeded: "cost" };
const MAX_REMEMBERED = 1000;
/** Handles each answer. Reactions run once per incident. */
class Reactions {
    options;
    stop;
    handled = [];
    flagged;
    hold = false;
    constructor(options, stop) {
        this.options = options;
        this.stop = stop;
    }
    get shouldStop() {
        return this.hold || this.flagged !== undefined;
    }
    handle(answer) {
        if (typeof answer !== "object" || answer === null)
            return;
        const incident = answer.incident ?? {};
        this.hold = answer.hold === true;
        const kind = KINDS[String(answer.warning)];
        const key = `${incident.id} ${kind}`;
        if (!kind) {
            // The server names an incident's warning once. The flag stays until answers no longer name the incident.
            if (this.flagged?.incident !== incident.id)
                this.flagged = undefined;
        }
        else if (!this.handled.includes(key)) {
            this.handled = [...this.handled.slice(-MAX_REMEMBERED), key];
            this.react({ kind, text: String(answer.reason || kind), incident: incident.id, url: incident.url });
        }
    }
    react(reason) {
        const reaction = reason.kind === "loop" ? this.options.onLoop : this.options.onCostExceeded;
        debug("%s: %s", reason.kind, reason.text);
        if (typeof reaction === "function") {
            safely(`the ${reason.kind} callback`, () => settled(reaction(reason)), undefined);
        }
        else if (reaction !== "alert_only") {
            this.flagged = { incident: reason.incident };
            if (reaction !== "flag")
                this.stop(reason.text, reaction === "force_stop" ? this.options.stopGrace : undefined);
        }
    }
}
/** A callback's promise must not become the program's unhandled rejection. */
function settled(result) {
    if (isPromise(result))
        result.then(undefined, (error) => debug("a callback failed: %s", textOf(error)));
}
function isPromise(value) {
    return typeof value?.then === "function";
}
// -- Client: reporting for one agent
// Seconds the client may hold up the end of the program.
const EXIT_WITHIN = 2;
const MAX_WAIT_LENGTH = 100;
const MAX_TRACEBACK_LENGTH = 16_000;
const STATUSES = ["ok", "warning", "error", "shutdown"];
const NO_VALUE = Symbol("no value");
// Also the providers' `APIUserAbortError`, LangGraph's interrupts for a person, and Ctrl-C in inquirer's prompts.
const PURPOSEFUL = /^(?:\w*Abort(?:ed)?(?:Error)?|Cancel\w*|Graph(?:Interrupt|BubbleUp)|NodeInterrupt|ParentCommand|ExitPromptError)$/;
/** Aborting is not failing: somebody asked for it. A group is purposeful if everything in it is. */
function isPurposeful(error) {
    const inner = error instanceof AggregateError ? error.errors : [];
    if (inner.length)
        return inner.every(isPurposeful);
    return PURPOSEFUL.test(nameOf(error)) || PURPOSEFUL.test(classOf(error));
}
/** Of its class: many errors keep the name "Error". */
function classOf(error) {
    return safely("an error's class", () => String(error?.constructor?.name), "Error");
}
class Client {
    options;
    sender;
    clock;
    recorder;
    reactions;
    reporter;
    loop;
    hasCrashed = false;
    lastCrash = NO_VALUE;
    closing;
    constructor(options, sender = new Transport(options), clock = () => performance.now() / 1000) {
        this.options = options;
        this.sender = sender;
        this.clock = clock;
        this.recorder = new Recorder(clock, () => this.loop.wake());
        this.reactions = new Reactions(options, (why, forceAfter) => this.stop(why, forceAfter));
        this.reporter = new Reporter(options, this.recorder, sender, (answer) => this.reactions.handle(answer));
        this.loop = new Loop(this.reporter, clock);
    }
    ping(status, message, details) {
        const { tokensUsed, costUsd, toolCalls, iterationCount, memoryMb: memory, custom } = details;
        if (tokensUsed || costUsd)
            this.recorder.counters.spend(tokensUsed, costUsd);
        if (toolCalls)
            this.recorder.counters.toolCalls += Math.floor(count("toolCalls", toolCalls));
        if (iterationCount !== undefined)
            this.logIteration(iterationCount);
        if (!STATUSES.includes(status)) {
            logOnce(`status=${status} is not one of ${STATUSES.join(", ")}; using warning`);
            status = "warning";
        }
        if (status === "ok" || status === "warning")
            this.recorder.progressed();
        this.recorder.report(status, {
            message: message === undefined || message === null ? undefined : textOf(message),
            memory_mb: memory === undefined ? undefined : count("memoryMb", memory),
            custom_data: custom === undefined ? undefined : customText(custom),
        });
    }
    logUsage(usage) {
        const counts = [
            ["input_tokens", usage.inputTokens],
            ["output_tokens", usage.outputTokens],
            ["cache_read_tokens", usage.cacheReadTokens],
            ["cache_write_tokens", usage.cacheWriteTokens],
            ["reasoning_tokens", usage.reasoningTokens],
        ];
        const counted = counts.map(([name, value]) => [name, Math.floor(count(name, value))]);
        const entry = Object.fromEntries(counted.filter(([, amount]) => amount));
        entry["model"] = storable(usage.model, MAX_NAME_LENGTH);
        if (usage.provider)
            entry["provider"] = storable(usage.provider, MAX_NAME_LENGTH);
        if (usage.costUsd !== undefined)
            entry["cost_usd"] = count("costUsd", usage.costUsd);
        this.recorder.addUsage(entry, usage.callId);
    }
    logToolCall(name, details) {
        const entry = { name: storable(name, MAX_NAME_LENGTH) };
        const summary = details.argsSummary || ("args" in details ? summaryOf(details.args) : "");
        if (summary && this.options.sendArgs)
            entry["args"] = textOf(summary).slice(0, MAX_ARGS_LENGTH * 4);
        if ("args" in details || details.argsSummary) {
            entry["args_hash"] = hashOf("args" in details ? details.args : details.argsSummary);
        }
        if ("result" in details)
            entry["result_hash"] = hashOf(details.result ?? null);
        if (details.ms !== undefined)
            entry["ms"] = seconds(count("ms", details.ms));
        if (details.ok !== undefined)
            entry["ok"] = Boolean(details.ok);
        this.recorder.counters.addCall(entry);
        this.recorder.progressed();
    }
    logIteration(to) {
        const counter = Math.floor(count("iterationCount", to));
        const isChanged = counter !== this.recorder.iteration;
        this.recorder.iterate(counter);
        if (isChanged)
            this.recorder.progressed();
    }
    iteration() {
        const began = performance.now();
        this.recorder.iterate();
        const ended = once((isOk) => {
            this.recorder.iterationMs = Math.round((performance.now() - began) * 10) / 10;
            if (isOk)
                this.recorder.progressed();
        });
        return { end: () => ended(true), fail: () => ended(false) };
    }
    /** Report an exception from a monitored function, unless the program handles it. */
    failed(name, error) {
        if (!isPurposeful(error))
            this.recorder.fail(`${name} failed: ${nameOf(error)}: ${messageOf(error)}`);
    }
    tool(name, args, { timeout }) {
        const began = performance.now();
        const key = {};
        this.recorder.running.set(key, { tool: name, since: this.clock() });
        this.recorder.progressed();
        if (timeout !== undefined)
            this.waiting(`tool ${name}`, timeout);
        const ended = once((ok, result) => {
            this.recorder.running.delete(key);
            const known = { ...(args === undefined ? {} : { args }), ...(result === NO_VALUE ? {} : { result }) };
            this.logToolCall(name, { ...known, ms: performance.now() - began, ok });
        });
        return {
            end: (...result) => ended(true, result.length ? result[0] : NO_VALUE),
            fail: (error) => ended(isPurposeful(error), NO_VALUE),
        };
    }
    waiting(what, until) {
        const wait = { what: clean(what, MAX_WAIT_LENGTH).trim() || "something", until: readUntil(until) };
        this.recorder.waitFor(wait);
        return {
            end: () => {
                if (this.recorder.wait === wait)
                    this.recorder.progressed();
            },
        };
    }
    /** Report an uncaught exception, which ends the program unless it handles those. */
    crashed(error, isFinal = true) {
        if (isPurposeful(error) || error === this.lastCrash)
            return;
        this.lastCrash = error; // Deno reports it twice
        this.recorder.failure = undefined; // the same exception, on its way here
        this.hasCrashed ||= isFinal;
        const message = redacted(withoutValues(`CRASH: ${nameOf(error)}: ${messageOf(error)}`));
        const stack = safely("a stack", () => String(error.stack ?? messageOf(error)), "");
        const traceback = redacted(withoutValues(stack)).slice(-MAX_TRACEBACK_LENGTH);
        this.recorder.report("error", { message, custom_data: customText({ traceback, crash: true }) }, isFinal);
    }
    stop(why, forceAfter) {
        this.recorder.report("warning", { message: `stopping: ${why}` });
        if (forceAfter !== undefined)
            setTimeout(() => process.kill(process.pid, "SIGKILL"), forceAfter * 1000).unref();
        process.kill(process.pid, "SIGINT");
    }
    /** Report the end as it happens: nothing but a crash, or else an intentional stop. */
    sayGoodbye() {
        if (!this.hasCrashed && this.recorder.finalStatus.status === "ok")
            this.recorder.report("shutdown", {}, true);
    }
    /** Send what is left and a `shutdown` heartbeat, within 2 seconds. */
    close() {
        this.closing ??= this.finish();
        return this.closing;
    }
    async finish() {
        this.sayGoodbye();
        const accepted = await this.loop.flush(EXIT_WITHIN);
        if (!this.loop.hasEnded) {
            this.loop.end();
            this.reporter.sealAll(this.clock(), Date.now() / 1000);
            this.reporter.storeRest();
            this.sender.close();
        }
        return accepted;
    }
    /** The same while the process is already ending. */
    closeAtExit() {
        if (this.loop.hasEnded)
            return;
        this.loop.end();
        this.sayGoodbye();
        this.reporter.finishAtExit(this.clock(), Date.now() / 1000, EXIT_WITHIN);
    }
}
function once(work) {
    let isDone = false;
    return (...args) => {
        if (isDone)
            return;
        isDone = true;
        safely("reporting progress", () => work(...args), undefined);
    };
}
/** A date, or a number of seconds from now; null for anything else. */
function readUntil(until) {
    const date = until instanceof Date ? until : new Date(Date.now() + Math.max(0, numberOf(until ?? NaN)) * 1000);
    return Number.isFinite(date.getTime()) ? date : null;
}
// -- The end of the process
const SIGNALS = ["SIGTERM", "SIGINT"];
/** Hooks of one client: removed when it closes. None of them keeps the process running. */
class ProcessHooks {
    client;
    removals = [];
    constructor(client, handleSignals, reportCrashes) {
        this.client = client;
        // Node emits this when nothing is left to do, and waits for what it starts.
        this.on("beforeExit", () => void this.close());
        this.on("exit", () => client.closeAtExit());
        if (reportCrashes)
            this.on("uncaughtExceptionMonitor", (error) => client.crashed(error, process.listenerCount("uncaughtException") === 0));
        if (reportCrashes && "Deno" in globalThis)
            this.watchDeno();
        if (handleSignals)
            for (const signal of SIGNALS)
                this.on(signal, () => void this.onSignal(signal));
    }
    on(event, listener) {
        const safe = (...args) => safely(event, () => listener(...args), undefined);
        process.on(event, safe);
        this.removals.push(() => process.removeListener(event, safe));
    }
    /** Deno has no monitor of uncaught exceptions, and ends without the exit event after one. */
    watchDeno() {
        const crashed = (event) => safely("a crash", () => {
            if (event.defaultPrevented)
                return;
            this.client.crashed(event.error ?? event.reason);
            this.client.closeAtExit();
        }, undefined);
        for (const event of ["error", "unhandledrejection"]) {
            globalThis.addEventListener(event, crashed);
            this.removals.push(() => globalThis.removeEventListener(event, crashed));
        }
    }
    /** With a listener of its own, the program decides whether it exits; if it does, the exit hook reports it. */
    async onSignal(signal) {
        if (process.listenerCount(signal) > 1)
            return;
        await this.close();
        process.kill(process.pid, signal);
    }
    async close() {
        const accepted = await this.client.close();
        for (const remove of this.removals.splice(0))
            remove();
        return accepted;
    }
}
// -- Model calls: their tokens are read as answers pass through `fetch`. Answers and streams remain the SDK's own
// The provider that bills a call, under the name used in price lists.
const HOSTS = {
    "api.anthropic.com": "anthropic",
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "azure-api.net": "azure",
    "amazonaws.com": "aws",
    "api.aws": "aws",
    "googleapis.com": "google",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.minimax.io": "minimax",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.perplexity.ai": "perplexity",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.voyageai.com": "voyageai",
    "api.x.ai": "x-ai",
    "api.z.ai": "zai",
    "openrouter.ai": "openrouter",
};
// The AI SDK's names where they differ.
const AI_SDK_PROVIDERS = {
    "amazon-bedrock": "aws",
    "azure-openai": "azure",
    bedrock: "aws",
    togetherai: "together",
    vertex: "google",
    xai: "x-ai",
};
const MODEL_PATHS = /(?:\/completions|\/responses(?:\/compact)?|\/embeddings|\/messages|\/invoke|:rawPredict|:streamRawPredict)\/?$/;
const RETRIEVED_RESPONSE = /\/responses\/([^/]+)\/?$/;
// Larger JSON answers are not read: they are no model's.
const MAX_JSON_LENGTH = 16 * 1024 * 1024;
const HINT = "a chat stream does not include its usage, so its tokens may be unknown: pass stream_options: { include_usage: true } to count them";
// Background responses report their usage only when retrieved.
const background = new Set();
const watched = new WeakSet();
const observers = new WeakSet();
let captured;
function installCapture() {
    if (captured || typeof globalThis.fetch !== "function")
        return;
    const original = globalThis.fetch;
    const ours = observe(original);
    captured = { original, ours };
    globalThis.fetch = ours;
}
/** The same function, which also lets us see answers of model calls. */
function observe(original) {
    const ours = function fetch(input, init) {
        const call = current ? safely("a model call", () => ModelCall.of(input, init), undefined) : undefined;
        const answer = original.call(this, input, init);
        if (!call)
            return answer;
        return answer.then((response) => {
            safely("a model call", () => watchAnswer(response, call), undefined);
            return response;
        });
    };
    observers.add(ours);
    return ours;
}
/** One call of a model, and the usage in its answer. */
class ModelCall {
    url;
    isPost;
    request;
    model;
    id;
    usage;
    report;
    constructor(url, isPost, request) {
        this.url = url;
        this.isPost = isPost;
        this.request = request;
    }
    /** The call that a request makes, or nothing if it goes elsewhere. */
    static of(input, init) {
        const url = new URL(typeof input === "string" ? input : (input.href ?? input.url));
        const isPost = String(init?.method ?? input.method ?? "GET").toUpperCase() === "POST";
        const retrieved = RETRIEVED_RESPONSE.exec(url.pathname)?.[1];
        const isModel = isPost ? MODEL_PATHS.test(url.pathname) : retrieved !== undefined && background.has(retrieved);
        return isModel ? new ModelCall(url, isPost, typeof init?.body === "string" ? init.body : "") : undefined;
    }
    /** Look at a decoded body or stream event. */
    see(data, isStream) {
        if (typeof data !== "object" || data === null)
            return;
        const response = data.response ?? data;
        if (data.type === "message" || data.type === "message_start") {
            const message = data.message ?? data;
            this.hold(message, message.usage, anthropicUsage);
        }
        else if (data.type === "message_delta") {
            // Its counts are running totals and replace those of message_start.
            this.hold({}, data.usage, anthropicUsage);
        }
        else if (response?.object === "response" || /\/responses/.test(this.url.pathname)) {
            this.seeResponse(response);
        }
        else {
            this.hold(data, data.usage, openaiUsage);
            if (isStream && !data.usage && data.choices?.some((choice) => choice?.finish_reason))
                this.hint();
        }
    }
    seeResponse(response) {
        if (response?.usage) {
            // A compaction does not name its model.
            this.hold({ ...response, model: response.model ?? parsed(this.request)?.model }, response.usage, openaiUsage);
        }
        else if (response?.background && this.isPost && typeof response.id === "string") {
            background.add(response.id);
        }
    }
    hold(body, usage, report) {
        this.model = body["model"] ?? this.model;
        this.id = body["id"] ?? this.id;
        if (typeof usage !== "object" || usage === null)
            return;
        const known = Object.entries(usage).filter(([, value]) => value !== null && value !== undefined);
        this.usage = { ...this.usage, ...Object.fromEntries(known) };
        this.report = report;
    }
    hint() {
        if (!this.request.includes('"include_usage"'))
            logOnce(HINT);
    }
    /** The answer has ended, or the program has left its stream. The last usage counts, unless it is unknown. */
    finish() {
        const counts = this.usage && this.report?.(this.usage);
        this.usage = undefined;
        if (!counts || !Object.values(counts).some(Boolean))
            return;
        const host = Object.keys(HOSTS).find((known) => `.${this.url.hostname}`.endsWith(`.${known}`));
        logUsage({
            model: textOf(this.model || "unknown"),
            ...(host ? { provider: HOSTS[host] } : {}),
            ...counts,
            ...(this.id ? { callId: textOf(this.id) } : {}),
        });
    }
}
/** OpenAI's chat and embeddings (prompt_tokens …) and responses (input_tokens …). Both include cached tokens. */
function openaiUsage(usage) {
    const into = usage["prompt_tokens_details"] ?? usage["input_tokens_details"] ?? {};
    const out = usage["completion_tokens_details"] ?? usage["output_tokens_details"] ?? {};
    return {
        inputTokens: positive(usage["prompt_tokens"], usage["input_tokens"]),
        outputTokens: positive(usage["completion_tokens"], usage["output_tokens"]),
        cacheReadTokens: positive(into.cached_tokens, usage["prompt_cache_hit_tokens"], usage["cache_read_input_tokens"]),
        cacheWriteTokens: positive(into.cache_write_tokens, into.cache_creation_tokens, usage["cache_creation_input_tokens"]),
        reasoningTokens: positive(out.reasoning_tokens),
    };
}
/** Anthropic's messages. Their input_tokens exclude tokens read from and written to the cache. */
function anthropicUsage(usage) {
    const read = positive(usage["cache_read_input_tokens"]);
    const write = positive(usage["cache_creation_input_tokens"]);
    return {
        inputTokens: positive(usage["input_tokens"]) + read + write,
        outputTokens: positive(usage["output_tokens"]),
        cacheReadTokens: read,
        cacheWriteTokens: write,
        reasoningTokens: positive(usage["output_tokens_details"]?.thinking_tokens),
    };
}
/** The first of these values that is a positive number, else 0. */
function positive(...values) {
    const found = values.find((value) => typeof value === "number" && value > 0);
    return Math.floor(found ?? 0);
}
/** Look at the answer's body while the program reads it, in whichever way it does. */
function watchAnswer(response, call) {
    if (watched.has(response) || !response.ok)
        return;
    watched.add(response);
    const isStream = (response.headers.get("content-type") ?? "").includes("event-stream");
    const reading = () => new BodyReading(isStream, call);
    const [json, text] = [response.json, response.text];
    let body;
    const own = (name, value) => Object.defineProperty(response, name, { value, configurable: true, writable: true });
    own("json", async () => {
        const data = await json.call(response);
        safely("a model call", () => (call.see(data, false), call.finish()), undefined);
        return data;
    });
    own("text", async () => {
        const data = await text.call(response);
        reading().all(data);
        return data;
    });
    const original = () => Reflect.get(Object.getPrototypeOf(response), "body", response);
    Object.defineProperty(response, "body", {
        get: () => (body ??= passing(original(), reading())),
        configurable: true,
    });
}
/** Reads a body as it passes: a JSON text as a whole, a stream line by line. */
class BodyReading {
    isStream;
    call;
    decoder = new TextDecoder();
    text = "";
    constructor(isStream, call) {
        this.isStream = isStream;
        this.call = call;
    }
    see(chunk) {
        if (this.text.length > MAX_JSON_LENGTH || !(chunk instanceof Uint8Array))
            return;
        this.text += this.decoder.decode(chunk, { stream: true });
        if (!this.isStream)
            return;
        const end = this.text.lastIndexOf("\n") + 1;
        for (const line of this.text.slice(0, end).split("\n"))
            this.seeLine(line);
        this.text = this.text.slice(end);
    }
    /** Most events have neither usage nor an end, and are not decoded. */
    seeLine(line) {
        if (!line.startsWith("data:") || !/"usage"|"finish_reason":\s*"|"background":\s*true/.test(line))
            return;
        this.call.see(parsed(line.slice(5)), true);
    }
    finish() {
        if (this.isStream)
            this.seeLine(this.text);
        else
            this.call.see(parsed(this.text), false);
        this.call.finish();
    }
    all(text) {
        safely("a model call", () => {
            this.see(new TextEncoder().encode(text));
            this.finish();
        }, undefined);
    }
}
/** The same body, read only as fast as the program reads it, and cancelled when the program cancels it. */
function passing(body, reading) {
    if (typeof body?.getReader !== "function")
        return body;
    let reader;
    const finish = () => safely("a model call", () => reading.finish(), undefined);
    return new ReadableStream({
        async pull(controller) {
            reader ??= body.getReader();
            const part = await reader.read().catch((error) => {
                finish();
                throw error;
            });
            if (part.done) {
                finish();
                controller.close();
            }
            else {
                safely("a model call", () => reading.see(part.value), undefined);
                controller.enqueue(part.value);
            }
        },
        async cancel(reason) {
            finish();
            await (reader ?? body).cancel(reason);
        },
    }, { highWaterMark: 0 });
}
// -- The Vercel AI SDK
// Steps and tool calls of the AI SDK that are remembered until they end.
const MAX_OPEN = 1_000;
function aiUsage(step) {
    const { inputTokenDetails: into, outputTokenDetails: out, ...usage } = step.usage ?? {};
    const provider = String(step.model?.provider ?? "").split(".")[0] ?? "";
    return {
        model: textOf(step.response?.modelId ?? step.model?.modelId ?? "unknown"),
        ...(provider ? { provider: AI_SDK_PROVIDERS[provider] ?? provider } : {}),
        inputTokens: positive(usage.inputTokens),
        outputTokens: positive(usage.outputTokens),
        cacheReadTokens: positive(into?.cacheReadTokens, usage.cachedInputTokens),
        cacheWriteTokens: positive(into?.cacheWriteTokens),
        reasoningTokens: positive(out?.reasoningTokens, usage.reasoningTokens),
        ...(step.response?.id ? { callId: textOf(step.response.id) } : {}),
    };
}
/**
 * Reports steps, tool calls and tokens of the Vercel AI SDK: `registerTelemetry(clevagent.aiTelemetry())`, in version 6
 * `registerTelemetryIntegration(…)`, or for one call `experimental_telemetry: { integrations: [clevagent.aiTelemetry()] }`.
 */
export function aiTelemetry() {
    const tools = new Map();
    // By the call that they belong to, which version 6 does not name.
    const steps = new Map();
    const take = (open, key) => {
        const found = open.get(textOf(key));
        open.delete(textOf(key));
        return found;
    };
    const toolStarted = ({ toolCall }) => {
        bounded(tools).set(toolCall.toolCallId, tool(toolCall.toolName, toolCall.input));
    };
    const toolEnded = ({ toolCall, success, output, error, toolOutput }) => {
        const call = take(tools, toolCall.toolCallId);
        const hasFailed = toolOutput ? toolOutput.type === "tool-error" : success === false;
        if (hasFailed)
            call?.fail(toolOutput?.error ?? error);
        else
            call?.end(toolOutput ? toolOutput.output : output);
    };
    // Version 7 has the end of a step under two names, and calls both. In version 6, steps of calls at once share a key.
    const stepEnded = (event) => {
        const step = take(steps, event.callId);
        const usage = aiUsage(event);
        const isFirst = step !== undefined || event.callId === undefined;
        if (isFirst && (usage.inputTokens || usage.outputTokens))
            logUsage(usage);
        step?.end();
    };
    const safe = (work) => (event) => safely("AI SDK telemetry", () => work(event), undefined);
    return {
        onStepStart: safe((event) => bounded(steps).set(textOf(event.callId), iteration())),
        onStepEnd: safe(stepEnded),
        onStepFinish: safe(stepEnded),
        onStepError: safe((event) => take(steps, event.callId)?.fail(event.error)),
        onToolCallStart: safe(toolStarted),
        onToolCallFinish: safe(toolEnded),
        onToolExecutionStart: safe(toolStarted),
        onToolExecutionEnd: safe(toolEnded),
    };
}
/** The map with room for one more: what was aborted never ends. */
function bounded(open) {
    const [oldest] = open.keys();
    if (open.size >= MAX_OPEN && oldest !== undefined)
        open.delete(oldest);
    return open;
}
// -- The public functions
const OPTIONS = new Set(("apiKey agent endpoint interval autoCost onLoop onCostExceeded agentType costLimitUsd progressTimeout labels sendArgs " +
    "spool stopGrace handleSignals reportCrashes").split(" "));
let current;
// After an `init()` that could not start, whatever is reported is lost.
let isRefused = false;
/**
 * Start reporting this process as an agent. The first heartbeat is sent as soon as the program waits for something.
 *
 * Unknown and invalid options cause a warning and are ignored. A second call replaces the first client.
 */
export function init(options = {}) {
    isRefused = true;
    try {
        const unknown = Object.keys(options).filter((name) => !OPTIONS.has(name));
        if (unknown.length)
            warn(`clevagent.init() does not know ${unknown.join(", ")}; ignored.`);
        void shutdown();
        const read = readOptions(options);
        if (!read)
            return;
        const client = new Client(read);
        current = { client, hooks: new ProcessHooks(client, options.handleSignals === true, options.reportCrashes !== false) };
        isRefused = false;
        if (options.autoCost !== false)
            installCapture();
        client.loop.wake();
    }
    catch (error) {
        warn(`clevagent is not reporting: init() could not read its options (${nameOf(error)}).`);
    }
}
function report(what, work, otherwise) {
    const client = current?.client;
    return client ? safely(what, () => work(client), otherwise) : otherwise;
}
/** Report progress. An error is not progress. Tokens, dollars and tool calls are added to those since the last heartbeat. */
export function ping(status = "ok", message, details = {}) {
    report("ping", (client) => client.ping(status, message, details ?? {}), undefined);
}
/** Add spent tokens and US dollars. Leave out calls that the client captures automatically. */
export function logCost(tokens = 0, costUsd = 0) {
    report("logCost", (client) => client.recorder.counters.spend(tokens, costUsd), undefined);
}
/** Add the tokens of one model call. The server prices them. */
export function logUsage(usage) {
    report("logUsage", (client) => client.logUsage(usage), undefined);
}
/** Report a completed tool call. Counts as progress. */
export function logToolCall(name, details = {}) {
    report("logToolCall", (client) => client.logToolCall(name, details), undefined);
}
/** Set the agent's iteration counter. A changed value is progress. */
export function logIteration(count) {
    report("logIteration", (client) => client.logIteration(count), undefined);
}
/** Report a prompt. Only its hash is sent; repeated prompts indicate a loop. */
export function logPrompt(text) {
    report("logPrompt", ({ recorder }) => recorder.prompt(hashOf(textOf(text))), undefined);
}
const IDLE = { end: () => undefined, fail: () => undefined };
export function iteration(work) {
    const turn = report("iteration", (client) => client.iteration(), IDLE);
    return work ? spanned(work, () => turn.end(), (error) => turn.fail(error)) : turn;
}
/** The same function, with each call counted as an iteration. An exception is reported and thrown on. */
export function monitor(work, name) {
    const shown = name ?? (work.name || "the function");
    return function (...args) {
        const turn = iteration();
        const failed = (error) => {
            turn.fail(error);
            report("monitor", (client) => client.failed(shown, error), undefined);
        };
        return spanned(() => work.apply(this, args), () => turn.end(), failed);
    };
}
export function tool(name, args, work, options = {}) {
    const call = report("tool", (client) => client.tool(name, args, options), IDLE);
    return work ? spanned(work, (result) => call.end(result), (error) => call.fail(error)) : call;
}
export function waiting(what, until, work) {
    const wait = report("waiting", (client) => client.waiting(what, until), IDLE);
    return work ? spanned(work, () => wait.end(), () => wait.end()) : wait;
}
/** Whether to leave the loop: the agent is on hold, or `onLoop` or `onCostExceeded` raised the flag. */
export function shouldStop() {
    return report("shouldStop", (client) => client.reactions.shouldStop, false);
}
/**
 * Count the tokens of an OpenAI or Anthropic client that was made before `init()`, or with its own `fetch`. Returns the
 * same client. Clients made after `init()` are counted without it.
 */
export function watch(client) {
    return safely("watch", () => {
        const { fetch } = client;
        if (typeof fetch !== "function")
            warn("clevagent: watch() needs a client of the OpenAI or Anthropic SDK; its calls are not counted.");
        else if (!observers.has(fetch))
            client.fetch = observe(fetch);
        return client;
    }, client);
}
/** Send everything now. Resolves within `timeout` seconds to whether the server accepted all of it. */
export async function flush(timeout = EXIT_WITHIN) {
    return current ? await current.client.loop.flush(timeout).catch(() => false) : !isRefused;
}
/** Send what is left, report an intentional stop and end reporting, within 2 seconds. */
export async function shutdown() {
    const ending = current;
    current = undefined;
    if (captured && globalThis.fetch === captured.ours) {
        globalThis.fetch = captured.original;
        captured = undefined;
    }
    await ending?.hooks.close().catch((error) => debug("could not report the shutdown: %s", textOf(error)));
}
/** Run the work and report its end once. Throws and returns what the work does. */
function spanned(work, ended, failed) {
    const fail = (error) => {
        failed(error);
        throw error;
    };
    try {
        const result = work();
        if (!(result instanceof Promise))
            return ended(result), result;
        return result.then((value) => (ended(value), value), fail);
    }
    catch (error) {
        return fail(error);
    }
}
/** @internal For the tests of this client. */
export const internals = { Client, UnreachableError, redacted, withoutValues, hashOf, readOptions };
