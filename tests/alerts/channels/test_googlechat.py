"""Google Chat, against a receiver that checks its limits and answers with its errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from alerts.channels import googlechat
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds


class Space(HttpPeer):
    """Rejects what Google Chat rejects, and keeps the `threads` of the messages it took."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver, f"/v1/spaces/AAQA/messages?key=AIza&token={SECRET}abcd", {})
        self.threads: list[str] = []
        receiver.answer = self.check

    def check(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        method, target, _ = request.line.split()
        options = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        if (method, options.get("token")) != ("POST", f"{SECRET}abcd"):
            self.refuse(403, "PERMISSION_DENIED")(peer)
        elif len(request.body) > 32_000 or not self.is_valid(json.loads(request.body)):
            self.refuse(400, "INVALID_ARGUMENT")(peer)
        else:
            is_threaded = options.get("messageReplyOption", "").startswith("REPLY_MESSAGE")
            self.threads.append(json.loads(request.body)["thread"]["threadKey"] if is_threaded else "")
            responds("200 OK", b'{"name": "spaces/AAQA/messages/1"}')(peer)

    def is_valid(self, body: dict[str, Any]) -> bool:
        (card,) = body["cardsV2"]
        widgets = card["card"]["sections"][0]["widgets"]
        texts = [widget["textParagraph"]["text"] for widget in widgets if "textParagraph" in widget]
        texts += [widget["decoratedText"]["text"] for widget in widgets if "decoratedText" in widget]
        return bool(card["card"]["header"]["title"]) and all(texts) and len(widgets) <= 100

    def refuse(self, code: int, status: str, *details: dict[str, str]) -> Any:
        error = {"code": code, "message": f"no {SECRET}", "status": status, "details": details}
        return responds(f"{code} Error", json.dumps({"error": error}).encode())


@pytest.fixture
def peer(receiver: Receiver) -> Space:
    return Space(receiver)


class TestGooglechat(HttpCases):
    kind: ClassVar[ChannelKind] = googlechat

    def widgets(self, peer: Space) -> list[dict[str, Any]]:
        (card,) = json.loads(peer.received()[-1])["cardsV2"]
        return list(card["card"]["sections"][0]["widgets"])

    def test_messages_of_an_incident_form_a_thread(self, peer: Space) -> None:
        self.send(peer)
        self.send(peer, message(type="incident.resolved", severity="ok"))
        self.send(peer, message(thread="incident-8"))
        assert peer.threads == ["incident-7", "incident-7", "incident-8"]

    def test_card_links_to_the_incident(self, peer: Space) -> None:
        self.send(peer, message(facts=(("Last message", "Reading"),)))
        text, fact, buttons = self.widgets(peer)
        assert text["textParagraph"]["text"].startswith("No heartbeat for 2 min<br>Since")
        assert (fact["decoratedText"]["topLabel"], fact["decoratedText"]["text"]) == ("Last message", "Reading")
        (button,) = buttons["buttonList"]["buttons"]
        assert button["onClick"]["openLink"]["url"] == message().url

    def test_names_are_not_markup(self, peer: Space) -> None:
        self.send(peer, message(lines=('<a href="https://evil.example.com">x</a> <users/all> & `search`',)))
        text = self.widgets(peer)[0]["textParagraph"]["text"]
        assert text == '&lt;a href="https://evil.example.com"&gt;x&lt;/a&gt; &lt;users/all&gt; &amp; search'

    @pytest.mark.parametrize("text", ["&" * 9000, "🤖" * 9000, "ü\n" * 9000, '"\\' * 9000, "\x00" * 9000, ""])
    def test_any_message_fits(self, peer: Space, text: str) -> None:
        facts = ((text, text),) * 30
        self.send(peer, message(title=text, lines=(text,) * 9, facts=facts, team=text, project=text))
        assert peer.threads == ["incident-7"]

    def test_seconds_to_wait_come_from_the_error(self, peer: Space) -> None:
        detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30.5s"}
        peer.receiver.answer = peer.refuse(429, "RESOURCE_EXHAUSTED", {"@type": "x"}, detail)
        error = self.failure(peer)
        assert (error.retry_after, error.permanent) == (30.5, False)

    @pytest.mark.parametrize("delay", ["soon", "s", "-1s", "٣s", "9" * 400 + "s"])
    def test_nonsense_delay_is_ignored(self, peer: Space, delay: str) -> None:
        peer.receiver.answer = peer.refuse(429, "RESOURCE_EXHAUSTED", {"retryDelay": delay})
        assert self.failure(peer).retry_after is None

    def test_wrong_token_is_permanent(self, peer: Space) -> None:
        peer.config["url"] = peer.config["url"].replace("abcd", "efgh")
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, False)
        assert "no longer valid" in str(error)

    @pytest.mark.parametrize(("status", "disables"), [("404 Not Found", True), ("400 Bad Request", False)])
    def test_rejections_are_permanent(self, peer: Space, status: str, disables: bool) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert (error.permanent, error.disable) == (True, disables)

    def test_url_is_hidden(self, peer: Space) -> None:
        assert googlechat.public(peer.config) == {"url": "http://127.0.0.1/…abcd"}
