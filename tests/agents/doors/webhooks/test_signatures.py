"""Each sender's proof, also with a wrong secret, a changed body, and none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from agents.doors.webhooks import signatures
from tests.agents.doors.webhooks.payloads import NOW, SECRET, basic, hexed, standard

BODY = b'{"a": 1}'
PROOFS: list[tuple[Any, Mapping[str, str]]] = [
    (signatures.github, {"x-hub-signature-256": f"sha256={hexed(BODY)}"}),
    (signatures.gitlab, {"x-gitlab-token": SECRET}),
    (signatures.gitlab, standard(BODY, NOW)),
    (signatures.alertmanager, {"authorization": f"Bearer {SECRET}"}),
    (signatures.alertmanager, {"authorization": basic(SECRET)}),
    (signatures.sentry, {"sentry-hook-signature": hexed(BODY)}),
]


@pytest.mark.parametrize(("proof", "headers"), PROOFS)
def test_proof_fits_its_secret_only(proof: Callable[..., str], headers: Mapping[str, str]) -> None:
    assert proof(SECRET, headers, BODY, NOW) == ""
    assert proof(SECRET + "x", headers, BODY, NOW)
    assert proof(SECRET, {}, BODY, NOW), "nothing to prove it"
    hostile = dict.fromkeys(headers, "Bearer é\ud800,=😀")
    assert proof(SECRET, hostile, BODY, NOW)


@pytest.mark.parametrize("number", [0, 2, 5])
def test_signature_is_of_the_exact_bytes(number: int) -> None:
    proof, headers = PROOFS[number]
    assert proof(SECRET, headers, BODY + b" ", NOW)


@pytest.mark.parametrize("off", [-301, 301])
def test_old_standard_signature_is_refused(off: int) -> None:
    headers = standard(BODY, NOW)
    assert "clocks" in signatures.gitlab(SECRET, headers, BODY, NOW + timedelta(seconds=off))
    assert "clocks" in signatures.gitlab(SECRET, {**headers, "webhook-timestamp": "²"}, BODY, NOW)
    assert signatures.gitlab(SECRET, headers, BODY, NOW + timedelta(seconds=off / 2)) == ""


def test_one_of_several_signatures_is_enough() -> None:
    headers = standard(BODY, NOW)
    rotated = f"v1,AAAA {headers['webhook-signature']}"
    assert signatures.gitlab(SECRET, {**headers, "webhook-signature": rotated}, BODY, NOW) == ""


def test_own_signing_token_needs_no_prefix() -> None:
    assert signatures._key("plain-text-token") == b"plain-text-token"
    assert signatures._key("whsec_not base64") == b"whsec_not base64"
