"""E-mail, against a real SMTP server."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from typing import Any, ClassVar

import pytest
from aiosmtpd.controller import Controller
from pytest_django.fixtures import Settings

from alerts.channels import email
from alerts.channels.base import ChannelError, ChannelKind
from tests.alerts.channels.cases import SECRET, ChannelCases, message
from tests.alerts.receiver import Receiver


class Sink:
    """Accepts mail, unless `refusal` is set to (command, reply), or `refuses` has a reply for an address."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.taken: list[str] = []
        self.refusal: tuple[str, str] = ("", "")
        self.refuses: dict[str, str] = {}

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.refusal[0] == "RCPT":
            return self.refusal[1]
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.refusal[0] == "DATA":
            return self.refusal[1]
        self.mails.append(envelope.content.decode())
        self.taken += envelope.rcpt_tos
        return "250 OK"


class Peer:
    config = {"to": ["ops@example.com"]}

    def __init__(self, sink: Sink, receiver: Receiver, settings: Settings) -> None:
        self.sink, self.receiver, self.settings = sink, receiver, settings

    def received(self) -> list[str]:
        return [
            self.mail(text)["Subject"] + "\n" + str(self.mail(text).get_body(("plain",))) for text in self.sink.mails
        ]

    def mail(self, text: str) -> EmailMessage:
        return message_from_string(text, policy=default)

    def be_silent(self) -> None:
        # An HTTP server waits for a request while the client waits for a greeting.
        self.settings.EMAIL_PORT = self.receiver.port

    def go_away(self) -> None:
        self.settings.EMAIL_PORT = 1

    def fail(self) -> None:
        self.sink.refusal = ("DATA", f"451 try later {SECRET}")

    def talk_nonsense(self) -> None:
        self.receiver.greeting = f"HTTP/1.1 200 {SECRET}\r\n\r\n".encode()
        self.settings.EMAIL_PORT = self.receiver.port


@pytest.fixture
def sink(settings: Settings) -> Iterator[Sink]:
    sink = Sink()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(sink, hostname="127.0.0.1", port=port)
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_TIMEOUT = 0.5
    yield sink
    controller.stop()


@pytest.fixture
def peer(sink: Sink, receiver: Receiver, settings: Settings) -> Peer:
    return Peer(sink, receiver, settings)


class TestEmail(ChannelCases):
    kind: ClassVar[ChannelKind] = email
    invalid: ClassVar[list[dict[str, Any]]] = [
        {},
        {"to": None},
        {"to": "ops@example.com"},
        {"to": []},
        {"to": ["nobody"]},
        {"to": ["a@example.com\nBcc: b@example.com"]},
        {"to": [7]},
        {"to": ["a@example.com"] * 21},
    ]

    def only(self, peer: Peer) -> EmailMessage:
        (text,) = peer.sink.mails
        return peer.mail(text)

    def test_mail_has_equal_text_and_html(self, peer: Peer) -> None:
        self.send(peer)
        mail = self.only(peer)
        text, html = mail.get_body(("plain",)), mail.get_body(("html",))
        assert text is not None
        assert html is not None
        for fact in (
            "bot-1 is down",
            "No heartbeat for 2 min",
            "/admin/agents/incident/7/change/",
            "Research / Production",
        ):
            assert fact in text.get_content()
            assert fact in html.get_content()
        assert mail["Subject"] == "bot-1 is down"
        assert mail["To"] == "ops@example.com"

    def test_code_is_marked_and_evidence_is_below_link(self, peer: Peer) -> None:
        facts = (("Last tool call", "`fetch`"), ("Traceback", "one\n  <two>"))
        self.send(peer, message(lines=("`search` called 4 times",), facts=facts))
        mail = self.only(peer)
        text, html = mail.get_body(("plain",)), mail.get_body(("html",))
        assert text is not None
        assert html is not None
        said, shown = text.get_content().replace("\r\n", "\n"), html.get_content()
        assert "search called 4 times" in said
        assert said.index("/incident/7/") < said.index("Last tool call: fetch\nTraceback:\none\n  <two>\n")
        assert "<code>search</code> called 4 times" in shown
        assert ">View incident</a>" in shown
        assert re.search(r"<pre [^>]*>one\s+  &lt;two&gt;</pre>", shown)

    def test_names_are_escaped_in_html(self, peer: Peer) -> None:
        self.send(peer, message(title="<b>bot</b>", lines=("<script>",), team="<i>"))
        html = self.only(peer).get_body(("html",))
        assert html is not None
        assert "<b>" not in html.get_content()
        assert "<script>" not in html.get_content()
        assert "<i>" not in html.get_content()

    def test_mails_of_an_incident_form_one_thread(self, peer: Peer) -> None:
        self.send(peer, message(id="msg_1"))
        self.send(peer, message(id="msg_2"))
        first, second = (peer.mail(text) for text in peer.sink.mails)
        assert first["Message-ID"] != second["Message-ID"]
        assert first["References"] == second["References"] == first["In-Reply-To"]

    def test_repeat_has_the_same_message_id(self, peer: Peer) -> None:
        self.send(peer)
        self.send(peer)
        first, second = (peer.mail(text) for text in peer.sink.mails)
        assert first["Message-ID"] == second["Message-ID"]

    def test_mail_is_marked_as_auto_generated(self, peer: Peer) -> None:
        self.send(peer)
        assert self.only(peer)["Auto-Submitted"] == "auto-generated"

    def test_title_cannot_start_another_header(self, peer: Peer) -> None:
        self.send(peer, message(title="bot\r\nBcc: x@example.com\u2028X-A: b\x85X-B: c"))
        mail = self.only(peer)
        assert mail["Bcc"] is None
        assert mail["Subject"].startswith("bot Bcc: x@example.com")

    @pytest.mark.parametrize(
        ("refusal", "permanent"),
        [
            (("RCPT", "550 no such user"), True),
            (("RCPT", "450 mailbox busy"), False),
            (("DATA", "554 looks like spam"), True),
            (("DATA", "451 try later"), False),
        ],
    )
    def test_permanent_rejection_is_not_retried(self, peer: Peer, refusal: tuple[str, str], permanent: bool) -> None:
        peer.sink.refusal = refusal
        error = self.failure(peer)
        assert error.permanent is permanent
        assert refusal[1][:3] in str(error)

    def test_recipient_gets_a_mail_of_their_own(self, peer: Peer) -> None:
        self.send(peer, message(recipient="night@example.com"))
        assert peer.sink.taken == ["night@example.com"]
        assert self.only(peer)["To"] == "night@example.com"

    @pytest.mark.parametrize(("reply", "permanent"), [("550 5.1.1 unknown", True), ("450 4.2.0 greylisted", False)])
    def test_refusal_concerns_one_recipient(self, peer: Peer, reply: str, permanent: bool) -> None:
        peer.sink.refuses = {"ops@example.com": reply}
        error = self.failure(peer)
        assert error.only_recipient
        assert error.permanent is permanent
        assert f"ops@example.com ({reply[:3]})" in str(error)

    def test_closing_server_is_not_the_recipients_fault(self, peer: Peer) -> None:
        peer.sink.refusal = ("RCPT", "421 too many connections")
        error = self.failure(peer)
        assert not error.only_recipient
        assert not error.permanent

    def test_test_mail_names_who_was_refused(self, peer: Peer) -> None:
        peer.sink.refuses = {"gone@example.com": "550 unknown", "grey@example.com": "450 later"}
        config = email.parse({"to": ["a@example.com", "gone@example.com", "grey@example.com", "b@example.com"]})
        with pytest.raises(ChannelError) as caught:
            email.send(config, message())
        assert peer.sink.taken == ["a@example.com", "b@example.com"]
        assert "gone@example.com (550)" in str(caught.value)
        assert "grey@example.com (450)" in str(caught.value)

    def test_repeated_address_is_one_recipient(self) -> None:
        assert email.recipients({"to": ["a@example.com", "b@example.com", "a@example.com"]}) == [
            "a@example.com",
            "b@example.com",
        ]

    def test_rejected_password_is_retried(self, peer: Peer, settings: Settings) -> None:
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "watchdog", SECRET
        error = self.failure(peer)
        assert not error.permanent
        assert SECRET not in str(error)
