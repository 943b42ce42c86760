"""GitHub's webhooks: what was deployed. Pure.

A deployment's status counts; for those without environments, a published release, and a workflow whose name or file
says that it deploys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from agents.doors.webhooks.happenings import (
    DEPLOY,
    DEPLOYED,
    WARNING,
    Happening,
    link,
    moment,
    part,
    shown,
    version_of,
    words,
)

EVENT: Final = "x-github-event"
PING: Final = "ping"
COUNTED: Final = "deployment_status, release and workflow_run of workflows named deploy"
SHA_SHOWN: Final = 7
_VERBS: Final = {"success": "Deployed", "failure": "Deploy failed:", "error": "Deploy failed:"}
_RUNNING: Final = {"pending", "queued", "waiting", "in_progress"}
_CONCLUSIONS: Final = {"success": "success", "failure": "failure", "timed_out": "failure", "startup_failure": "failure"}


def happenings(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> list[Happening]:
    read = {"deployment_status": _deployment, "release": _release, "workflow_run": _run}.get(headers.get(EVENT, ""))
    found = read(body, now) if read else None
    return [found] if found else []


def _deployment(body: Mapping[str, Any], now: datetime) -> Happening | None:
    status, deployment = part(body, "deployment_status"), part(body, "deployment")
    state, key = words(status, "state"), words(deployment, "id")
    # "inactive": a later deploy replaced it, which is no news of this one.
    if not key or (state not in _VERBS and state not in _RUNNING):
        return None
    where = words(status, "environment") or words(deployment, "environment")
    what = f"{_repository(body)} {words(deployment, 'ref')}{_commit(words(deployment, 'sha'))}".strip()
    at = moment(status.get("updated_at"), now) or moment(status.get("created_at"), now) or now
    return _deploy(
        key=f"deployment:{key}",
        state=state,
        what=f"{what} to {where}" if where else what,
        why=words(status, "description"),
        began=moment(deployment.get("created_at"), now) or at,
        at=at,
        url=link(status, "log_url", "target_url", "environment_url"),
    )


def _release(body: Mapping[str, Any], now: datetime) -> Happening | None:
    release = part(body, "release")
    if words(body, "action") != "published" or not words(release, "id"):
        return None
    at = moment(release.get("published_at"), now) or now
    text = f"Released {_repository(body)} {words(release, 'tag_name', 'name')}"
    url = link(release, "html_url")
    return Happening(f"release:{words(release, 'id')}", DEPLOY, DEPLOYED, shown(text), 1, at, at, url=url)


def _run(body: Mapping[str, Any], now: datetime) -> Happening | None:
    run = part(body, "workflow_run")
    name, conclusion = words(run, "name"), _CONCLUSIONS.get(words(run, "conclusion"))
    is_deploy = "deploy" in f"{name} {words(run, 'path')}".lower()
    if words(body, "action") != "completed" or not is_deploy or conclusion is None or not words(run, "id"):
        return None
    at = moment(run.get("updated_at"), now) or now
    return _deploy(
        key=f"run:{words(run, 'id')}",
        state=conclusion,
        what=f"{_repository(body)} {words(run, 'head_branch')}{_commit(words(run, 'head_sha'))} by {name}",
        why="",
        began=moment(run.get("run_started_at"), now) or at,
        at=at,
        url=link(run, "html_url"),
    )


def _deploy(*, key: str, state: str, what: str, why: str, began: datetime, at: datetime, url: str) -> Happening:
    """Shown until its latest news: a deploy whose end is never told does not go on for ever."""
    failed = state in ("failure", "error")
    text = f"{_VERBS.get(state, 'Deploying')} {what}{f': {why}' if failed and why else ''}"
    tone, version = WARNING if failed else DEPLOYED, version_of(at, is_final=state in _VERBS)
    return Happening(key, DEPLOY, tone, shown(text), version, min(began, at), at, url=url)


def _repository(body: Mapping[str, Any]) -> str:
    return words(part(body, "repository"), "full_name", "name") or "a repository"


def _commit(sha: str) -> str:
    return f" ({sha[:SHA_SHOWN]})" if sha else ""
