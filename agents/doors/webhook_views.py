"""`POST /hooks/github/ADDRESS`, and the same for GitLab, Alertmanager and Sentry: deploys and alerts come in.

The address names the webhook, and the sender proves that it knows the webhook's secret. What counts is stored before
the answer; all else is accepted and ignored, so that the sender shows no error for it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from agents.doors.hook_views import answered, refused
from agents.doors.webhooks import alertmanager, github, gitlab, sentry, signatures, storing
from agents.ingest.write import failed, unavailable
from agents.models import IncomingWebhook
from teams import rate_limits
from teams.errors import ApiError

log = structlog.get_logger(__name__)
MAX_BODY: Final = 1024 * 1024


class Sender(NamedTuple):
    """How its requests are proved, and what they say."""

    proof: Any
    module: Any


SENDERS: Final = {
    "github": Sender(signatures.github, github),
    "gitlab": Sender(signatures.gitlab, gitlab),
    "alertmanager": Sender(signatures.alertmanager, alertmanager),
    "sentry": Sender(signatures.sentry, sentry),
}


@csrf_exempt
def receive(request: HttpRequest, kind: str, address: str) -> HttpResponse:
    """One delivery. Errors say what to change, to the sender and on the webhook's page."""
    try:
        return answered(_receive(request, kind, address))
    except ApiError as error:
        return refused(error)
    except DatabaseError as error:
        return refused(unavailable(error))
    except Exception:
        log.exception("a webhook could not be handled", kind=kind)
        return refused(failed())


def _receive(request: HttpRequest, kind: str, address: str) -> dict[str, Any]:
    webhook = IncomingWebhook.objects.filter(kind=kind, address=address, project__team__ended_at=None)
    found = webhook.select_related("agent").first()
    if found is None:
        raise ApiError(404, "not_found", "There is no webhook at this address. It may have been deleted.")
    if request.method != "POST":
        raise ApiError(405, "method_not_allowed", "Send a POST request.")
    try:
        return _taken(request, found)
    except ApiError as error:
        storing.note_refusal(found, error.message, timezone.now())
        raise


def _taken(request: HttpRequest, webhook: IncomingWebhook) -> dict[str, Any]:
    now, sender = timezone.now(), SENDERS[webhook.kind]
    headers = {name.lower(): value for name, value in request.headers.items()}
    raw = _body_of(request)
    if wrong := sender.proof(webhook.secret, headers, raw, now):
        raise ApiError(401, "invalid_signature", wrong)
    # After the proof: nobody else can use the limit up.
    rate_limits.spend(rate_limits.WEBHOOKS, webhook.pk, now)
    happenings = sender.module.happenings(headers, _decoded(raw), now)
    outcome = "" if happenings else f"Nothing to show in it: only {sender.module.COUNTED} count."
    stored = storing.store(webhook, happenings, outcome, now)
    return {"stored": stored, "reason": outcome} if outcome else {"stored": stored}


def _body_of(request: HttpRequest) -> bytes:
    try:
        body = bytes(request.read(MAX_BODY + 1))
    except RequestDataTooBig:
        raise _too_large() from None
    except UnreadablePostError:
        raise ApiError(400, "bad_request", "The body is incomplete. Send it again.") from None
    if len(body) > MAX_BODY:
        raise _too_large()
    return body


def _too_large() -> ApiError:
    return ApiError(413, "too_large", "The body is larger than 1 MiB. Send fewer kinds of events, or smaller groups.")


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not valid JSON ({error}). Choose application/json as the content type."
        raise ApiError(400, "bad_request", message) from None
    if not isinstance(body, dict):
        raise ApiError(422, "invalid", "The body is not a JSON object.")
    return body
