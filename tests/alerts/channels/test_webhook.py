import json
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from alerts.channels import webhook
from alerts.channels.base import ChannelKind
from tests.alerts.channels.cases import MESSAGE, SECRET, HttpCases, HttpPeer, message
from tests.alerts.receiver import Receiver


@pytest.fixture
def peer(receiver: Receiver) -> HttpPeer:
    return HttpPeer(receiver, f"/hook?token={SECRET}", webhook.generate())


class TestWebhook(HttpCases):
    kind: ClassVar[ChannelKind] = webhook

    def test_receiver_can_verify_the_exact_bytes(self, peer: Any) -> None:
        self.send(peer)
        (request,) = peer.receiver.requests
        said = Webhook(peer.config["secret"]).verify(request.body, request.headers)
        assert said == {"type": "incident.opened", "timestamp": "2026-11-23T20:25:57Z", "data": MESSAGE.payload}
        assert request.headers["webhook-id"] == MESSAGE.id
        assert request.headers["content-type"] == "application/json"

    def test_another_secret_does_not_verify(self, peer: Any) -> None:
        self.send(peer)
        (request,) = peer.receiver.requests
        with pytest.raises(WebhookVerificationError):
            Webhook(webhook.generate()["secret"]).verify(request.body, request.headers)

    def test_repeats_keep_the_id_and_update_the_time(self) -> None:
        secret = webhook.generate()["secret"]
        first = webhook.sign(secret, MESSAGE, datetime(2026, 11, 23, 20, 26, tzinfo=UTC))
        second = webhook.sign(secret, MESSAGE, datetime(2026, 11, 23, 20, 27, tzinfo=UTC))
        assert first[0] == second[0]
        assert first[1]["webhook-id"] == second[1]["webhook-id"]
        assert int(second[1]["webhook-timestamp"]) - int(first[1]["webhook-timestamp"]) == 60
        assert first[1]["webhook-signature"] != second[1]["webhook-signature"]

    def test_unicode_survives_signing(self, peer: Any) -> None:
        self.send(peer, message(payload={"agent": "водій 🤖 \u2028"}))
        (request,) = peer.receiver.requests
        Webhook(peer.config["secret"]).verify(request.body, request.headers)
        assert json.loads(request.body)["data"]["agent"] == "водій 🤖 \u2028"

    @pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "299 Fine"])
    def test_2xx_is_success(self, peer: Any, status: str) -> None:
        peer.answers(status)
        self.send(peer)

    @pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "500 Oops", "304 Same"])
    def test_other_statuses_are_retried(self, peer: Any, status: str) -> None:
        peer.answers(status)
        error = self.failure(peer)
        assert not error.permanent
        assert status[:3] in str(error)

    def test_secret_is_32_random_bytes(self) -> None:
        import base64

        first, second = webhook.generate()["secret"], webhook.generate()["secret"]
        assert first != second
        assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32

    def test_query_of_the_url_is_not_shown(self) -> None:
        shown = webhook.public({"url": f"https://example.com/hook?token={SECRET}", "secret": SECRET})
        assert shown == {"url": "https://example.com/hook?…"}
        assert webhook.public({"url": "https://example.com/hook"}) == {"url": "https://example.com/hook"}
