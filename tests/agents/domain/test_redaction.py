"""Secrets are hidden in free text, words are not. The server and the SDK have the same rules."""

from __future__ import annotations

import pytest
from clevagent.redact import redacted as redacted_by_sdk

from agents.domain.redaction import redacted

SECRETS = [
    "sk-proj-abcdefghijkl1234",
    "sk-abcdefghijklmnopqrst",
    "sk-ant-api03-Zx9-4fK_aQwErTyUiOpAsDfGhJkLzXcVbNm1234",
    "cv_abcdefghijklmnop",
    "ghp_abcdefghijklmnop1234",
    "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "glpat-aB3dE5gH7jK9mN1pQ3sT",
    "xoxb-123456789012-1234567890123-abcdEFGH1234ijklMNOP5678",
    "AIzaSyA-1234567890abcdefghijklmnopqrstuvw",
    "AKIAIOSFODNN7EXAMPLE",
    "sk_live_abcdefghijklmnop1234",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw/+a=",
    "gsk_abcdEFGH0123456789abcdEFGH0123456789",
    "r8_AbCdEfGh0123456789AbCdEfGh012345678",
    "pplx-0123456789abcdef0123456789abcdef",
    "xai-AbCdEfGh0123456789AbCdEfGh0123456789",
    "tvly-dev-AbCdEf0123456789AbCdEf01234567",
    "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789",
    "dckr_pat_AbCdEf0123456789AbCdEf012345",
    "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    "ya29.a0AfH6SMBx1234567890abcdefghijklmn",
    "eyJhbGciOiJI.eyJzdWIiOiIx.sig",
]
WORDS = [
    "skyscanner-price-bot",
    "cv-screening-agent",
    "sketch-generator-agent",
    "hf-dataset-crawler",
    "pkgwatch-nightly-1",
    "rk3588-camera-agent",
    "sk-learn-trainer-01",
    "sk-MultiAgentResearchRunner",
    "AIzawa-planner-agent-for-the-tokyo-office",
    "xai-benchmark-runner-nightly-2024",
    "r8_resolution_upscaler_of_images",
    "SG.singapore.office.night-shift.agent",
    "skip_to_next_page",
    "skunkworks-research",
    "/app/skill_registry_loader.py",
    "/data/sk_hynix_chart_q3.png",
    "hf_transfer_enabled_for_downloads",
    "xoxo-valentines-campaign-2024",
    "glpat-rotation-reminder-service",
    "cv_data/experiments/run",
    "/mnt/hf_hub/transformers/models/llama.safetensors",
    "npm_cache/registry/packages",
    "Unexpected token: identifier",
    "page_token=next_page",
    "834 tokens used, max_tokens=4096",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_hidden(secret: str) -> None:
    text = f"using {secret}, again"
    assert redacted(text) == redacted_by_sdk(text) == "using [hidden], again"


NAMED = [
    "token=abcdefgh",
    '"token": "abcd"',
    "access_token: abcdef",
    "password=hush123",
    "my_secret = 'hush'",
    "next_token=ya29abcdefghijkl12",
    "Authorization: abc.def",
    "postgres://me:hush@db/x",
]


@pytest.mark.parametrize("text", NAMED)
def test_named_secrets_are_hidden(text: str) -> None:
    assert "[hidden]" in redacted(text)
    assert redacted(text) == redacted_by_sdk(text) == redacted(redacted(text))


@pytest.mark.parametrize("words", WORDS)
def test_words_stay(words: str) -> None:
    text = f"using {words}, again"
    assert redacted(text) == redacted_by_sdk(text) == text
