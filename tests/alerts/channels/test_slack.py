import json
from typing import Any, ClassVar

import pytest

from alerts.channels import slack
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver, responds


@pytest.fixture
def peer(receiver: Receiver) -> HttpPeer:
    return HttpPeer(receiver, f"/services/{SECRET}?token={SECRET}/abcd", {})


class TestSlack(HttpCases):
    kind: ClassVar[ChannelKind] = slack

    def test_body_has_header_facts_and_link(self, peer: Any) -> None:
        self.send(peer)
        body = json.loads(peer.received()[0])
        head, facts, origin = body["blocks"]
        assert body["text"] == "🔴 bot-1 is down"
        assert head["text"] == {"type": "plain_text", "text": "🔴 bot-1 is down"}
        assert facts["text"]["text"].startswith("No heartbeat for 2 min\nSince ")
        assert "<https://watchdog.example.com/admin/agents/incident/7/change/|" in origin["elements"][0]["text"]
        assert "Research / Production" in origin["elements"][0]["text"]

    def test_control_characters_are_escaped(self) -> None:
        body = slack.compose(message(title="<!here> & co", lines=("<@U1> & <https://x|y>",), team="<a>"))
        assert body["text"].endswith("&lt;!here&gt; &amp; co")
        assert body["blocks"][1]["text"]["text"] == "&lt;@U1&gt; &amp; &lt;https://x|y&gt;"
        assert "&lt;a&gt;" in body["blocks"][2]["elements"][0]["text"]

    def test_slacks_limits_are_kept(self) -> None:
        long = "&" * 5000
        body = slack.compose(message(title=long, lines=(long,) * 10))
        assert len(body["blocks"][0]["text"]["text"]) <= 150
        assert len(body["blocks"][1]["text"]["text"]) <= 3000
        assert len(body["text"]) <= 3000

    def test_truncation_never_splits_an_escape(self) -> None:
        for length in range(2990, 3010):
            text = slack.compose(message(lines=("x" * length + "&&&&",)))["blocks"][1]["text"]["text"]
            assert text.replace("&amp;", "").count("&") == 0

    def test_message_without_lines_repeats_its_title(self) -> None:
        assert slack.compose(message(lines=()))["blocks"][1]["text"]["text"] == "bot-1 is down"

    @pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden"])
    def test_rejected_message_is_not_retried(self, peer: Any, status: str) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert error.permanent
        assert not error.disable

    def test_deleted_webhook_disables_the_channel(self, peer: Any) -> None:
        peer.answers("404 Not Found")
        assert self.failure(peer).disable

    def test_only_host_and_last_characters_are_shown(self) -> None:
        shown = slack.public({"url": "https://hooks.slack.com/services/T000/B000/abcdWXYZ"})
        assert shown == {"url": "https://hooks.slack.com/…WXYZ"}

    @pytest.mark.parametrize("body", [b"ok", b"", b'{"ok": true}', b"{", b"[]"])
    def test_success_by_the_body(self, peer: Any, body: bytes) -> None:
        peer.receiver.answer = responds("200 OK", body)
        self.send(peer)

    def test_200_with_an_error_is_no_success(self, peer: Any) -> None:
        peer.receiver.answer = responds("200 OK", b'{"ok": false, "error": "channel_not_found"}')
        error = self.failure(peer)
        assert error.permanent
        assert "200 with an error" in str(error)
