"""The rules, worst first. To add one: a module here, its name in ALL, a section in docs/rules.md, a test."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol, cast, runtime_checkable

from agents.rules import (
    cost,
    crash,
    error,
    error_rate,
    loop,
    memory,
    missed_heartbeat,
    restart_failed,
    restart_target,
    settings,
    stalled,
)
from agents.rules.evidence import EvidenceLabels, Setting
from agents.rules.facts import SEVERITIES, BeatSeen, Facts, Finding
from agents.rules.jobs import did_not_start, job_failed, ran_too_often, took_too_long
from agents.rules.observers import history, rhythm, runner_view, runs, version
from agents.rules.opt_in import call_rate, repeated_message, repeated_prompts, token_spike
from agents.rules.thresholds import Thresholds


class Rule(Protocol):
    """A rule module, as listed in `ALL`."""

    KIND: str
    LABEL: str
    THRESHOLDS: Thresholds

    def check(self, facts: Facts) -> Finding | None: ...


@runtime_checkable
class Reader(Protocol):
    """A rule that keeps state between reviews, as JSON."""

    def read(self, state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]: ...


@runtime_checkable
class Explaining(Protocol):
    """A rule that labels its evidence."""

    EVIDENCE: EvidenceLabels


@runtime_checkable
class Allowing(Protocol):
    """A rule that knows what to set if a finding is expected; the evidence is that of its own finding."""

    def allow(self, evidence: Mapping[str, Any]) -> Setting | None: ...


@runtime_checkable
class Dismissible(Protocol):
    """A rule that would find the same again after a person resolved it, unless its state says so."""

    def dismissed(self, memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]: ...


ALL: Final[tuple[Rule, ...]] = (
    crash,
    missed_heartbeat,
    stalled,
    did_not_start,
    job_failed,
    took_too_long,
    error,
    error_rate,
    restart_target,
    restart_failed,
    cost,
    memory,
    loop,
    ran_too_often,
)
# Rules of the retired service, off by default. Their signals use the kinds of other rules.
OPT_IN_RULES: Final[tuple[Rule, ...]] = (call_rate, repeated_message, repeated_prompts, token_spike)
# Observers read heartbeats like rules but raise nothing; several rules use what they learn.
OBSERVERS: Final = {module.KIND: module.read for module in (runner_view, rhythm, version, history, runs)}


def every() -> dict[str, Rule]:
    """All rules by KIND, opt-in rules last."""
    return {rule.KIND: rule for rule in (*ALL, *OPT_IN_RULES)}


def rule_for(kind: str, evidence: Mapping[str, Any]) -> Rule | None:
    """The rule behind a signal: it labels all of its evidence; the rule named like the kind is preferred."""
    same_kind_first = sorted(every().values(), key=lambda rule: kind != rule.KIND)
    return next((rule for rule in same_kind_first if evidence and evidence.keys() <= words(rule).keys()), None)


def words(rule: Rule | None) -> EvidenceLabels:
    """The labels of the rule's evidence; empty if it has none."""
    return rule.EVIDENCE if isinstance(rule, Explaining) else {}


def allow(rule: Rule | None, evidence: Mapping[str, Any]) -> Setting | None:
    """What to set if a finding with this evidence is expected; None if the rule has no such setting."""
    return rule.allow(evidence) if isinstance(rule, Allowing) else None


def in_force(rule: Rule, *levels: settings.Given) -> settings.InForce:
    """The rule's effective switch and thresholds; later levels override earlier ones (project, then agent)."""
    default = _defaults(cast("Hashable", rule))
    return settings.in_force(rule.KIND, rule.THRESHOLDS, levels, default) if any(levels) else default


@cache
def _defaults(rule: Any) -> settings.InForce:
    """Cached, because nearly all agents use the defaults of nearly all rules. By module: hashing thresholds is slow."""
    return settings.defaults(rule.THRESHOLDS, on=rule in ALL)


def wrong(given: Mapping[str, Any]) -> dict[str, str]:
    """Validate the `rules` of an agent or a project: error messages by `rule` or `rule.threshold`."""
    return settings.wrong(given, {kind: rule.THRESHOLDS for kind, rule in every().items()})


def read(states: Mapping[str, Any], beats: Sequence[BeatSeen], asked: Mapping[str, Rule]) -> dict[str, Any]:
    """Fold new heartbeats into the stored state of the observers and of these rules, each under its KIND."""
    if not beats:
        return dict(states)
    rules: dict[str, Any] = {kind: rule for kind, rule in asked.items() if _is_reader(cast("Hashable", rule))}
    readers = {**OBSERVERS, **{kind: rule.read for kind, rule in rules.items()}}
    return {**states, **{kind: reader(states.get(kind, {}), beats) for kind, reader in readers.items()}}


@cache
def _is_reader(rule: Hashable) -> bool:
    """Cached, because asking for a protocol takes longer than most rules."""
    return isinstance(rule, Reader)


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
    """The worst finding per kind, the first among equals: an agent has at most one open signal per kind."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        known = worst.get(finding.kind)
        if known is None or SEVERITIES.index(finding.severity) > SEVERITIES.index(known.severity):
            worst[finding.kind] = finding
    return list(worst.values())
