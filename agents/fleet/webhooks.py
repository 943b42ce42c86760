"""Incoming webhooks of a project, and their secrets. A secret is shown once, when it is made."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from agents.models import Agent, IncomingWebhook
from teams import rate_limits
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit

MAX_WEBHOOKS: Final = 200
MIN_SECRET, MAX_SECRET = 16, 200
SECRET_BYTES: Final = 32
ASK_SENTRY: Final = "Sentry makes the secret: paste the client secret of your internal integration."


def new_secret() -> str:
    """In the form that GitLab asks for a signing token; the others take any text."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def secret_error(kind: str, secret: str) -> str:
    """What is wrong with a secret that a person chose; empty if nothing is. An empty one is for us to make."""
    if not secret:
        return ASK_SENTRY if kind == IncomingWebhook.Kind.SENTRY else ""
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        return "Use letters, digits and punctuation, without spaces."
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        return f"Use {MIN_SECRET} to {MAX_SECRET} characters."
    return ""


@transaction.atomic
def create(
    *, project: Project, kind: str, name: str, agent: Agent | None, secret: str, actor: str, now: datetime
) -> tuple[IncomingWebhook, str]:
    """The webhook and its secret. Raises ApiError: 409 and 429 for too many, 422 for a bad secret."""
    if error := secret_error(kind, secret):
        raise ApiError(422, "invalid", error, fields={"secret": error})
    if project.webhooks.count() >= MAX_WEBHOOKS:
        raise ApiError(409, "too_many_webhooks", f"A project has at most {MAX_WEBHOOKS} incoming webhooks. Delete one.")
    rate_limits.spend(rate_limits.NEW_WEBHOOKS, project.pk, now)
    plain = secret or new_secret()
    webhook = IncomingWebhook.objects.create(
        project=project, kind=kind, name=name, agent=agent, secret=plain, created_at=now, created_by=actor
    )
    _audit(webhook, "created", actor)
    return webhook, plain


@transaction.atomic
def change(*, webhook: IncomingWebhook, name: str, agent: Agent | None, actor: str) -> None:
    # A form has changed the object already.
    stored = IncomingWebhook.objects.select_related("agent").get(pk=webhook.pk)
    before = {"name": stored.name, "agent": _agent_name(stored)}
    webhook.name, webhook.agent = name, agent
    webhook.save(update_fields=["name", "agent"])
    after = {"name": webhook.name, "agent": _agent_name(webhook)}
    changed = {field: {"from": before[field], "to": value} for field, value in after.items() if value != before[field]}
    if changed:
        _audit(webhook, "changed", actor, **changed)


@transaction.atomic
def replace_secret(*, webhook: IncomingWebhook, secret: str, actor: str) -> str:
    """The new secret, `secret` or one that we make. The old one stops working at once. Raises ApiError 422."""
    if error := secret_error(webhook.kind, secret):
        raise ApiError(422, "invalid", error, fields={"secret": error})
    webhook.secret = secret or new_secret()
    webhook.save(update_fields=["secret"])
    _audit(webhook, "secret_replaced", actor)
    return str(webhook.secret)


@transaction.atomic
def delete(*, webhook: IncomingWebhook, actor: str) -> None:
    """With what it told."""
    _audit(webhook, "deleted", actor)
    webhook.delete()


def _agent_name(webhook: IncomingWebhook) -> str | None:
    return webhook.agent.name if webhook.agent else None


def _audit(webhook: IncomingWebhook, verb: str, actor: str, **more: Any) -> None:
    data = {"sender": webhook.kind, **more}
    audit(team=webhook.project.team, actor=actor, action=f"webhook.{verb}", target=webhook.name, of=webhook, data=data)
