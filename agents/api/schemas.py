"""Request and response schemas for the OpenAPI document; most are not used for validation (see `changes.py`)."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from agents.api.validation import Moment
from agents.domain import heartbeat, intents, jobs, signal_kinds
from agents.models import Agent, Command, Incident, IncidentEvent, Job, RestartType, Severity, SignalKind, Status

Schema = type[serializers.Serializer[Any]]


class Health(serializers.Serializer[Any]):
    name = serializers.CharField()
    status = serializers.ChoiceField(Status.choices)


class ErrorBody(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField(help_text="What went wrong and what to do.")
    fields = serializers.DictField(child=serializers.CharField(), required=False)  # type: ignore[assignment]


class Error(serializers.Serializer[Any]):
    error = ErrorBody()


class IncidentRef(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField(SignalKind.choices)
    url = serializers.URLField()


class AgentRef(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    url = serializers.URLField()


class ToolCall(serializers.Serializer[Any]):
    name = serializers.CharField()
    args = serializers.CharField(required=False, help_text="Truncated to 200 characters.")
    args_hash = serializers.CharField(required=False)
    result_hash = serializers.CharField(required=False)
    ms = serializers.FloatField(required=False)
    ok = serializers.BooleanField(required=False)


class ModelUsage(serializers.Serializer[Any]):
    """Counts include their parts: input tokens the cached ones, output tokens the reasoning."""

    model = serializers.CharField()
    provider = serializers.CharField(required=False)
    cost_usd = serializers.FloatField(required=False, min_value=0)
    calls = serializers.IntegerField(required=False, min_value=1, help_text="How many calls the entry sums up.")
    service_tier = serializers.CharField(required=False, help_text="As the provider reports it: batch, flex, …")
    region = serializers.CharField(required=False, help_text="As the provider reports it: us, …")

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {
            name: serializers.IntegerField(required=False, min_value=0) for name in heartbeat.COUNTS
        }


WAITING: Final = inline_serializer(
    "Wait",
    {"for": serializers.CharField(), "until": serializers.DateTimeField(required=False, allow_null=True)},
    required=False,
    allow_null=True,
    help_text="A declared wait. The agent does not count as stalled until then.",
)


DOING: Final = inline_serializer(
    "CurrentCall",
    {"tool": serializers.CharField(), "since": serializers.DateTimeField()},
    required=False,
    help_text="The tool call in progress and when it started. Shown when the agent stalls.",
)


class DeclaredSchedule(serializers.Serializer[Any]):
    """The schedule that a client declares for its job. One that a person set comes first."""

    kind = serializers.ChoiceField(Job.Schedule.choices)
    expression = serializers.CharField(required=False)
    time_zone = serializers.CharField(required=False)
    period = serializers.FloatField(required=False, min_value=1)
    grace = serializers.FloatField(required=False, min_value=5)
    max_duration = serializers.FloatField(required=False, min_value=1)


class JobEvent(serializers.Serializer[Any]):
    """What happened to a run of a job."""

    event = serializers.ChoiceField(jobs.EVENTS)
    rid = serializers.CharField(required=False, max_length=64, help_text="Tells overlapping runs apart.")
    exit_status = serializers.IntegerField(required=False)
    duration = serializers.FloatField(required=False, min_value=0)
    schedule = DeclaredSchedule(required=False)


class Heartbeat(serializers.Serializer[Any]):
    """Only `agent` is required. Omit empty fields. Unknown fields are ignored."""

    agent = serializers.CharField(
        max_length=200, help_text="Unique in the project. The first heartbeat creates the agent."
    )
    status = serializers.ChoiceField(("ok", "warning", "error", "shutdown"), default="ok")
    message = serializers.CharField(required=False)
    tokens_used = serializers.IntegerField(required=False, min_value=0, help_text="Since the last heartbeat.")
    cost_usd = serializers.FloatField(required=False, min_value=0, help_text="Since the last heartbeat.")
    tool_calls = serializers.IntegerField(required=False, min_value=0, help_text="Since the last heartbeat.")
    iteration_count = serializers.IntegerField(required=False, min_value=0, help_text="The agent's own counter.")
    tool_call_log = ToolCall(many=True, required=False)
    prompt_hashes = serializers.ListField(child=serializers.CharField(), required=False)
    memory_mb = serializers.FloatField(required=False, min_value=0)
    custom_data = serializers.CharField(required=False, help_text="JSON in a string.")
    agent_type = serializers.CharField(required=False)
    container_id = serializers.CharField(required=False, help_text="Docker container to restart.")
    restart_type = serializers.ChoiceField(RestartType.choices, required=False)
    restart_target = serializers.CharField(required=False, max_length=300)
    intent = serializers.ChoiceField(
        intents.HOLDS,
        required=False,
        help_text="From runners, of a target that is not running: stopped by someone, finished, or nobody knows.",
    )
    beat_id = serializers.CharField(
        required=False,
        max_length=64,
        help_text="Idempotency key: a repeated id changes nothing and gets the same response.",
    )
    sent_at = serializers.DateTimeField(required=False, help_text="When the heartbeat was made, by the client's clock.")
    age = serializers.FloatField(
        required=False,
        min_value=0,
        help_text="Seconds since the heartbeat was made, when it is sent. With `sent_at`, it shows the client's clock "
        "skew.",
    )
    seq = serializers.IntegerField(required=False, min_value=0)
    instance = serializers.CharField(required=False)
    sdk = serializers.CharField(required=False)
    interval = serializers.FloatField(required=False, min_value=1, help_text="Seconds until the next heartbeat.")
    evidence = serializers.DictField(
        child=serializers.JSONField(),
        required=False,
        help_text="What a runner observes: up to 20 names with a string (300 characters), number or boolean.",
    )
    progress = serializers.BooleanField(
        required=False, help_text="Whether work progressed; otherwise the heartbeat only shows that the agent is alive."
    )
    progress_age = serializers.FloatField(required=False, min_value=0, help_text="Seconds since the last progress.")
    progress_timeout = serializers.FloatField(required=False, min_value=5)
    usage = ModelUsage(many=True, required=False)
    cost_limit_usd = serializers.FloatField(required=False, min_value=0, help_text="Daily budget.")
    waiting = WAITING
    doing = DOING
    labels = serializers.DictField(child=serializers.CharField(), required=False)
    job = JobEvent(required=False, help_text="What it says about a run of a job.")


class HeartbeatBatch(serializers.Serializer[Any]):
    heartbeats = Heartbeat(many=True, help_text="At most 500.")


class HeartbeatResponse(serializers.Serializer[Any]):
    agent_id = serializers.IntegerField()
    status = serializers.CharField()
    warning = serializers.ChoiceField(signal_kinds.CLIENT_WARNINGS, allow_null=True)
    reason = serializers.CharField(allow_null=True)
    incident = IncidentRef(allow_null=True)
    hold = serializers.BooleanField()
    left_out = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="Only if something could not be kept: field names and reasons.",
    )


_COMPONENTS: Final = "#/components/schemas/"
BATCH_ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "results": {
            "type": "array",
            "description": "In the order of the heartbeats.",
            "items": {"oneOf": [{"$ref": f"{_COMPONENTS}HeartbeatResponse"}, {"$ref": f"{_COMPONENTS}Error"}]},
        }
    },
    "required": ["results"],
}


class Spend(serializers.Serializer[Any]):
    cost_usd = serializers.FloatField(help_text="Total: priced plus reported.")
    priced_usd = serializers.FloatField(help_text="Priced by the server from tokens and the price list.")
    reported_usd = serializers.FloatField(help_text="As reported by clients.")
    unpriced_tokens = serializers.IntegerField(help_text="Tokens without a known price. Their cost is not estimated.")


class AgentSpend(serializers.Serializer[Any]):
    today = Spend()
    month = Spend()
    run = Spend(help_text="Since the client last started.")
    ever = Spend()
    unpriced_models = serializers.DictField(
        child=serializers.IntegerField(), help_text="Today's tokens without a known price, per model."
    )


class AgentStatus(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.ChoiceField(Status.choices)
    last_heartbeat_at = serializers.DateTimeField(allow_null=True)
    last_progress_at = serializers.DateTimeField(allow_null=True)
    alive_deadline = serializers.DateTimeField(allow_null=True)
    progress_deadline = serializers.DateTimeField(allow_null=True)
    interval = serializers.FloatField(help_text="Seconds currently in effect: set, declared, learned or 60.")
    tokens_today = serializers.IntegerField()
    cost_today_usd = serializers.FloatField()
    priced_today_usd = serializers.FloatField()
    reported_today_usd = serializers.FloatField()
    unpriced_tokens_today = serializers.IntegerField()
    hold = serializers.BooleanField(help_text="A budget is exceeded: the client must stop and ask a person.")
    open_incident = IncidentRef(allow_null=True)


class AgentDetail(AgentStatus):
    """Settings are null or empty if they are not set; `interval` is the one in effect."""

    url = serializers.URLField()
    spend = AgentSpend()
    kind = serializers.ChoiceField(Agent.Kind.choices)
    agent_type = serializers.CharField()
    labels = serializers.DictField(child=serializers.CharField())
    aliases = serializers.ListField(child=serializers.CharField())
    interval_set = serializers.FloatField(allow_null=True)
    grace = serializers.FloatField(allow_null=True)
    progress_timeout = serializers.FloatField(allow_null=True)
    daily_budget_usd = serializers.FloatField(allow_null=True)
    run_budget_usd = serializers.FloatField(allow_null=True)
    daily_token_limit = serializers.IntegerField(allow_null=True)
    restart_policy = serializers.ChoiceField(Agent.RestartPolicy.choices)
    restart_type = serializers.CharField()
    restart_target = serializers.CharField()
    unsafe_to_repeat = serializers.BooleanField()
    description = serializers.CharField()
    owner = serializers.CharField()
    runbook_url = serializers.CharField()
    rules = serializers.DictField()
    paused_at = serializers.DateTimeField(allow_null=True)
    paused_until = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class StoredHeartbeat(Spend):
    id = serializers.IntegerField()
    received_at = serializers.DateTimeField()
    beat_id = serializers.CharField(allow_null=True)
    status = serializers.CharField()
    progress = serializers.BooleanField()
    tokens = serializers.IntegerField()
    tool_calls = serializers.IntegerField()
    iteration = serializers.IntegerField(allow_null=True)
    memory_mb = serializers.FloatField(allow_null=True)
    content = serializers.DictField(allow_null=True, help_text="Message, tool calls, usage, custom data.")


class TimelineEntry(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    kind = serializers.CharField(
        help_text="An event's kind; `outage`: the watchdog itself was offline; `deploy`, `alert`: a webhook told it."
    )
    text = serializers.CharField()
    actor = serializers.CharField()
    incident = serializers.IntegerField(allow_null=True)


class IncidentSignal(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(SignalKind.choices)
    severity = serializers.ChoiceField(Severity.choices)
    agent = AgentRef()
    reason = serializers.CharField()
    evidence = serializers.DictField()
    started_at = serializers.DateTimeField()
    opened_at = serializers.DateTimeField()
    cleared_at = serializers.DateTimeField(allow_null=True)


class IncidentLine(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(IncidentEvent.Kind.choices)
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    text = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]


class IncidentDetail(Spend):
    id = serializers.IntegerField()
    agent = AgentRef()
    kind = serializers.ChoiceField(SignalKind.choices)
    kinds = serializers.ListField(child=serializers.ChoiceField(SignalKind.choices))
    severity = serializers.ChoiceField(Severity.choices)
    state = serializers.ChoiceField(Incident.State.choices)
    started_at = serializers.DateTimeField()
    opened_at = serializers.DateTimeField()
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    snoozed_until = serializers.DateTimeField(allow_null=True, help_text="Until then, nobody is notified about it.")
    reason = serializers.CharField()
    evidence = serializers.DictField()
    restarts = serializers.IntegerField(help_text="Restarts handed to a runner during the incident.")
    time_to_recovery = serializers.FloatField(allow_null=True, help_text="Seconds from start to resolution.")
    restart_to_recovery = serializers.FloatField(
        allow_null=True, help_text="Seconds from the last restart to the first progress after it."
    )
    signals = IncidentSignal(many=True)
    timeline = IncidentLine(many=True)
    url = serializers.URLField()


class RuleThreshold(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="`budget:TOOL` is one number per tool, e.g. `budget:search`.")
    type = serializers.ChoiceField(("integer", "number", "boolean"))
    default = serializers.FloatField(allow_null=True, help_text="Null if `why` describes the default.")
    unit = serializers.CharField()
    minimum = serializers.FloatField()
    maximum = serializers.FloatField()
    why = serializers.CharField()
    set_on = serializers.ChoiceField(
        ("rules", "agent"), help_text="`agent`: a separate setting of the agent, outside `rules`."
    )


class KnownRule(serializers.Serializer[Any]):
    rule = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    on = serializers.BooleanField(help_text="With the project's settings applied.")
    on_by_default = serializers.BooleanField()
    thresholds = RuleThreshold(many=True)


class Rules(serializers.Serializer[Any]):
    rules = serializers.DictField(help_text="The project's settings. An agent's `rules` override them.")
    known = KnownRule(many=True)


class BacktestFinding(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(SignalKind.choices)
    severity = serializers.ChoiceField(Severity.choices)
    reason = serializers.CharField()
    evidence = serializers.DictField()
    started_at = serializers.DateTimeField()
    fired_at = serializers.DateTimeField(help_text="When an incident would have opened.")
    over_at = serializers.DateTimeField(allow_null=True)
    nudged_at = serializers.DateTimeField(allow_null=True, help_text="When a nudge would have told the agent.")
    stopped_at = serializers.DateTimeField(allow_null=True, help_text="When a hold would have stopped the agent.")
    seconds = serializers.FloatField(help_text="Seconds from `fired_at` to the end, or to now.")


class BacktestIncident(serializers.Serializer[Any]):
    incident = serializers.IntegerField()
    url = serializers.URLField()
    kind = serializers.ChoiceField(SignalKind.choices)
    severity = serializers.ChoiceField(Severity.choices)
    reason = serializers.CharField()
    started_at = serializers.DateTimeField()
    opened_at = serializers.DateTimeField()
    cleared_at = serializers.DateTimeField(allow_null=True)


class BacktestAgent(serializers.Serializer[Any]):
    agent = AgentRef()
    thresholds = serializers.DictField(help_text="All thresholds used, including current ones.")
    covered_from = serializers.DateTimeField()
    why = serializers.CharField(allow_null=True, help_text="Why the data does not go back as far as requested.")
    note = serializers.CharField(allow_null=True, help_text="A warning if there is too little data to rely on.")
    stops = serializers.IntegerField(help_text="How often a hold would have stopped the agent.")
    nudges = serializers.IntegerField(help_text="How often a nudge would have told the agent about its loop.")
    heartbeats = serializers.IntegerField(help_text="Heartbeats read from the requested time range.")
    learned_from = serializers.IntegerField(help_text="Earlier heartbeats read to learn typical behavior.")
    findings = BacktestFinding(many=True)
    incidents = BacktestIncident(many=True, help_text="Actual incidents in the time range, from any rule.")


class BacktestResult(serializers.Serializer[Any]):
    rule = serializers.CharField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    agents = BacktestAgent(many=True)
    left_out = serializers.IntegerField(
        help_text="Agents skipped because of the limit: those that reported longest ago."
    )


class Order(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    action = serializers.ChoiceField(Command.Action.choices)
    type = serializers.ChoiceField(RestartType.choices)
    target = serializers.CharField()
    reason = serializers.CharField()
    evidence_at = serializers.DateTimeField(
        allow_null=True, help_text="When the problem was observed. Progress after that cancels the command."
    )


class WaitingCommand(Order):
    agent = serializers.CharField(help_text="The agent's name.")
    names = serializers.ListField(child=serializers.CharField(), help_text="Its name and aliases.")
    origin = serializers.ChoiceField(Command.Origin.choices)
    expires_in = serializers.FloatField(help_text="Seconds until the command expires.")


class CommandDetail(Order):
    state = serializers.ChoiceField(Command.State.choices)
    agent = AgentRef()
    incident = serializers.IntegerField(allow_null=True)
    origin = serializers.ChoiceField(Command.Origin.choices)
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    result = serializers.CharField()


class Pause(serializers.Serializer[Any]):
    until = Moment(
        required=False, allow_null=True, help_text="When monitoring resumes. Empty: when somebody resumes it."
    )


class CommandReason(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, allow_blank=True, max_length=300)


AGENT: Final = OpenApiParameter("agent", str, description="Only this agent's: its ID, its name or an alias.")
LIMIT: Final = OpenApiParameter("limit", int, description="At most 1,000.", default=100)
OFFSET: Final = OpenApiParameter("offset", int, default=0)
_ERRORS: Final = {
    400: "The body is not JSON.",
    404: "Not found in the project of the key.",
    409: "Not possible now; the message says why.",
    413: "The body is too large.",
    415: "The Content-Type is not application/json.",
    422: "Invalid fields; see `fields`.",
    503: "The server is busy. Retry after `Retry-After` seconds.",
}


def responses(status: int, schema: Any, *errors: int) -> dict[int, OpenApiResponse]:
    """The responses of one operation; `openapi.py` adds those that every operation has."""
    described = {code: OpenApiResponse(Error, _ERRORS[code]) for code in errors}
    return {status: OpenApiResponse(schema, "Success."), **described}


def page_of(schema: Schema) -> Any:
    """One page of a list."""
    url: dict[str, Any] = {"allow_null": True, "help_text": "URL of the next or previous page."}
    fields: dict[str, Any] = {
        "count": serializers.IntegerField(),
        "next": serializers.URLField(**url),
        "previous": serializers.URLField(**url),
        "results": schema(many=True),
    }
    return inline_serializer(f"{schema.__name__}Page", fields)


EMPTY_LIST: Final = OpenApiResponse({"type": "array", "maxItems": 0, "items": {}}, "An empty list.")
