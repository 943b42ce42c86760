"""GitLab's webhooks: deployments and releases. Pure."""

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

COUNTED: Final = "deployment events and release events"
_VERBS: Final = {"success": "Deployed", "failed": "Deploy failed:", "canceled": "Deploy canceled:"}
_RUNNING: Final = {"created", "running", "blocked"}


def happenings(headers: Mapping[str, str], body: Mapping[str, Any], now: datetime) -> list[Happening]:
    read = {"deployment": _deployment, "release": _release}.get(words(body, "object_kind"))
    found = read(body, now) if read else None
    return [found] if found else []


def _deployment(body: Mapping[str, Any], now: datetime) -> Happening | None:
    status, key = words(body, "status"), words(body, "deployment_id")
    if not key or (status not in _VERBS and status not in _RUNNING):
        return None
    at = moment(body.get("status_changed_at"), now) or now
    where, commit = words(body, "environment"), words(body, "short_sha")
    text = " ".join(
        [_VERBS.get(status, "Deploying"), _project(body), words(body, "ref"), f"({commit})" if commit else ""]
    )
    text = f"{' '.join(text.split())} to {where}" if where else " ".join(text.split())
    tone = DEPLOYED if status in _RUNNING or status == "success" else WARNING
    version = version_of(at, is_final=status in _VERBS)
    url = link(body, "deployable_url", "commit_url")
    return Happening(f"deployment:{_id(body)}:{key}", DEPLOY, tone, shown(text), version, at, at, url=url)


def _release(body: Mapping[str, Any], now: datetime) -> Happening | None:
    key = words(body, "id", "tag")
    if words(body, "action") != "create" or not key:
        return None
    at = moment(body.get("released_at"), now) or moment(body.get("created_at"), now) or now
    text = f"Released {_project(body)} {words(body, 'tag', 'name')}"
    return Happening(f"release:{_id(body)}:{key}", DEPLOY, DEPLOYED, shown(text), 1, at, at, url=link(body, "url"))


def _project(body: Mapping[str, Any]) -> str:
    return words(part(body, "project"), "path_with_namespace", "name") or "a project"


def _id(body: Mapping[str, Any]) -> str:
    """A group's webhook tells of several projects, whose numbers of deployments may be the same."""
    return words(part(body, "project"), "id", "path_with_namespace")
