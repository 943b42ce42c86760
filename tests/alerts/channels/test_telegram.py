"""Telegram, against a receiver that speaks the Bot API: its limits, its HTML and its errors."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any, ClassVar

import pytest

from alerts.channels import http, telegram
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, ChannelCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds

TOKEN = f"123456:{SECRET}"


class Markup(HTMLParser):
    """What a reader sees, and whether every tag is one of Telegram's and closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.is_valid = "", list[str](), True
        self.feed(text)
        self.close()
        self.is_valid = self.is_valid and not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.is_valid = self.is_valid and tag in ("b", "code", "a")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.is_valid = self.is_valid and bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class BotApi(HttpPeer):
    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, "", {})
        self.config = {"token": TOKEN, "chat": "-1001234567890", "topic": "7"}
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        body = json.loads(request.body)
        markup = Markup(body["text"])
        if request.line != f"POST /bot{TOKEN}/sendMessage HTTP/1.1":
            self.refuse(404, "Not Found")(peer)
        elif body["chat_id"] != -1001234567890:
            self.refuse(400, "Bad Request: chat not found")(peer)
        elif not markup.is_valid or not 0 < len(markup.text) <= 4096:
            self.refuse(400, "Bad Request: message is too long or can't parse entities")(peer)
        else:
            responds("200 OK", b'{"ok": true, "result": {"message_id": 1}}')(peer)

    def refuse(self, code: int, why: str, **parameters: Any) -> Any:
        body = {"ok": False, "error_code": code, "description": f"{why} {SECRET}", "parameters": parameters}
        return responds(f"{code} Error", json.dumps(body).encode())


@pytest.fixture
def peer(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, allow_private: None) -> BotApi:
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.4)
    monkeypatch.setattr(telegram, "API", receiver.url("")[:-1] if receiver.url("").endswith("/") else receiver.url(""))
    return BotApi(receiver)


class TestTelegram(ChannelCases):
    kind: ClassVar[ChannelKind] = telegram
    invalid: ClassVar[list[dict[str, Any]]] = [
        {},
        {"token": 7, "chat": "1"},
        {"token": "nonsense", "chat": "1"},
        {"token": "1:a/../b", "chat": "1"},
        {"token": "1:a", "chat": "somewhere"},
        {"token": "1:a", "chat": "٣"},
        {"token": "1:a", "chat": 7},
        {"token": "1:a", "chat": "1", "topic": "x"},
    ]

    def sent(self, peer: BotApi) -> dict[str, Any]:
        return dict(json.loads(peer.received()[-1]))

    def test_message_is_html_for_one_topic(self, peer: BotApi) -> None:
        self.send(peer, message(lines=("`search` called <40> times",), facts=(("Last message", "Reading"),)))
        sent = self.sent(peer)
        assert (sent["chat_id"], sent["message_thread_id"], sent["parse_mode"]) == (-1001234567890, 7, "HTML")
        assert "<code>search</code> called &lt;40&gt; times" in sent["text"]
        assert "Last message: Reading" in sent["text"]
        assert sent["link_preview_options"] == {"is_disabled": True}

    def test_recovery_arrives_silently(self, peer: BotApi) -> None:
        self.send(peer)
        assert self.sent(peer)["disable_notification"] is False
        self.send(peer, message(severity="ok"))
        assert self.sent(peer)["disable_notification"] is True

    @pytest.mark.parametrize("text", ["&" * 9000, "`" * 9000, "`a` " * 3000, "<b>" * 3000, "x" * 9000])
    def test_any_text_fits_and_closes_its_marks(self, peer: BotApi, text: str) -> None:
        self.send(peer, message(title=text, lines=(text, text), team=text, facts=(("Label", text),)))
        assert len(peer.received()) == 1

    def test_seconds_to_wait_come_from_the_body(self, peer: BotApi) -> None:
        peer.receiver.answer = peer.refuse(429, "Too Many Requests", retry_after=31)
        error = self.failure(peer)
        assert (error.retry_after, error.permanent) == (31, False)

    def test_new_chat_id_is_named(self, peer: BotApi) -> None:
        peer.receiver.answer = peer.refuse(400, "upgraded", migrate_to_chat_id=-1009876543210)
        error = self.failure(peer)
        assert error.permanent
        assert "-1009876543210" in str(error)

    @pytest.mark.parametrize(("code", "why"), [(400, "chat"), (401, "token"), (403, "blocked"), (404, "token")])
    def test_permanent_errors_say_what_to_do(self, peer: BotApi, code: int, why: str) -> None:
        peer.receiver.answer = peer.refuse(code, "no")
        error = self.failure(peer)
        assert error.permanent
        assert why in str(error)

    def test_200_without_ok_is_no_success(self, peer: BotApi) -> None:
        peer.receiver.answer = responds("200 OK", b'{"ok": false}')
        assert not self.failure(peer).permanent

    def test_token_is_hidden(self, peer: BotApi) -> None:
        assert telegram.public(peer.config) == {"token": "123456:…", "chat": "-1001234567890", "topic": "7"}
