"""E-mail, through the server's mail settings."""

from __future__ import annotations

import smtplib
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.validators import validate_email
from django.template.loader import render_to_string

from agents.reporting.formatting import plain
from alerts.channels.base import ChannelError, ConfigError, Message

KIND: Final = "email"
LABEL: Final = "E-mail"
SENDS_ACKNOWLEDGEMENTS: Final = False
MAX_ADDRESSES: Final = 20
_HOW_MANY: Final = f"Enter a list of 1 to {MAX_ADDRESSES} e-mail addresses."


class Config(msgspec.Struct, frozen=True):
    to: Annotated[
        list[str], msgspec.Meta(title="E-mail addresses", description=f"One per line, up to {MAX_ADDRESSES}.")
    ]


def parse(data: Mapping[str, Any]) -> Config:
    """`{"to": ["ops@example.com"]}`, up to 20 addresses."""
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError:
        raise ConfigError("to", _HOW_MANY) from None
    if not 1 <= len(config.to) <= MAX_ADDRESSES:
        raise ConfigError("to", _HOW_MANY)
    for address in config.to:
        try:
            validate_email(address)
        except ValidationError:
            raise ConfigError("to", f"{address[:100]} is not a valid e-mail address.") from None
    return config


def generate() -> dict[str, str]:
    return {}


def public(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"to": data.get("to", [])}


def recipients(data: Mapping[str, Any]) -> list[str]:
    """Each address gets a mail of its own: a mail server may refuse one and take another."""
    return list(dict.fromkeys(data.get("to", [])))


def send(config: Config, message: Message) -> None:
    """Send to the message's recipient; a test is sent to all, and fails if any of them is refused."""
    if message.recipient:
        _send(message.recipient, message)
        return
    errors = [error for address in recipients({"to": config.to}) if (error := _failure(address, message))]
    if errors and len(config.to) == 1:
        raise errors[0]
    if errors:
        raise ChannelError(
            " ".join(map(str, errors)),
            permanent=all(error.permanent for error in errors),
            only_recipient=len(errors) < len(config.to),
        )


def _failure(address: str, message: Message) -> ChannelError | None:
    try:
        _send(address, message)
    except ChannelError as error:
        return error
    return None


def _send(address: str, message: Message) -> None:
    mail = compose(address, message)
    try:
        # Django leaves the connection open if authentication fails.
        with closing(get_connection()) as server:
            server.send_messages([mail])
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        verb = "refused" if code >= 500 else "deferred"
        # 421 is not about the address: the server is about to close.
        raise ChannelError(
            f"The mail server {verb} {address} ({code}).", permanent=code >= 500, only_recipient=code != 421
        ) from None
    except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
        raise ChannelError(
            f"The mail server rejected the message ({error.smtp_code}).", permanent=error.smtp_code >= 500
        ) from None
    except smtplib.SMTPAuthenticationError:
        raise ChannelError("The mail server rejected the user name or password in EMAIL_URL.") from None
    except OSError as error:
        raise ChannelError(_explain(error)) from None


def _explain(error: OSError) -> str:
    # smtplib reports a timeout as a lost connection.
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return "The mail server did not answer in time."
    if isinstance(error, smtplib.SMTPException):
        return "The mail server closed the connection unexpectedly."
    return "The mail server is unreachable."


def compose(address: str, message: Message) -> EmailMultiAlternatives:
    """The mail as text and HTML, with headers that keep all mails of an incident in one thread."""
    domain = urlsplit(settings.BASE_URL).hostname or "localhost"
    thread = f"<{message.thread}@{domain}>"
    # RFC 8058: mail programs show a button that posts there.
    leave = {"List-Unsubscribe": f"<{message.leave_url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    mail = EmailMultiAlternatives(
        subject=_one_line(message.title)[:200],
        body=_text(message),
        to=[address],
        headers={
            "Message-ID": f"<{message.id}@{domain}>",
            "References": thread,
            "In-Reply-To": thread,
            "Auto-Submitted": "auto-generated",
            **(leave if message.leave_url else {}),
        },
    )
    mail.attach_alternative(render_to_string("alerts/message.html", {"message": message}), "text/html")
    return mail


def _text(message: Message) -> str:
    lines = [plain(_one_line(line)) for line in (message.title, "", *message.lines)]
    facts = [f"{label}:\n{text}" if "\n" in text else f"{label}: {plain(text)}" for label, text in message.facts]
    act = [f"Acknowledge or snooze: {message.act_url}"] if message.act_url else []
    end = [_origin(message), *([f"Unsubscribe: {message.leave_url}"] if message.leave_url else [])]
    return "\n".join([*lines, "", *act, message.url, "", *facts, *([""] if facts else []), *end])


def _origin(message: Message) -> str:
    return f"ClevAgent Watchdog, {message.team} / {message.project}"


def _one_line(text: str) -> str:
    """Text for a header: one line, so a name can't start another header."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
