"""The rules, worst first. Adding one: a file here, its name in ALL, a heading in docs/rules.md, a test."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from agents.rules import (
    call_rate,
    cost,
    crash,
    error,
    error_rate,
    loop,
    memory,
    missed_heartbeat,
    repeated_message,
    repeated_prompts,
    restart_failed,
    settings,
    stalled,
    token_spike,
)
from agents.rules.evidence import EvidenceLabels, Setting
from agents.rules.facts import SEVERITIES, BeatSeen, Facts, Finding
from agents.rules.observers import history, rhythm, runner_view, version
from agents.rules.thresholds import Thresholds


class Rule(Protocol):
    """What `ALL` holds: modules."""

    KIND: str
    LABEL: str
    THRESHOLDS: Thresholds

    def check(self, facts: Facts) -> Finding | None: ...


@runtime_checkable
class Reader(Protocol):
    """A rule that remembers something between reviews, as JSON."""

    def read(self, memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]: ...


@runtime_checkable
class Explaining(Protocol):
    """A rule with words for its evidence."""

    EVIDENCE: EvidenceLabels


@runtime_checkable
class Allowing(Protocol):
    """A rule that knows what to set if what it found may be so. Evidence is its own."""

    def allow(self, evidence: Mapping[str, Any]) -> Setting | None: ...


@runtime_checkable
class Dismissible(Protocol):
    """A rule that would find the same again after a person resolved it, unless its state says so."""

    def dismissed(self, memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]: ...


ALL: Final[tuple[Rule, ...]] = (crash, missed_heartbeat, stalled, error, error_rate, restart_failed, cost, memory, loop)
# The defaults of the retired service, each silent unless it is switched on. Their signals are of known kinds.
OPT_IN_RULES: Final[tuple[Rule, ...]] = (call_rate, repeated_message, repeated_prompts, token_spike)
# What these remember is no rule's own.
OBSERVERS: Final = {module.KIND: module.read for module in (runner_view, rhythm, version, history)}


def every() -> dict[str, Rule]:
    """All rules by their KIND, those that are off by default last."""
    return {rule.KIND: rule for rule in (*ALL, *OPT_IN_RULES)}


def rule_for(kind: str, evidence: Mapping[str, Any]) -> Rule | None:
    """The rule that found something of this kind: it has words for all of the evidence; the kind's own comes first."""
    own = sorted(every().values(), key=lambda rule: kind != rule.KIND)
    return next((rule for rule in own if evidence and evidence.keys() <= words(rule).keys()), None)


def words(rule: Rule | None) -> EvidenceLabels:
    """What people read for the names in its evidence; none where it leaves that to the names themselves."""
    return rule.EVIDENCE if isinstance(rule, Explaining) else {}


def allow(rule: Rule | None, evidence: Mapping[str, Any]) -> Setting | None:
    """What to set if that may be so; None where nothing is to be set, or where the rule does not say."""
    return rule.allow(evidence) if isinstance(rule, Allowing) else None


def in_force(rule: Rule, *levels: settings.Given) -> settings.InForce:
    """The rule's switch and thresholds after these levels, the weakest first: the project's, then the agent's."""
    return settings.in_force(rule.KIND, rule.THRESHOLDS, levels, on=rule in ALL)


def wrong(given: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the `rules` of an agent or a project: sentences, by `rule` or `rule.threshold`."""
    return settings.wrong(given, {kind: rule.THRESHOLDS for kind, rule in every().items()})


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen], asked: Mapping[str, Rule]) -> dict[str, Any]:
    """What the rules that are asked remember of an agent, after some more heartbeats; and what is no rule's own."""
    own = {kind: rule.read for kind, rule in asked.items() if isinstance(rule, Reader)}
    return {**memory, **{kind: reader(memory.get(kind, {}), beats) for kind, reader in {**OBSERVERS, **own}.items()}}


def dismissed(memory: Mapping[str, Any], kind: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The state of all rules after a person resolved a signal of this kind.

    Opt-in rules share their kinds with other rules, so a signal does not tell which of them raised it: all of them
    start over.
    """
    opt_in = {rule.KIND for rule in OPT_IN_RULES}
    kept = {name: state for name, state in memory.items() if name not in opt_in}
    for rule in ALL:
        if kind == rule.KIND and isinstance(rule, Dismissible):
            kept[kind] = rule.dismissed(kept.get(kind, {}), evidence)
    return kept


def worst_per_kind(findings: Sequence[Finding]) -> list[Finding]:
    """Of findings of one kind the worst, of equals the first: an agent has one signal of a kind."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        known = worst.get(finding.kind)
        if known is None or SEVERITIES.index(finding.severity) > SEVERITIES.index(known.severity):
            worst[finding.kind] = finding
    return list(worst.values())
