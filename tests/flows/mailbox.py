"""A mail server for installations that send real mail."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any

from aiosmtpd.controller import Controller

from tests.flows.installation import free_port, wait_until


class Mailbox:
    """Accepts mail for any address; `mails` holds what has arrived."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.controller = Controller(self, hostname="127.0.0.1", port=free_port())

    def __enter__(self) -> Mailbox:
        self.controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.controller.stop()

    @property
    def url(self) -> str:
        """The value for `EMAIL_URL`."""
        return f"smtp://{self.controller.hostname}:{self.controller.port}"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    def wait_for(self, subject: str, *, to: str = "") -> EmailMessage:
        """Wait for the first mail with these words in its subject, to the given address if any."""

        def found() -> EmailMessage | None:
            mails = (mail for mail in list(self.mails) if subject in str(mail["Subject"]))
            return next((mail for mail in mails if to in str(mail["To"])), None)

        mail: EmailMessage = wait_until(found, f"a mail about {subject!r} in {self.subjects()}")
        return mail

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in list(self.mails)]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")
