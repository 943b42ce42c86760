"""Pings by e-mail: a mail to `UUID@…` or `PING_KEY-SLUG@…` is a ping, whatever stands behind the `@`.

What it says follows from the address (`UUID+fail@…`), else from the subject, else from the first line of the text.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final
from uuid import UUID

import msgspec

from agents.api.jobs import pings
from agents.domain import jobs
from agents.domain.heartbeat import JobEvent
from agents.fleet import jobs as services
from agents.models import Agent
from teams.keys import PING_KEY_LENGTH

ACTIONS: Final = (jobs.SUCCESS, jobs.START, jobs.FAIL, jobs.LOG)
# The first that matches counts, in this order: a backup that "started and failed" failed.
WORDS: Final = (
    (jobs.FAIL, re.compile(r"(?<!\bno )(?<!\b0 )(?<!\bwithout )\b(fail|fails|failed|failure|error)\b", re.IGNORECASE)),
    (jobs.SUCCESS, re.compile(r"\b(success|successful|successfully|succeeded|ok)\b", re.IGNORECASE)),
    (jobs.START, re.compile(r"\b(start|starts|started|starting)\b", re.IGNORECASE)),
)
_ADDRESS: Final = re.compile(
    rf"(?:(?P<uuid>[0-9a-f]{{8}}(?:-?[0-9a-f]{{4}}){{3}}-?[0-9a-f]{{12}})"
    rf"|(?P<key>[A-Za-z0-9_]{{{PING_KEY_LENGTH}}})-(?P<slug>[a-z0-9_-]{{1,200}}))"
    rf"(?:\+(?P<action>{'|'.join(ACTIONS)}))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a mail is for: a job's UUID, or a ping key with a slug. `action` is empty if the address names none."""

    uuid: str
    key: str
    slug: str
    action: str


def recipient(address: str) -> Recipient | None:
    """None for what is no address of a ping."""
    match = _ADDRESS.fullmatch(address.partition("@")[0])
    if match is None:
        return None
    parts = {name: text or "" for name, text in match.groupdict().items()}
    return Recipient(parts["uuid"], parts["key"], parts["slug"].lower(), parts["action"].lower())


def agent_of(recipient: Recipient) -> Agent | None:
    """The one agent that it pings; None if there is none, or if the slug means several."""
    if recipient.uuid:
        return services.by_ping_id(UUID(recipient.uuid))
    agents = services.by_slug(recipient.key, recipient.slug)
    return agents[0] if len(agents) == 1 else None


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail, read as far as it can be."""

    subject: str
    text: str
    message_id: str

    def event(self, recipient: Recipient) -> JobEvent:
        first_line = next((line for line in self.text.splitlines() if line.strip()), "")
        action = recipient.action or _action_in(self.subject) or _action_in(first_line) or jobs.SUCCESS
        return msgspec.convert({"event": action}, JobEvent)

    def beat_id(self, address: str) -> str | None:
        """The same for each copy: a mail server sends a mail again if it saw no answer."""
        if not self.message_id:
            return None
        return hashlib.sha256(f"{self.message_id}\n{address.lower()}".encode()).hexdigest()[:32]

    @property
    def body(self) -> str:
        return pings.kept(f"{self.subject}\n\n{self.text}".strip().encode("utf-8", "replace"))


def _action_in(text: str) -> str:
    return next((action for action, words in WORDS if words.search(text)), "")


def read(raw: bytes) -> Mail:
    """Never raises: a broken mail is a ping all the same."""
    try:
        message = message_from_bytes(raw, policy=policy.default)
        return Mail(_header(message, "Subject"), _text(message), _header(message, "Message-ID"))
    except Exception:  # the parser raises many kinds of errors for headers and encodings that nobody has seen
        return Mail("", raw.decode("utf-8", "replace"), "")


def _header(message: EmailMessage, name: str) -> str:
    return " ".join(str(message.get(name, "")).split())


def _text(message: EmailMessage) -> str:
    """Of the plain part, else of the HTML part."""
    part = message.get_body(("plain", "html"))
    raw = part.get_payload(decode=True) if part is not None else b""
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""
