"""Settings of `init()`: a mistake on this machine is said once, loudly, and never mistaken for an outage."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal
from typing import Any

import clevagent
import pytest
from clevagent.options import MAX_DURATION, Options, read_options
from clevagent.testing import FakeServer
from clevagent.transport import encode

GIVEN: dict[str, Any] = {
    "api_key": "cv_test",
    "agent": "bot",
    "endpoint": "http://127.0.0.1:8000",
    "interval": 60,
    "cost_limit_usd": None,
    "progress_timeout": None,
    "on_loop": "alert_only",
    "on_cost_exceeded": "alert_only",
    "labels": None,
    "spool": None,
}


def options(**given: Any) -> Options:
    read = read_options(**{**GIVEN, **given})
    assert read is not None
    return read


def warned(**given: Any) -> tuple[Options | None, str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read = read_options(**{**GIVEN, **given})
    return read, "\n".join(str(each.message) for each in said)


NAMES = ["skyscanner-price-bot", "cv-screening-agent", "hf-dataset-crawler", "sk-a1b2c3d4e5f6g7h8i9j0", "rk3588-camera"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_never_redacted(server: FakeServer, quiet_end: None, name: str) -> None:
    clevagent.init(api_key=server.key, endpoint=server.url, agent=name, agent_type=name, labels={name: name})
    clevagent.log_usage(model=name, provider=name, input_tokens=1)
    with clevagent.tool(name, args={"file": "/data/sk_hynix_chart_q3.png"}):
        pass
    assert clevagent.flush()
    assert {beat["agent"] for beat in server.beats} == {name}
    assert server.beats[0]["labels"] == {name: name}
    assert server.beats[0]["agent_type"] == name
    assert [(use["model"], use["provider"]) for use in server.usage()] == [(name, name)]
    assert {(call["name"], call["args"]) for call in server.calls()} == {(name, "file=/data/sk_hynix_chart_q3.png")}


NO_NUMBERS = [float("inf"), float("nan"), Decimal("sNaN"), Decimal("1e999"), 10**400, "much", b"x", [], object()]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", ["cost_limit_usd", "interval", "progress_timeout", "stop_grace"])
def test_impossible_numbers_are_said_and_not_sent(name: str, value: Any) -> None:
    read, said = warned(**{name: value})
    assert name in said
    assert read is not None
    assert getattr(read, name) == getattr(options(), name)
    assert json.loads(encode(read._asdict()))


@pytest.mark.parametrize("value", [-1, 5_000_000, float("inf")])
def test_impossible_limit_is_no_limit(value: float) -> None:
    read, said = warned(cost_limit_usd=value)
    assert "leave it out" in said
    assert read is not None
    assert read.cost_limit_usd is None


def test_interval_of_a_month_is_kept() -> None:
    assert options(interval=2_592_000).interval == 2_592_000
    read, said = warned(interval=10**9)
    assert "interval" in said
    assert read is not None
    assert read.interval == MAX_DURATION


@pytest.mark.parametrize(("name", "least"), [("interval", 1.0), ("progress_timeout", 5.0), ("stop_grace", 0.0)])
@pytest.mark.parametrize("value", [-1, -0.5])
def test_impossibly_short_time_is_said(name: str, least: float, value: float) -> None:
    read, said = warned(**{name: value})
    assert f"{name}={value} is less than" in said
    assert getattr(read, name) == least


KEY = "cv_0123456789012345678901234567890123456789"
WRAPPED = [f"{KEY}\n", f" {KEY}\r\n", f'"{KEY}"', f"'{KEY}'", f"\ufeff{KEY}", f"{KEY}\u00a0", f"{KEY}\u200b"]


@pytest.mark.parametrize("key", WRAPPED, ids=ascii)
def test_what_surrounds_a_key_is_ignored(key: str) -> None:
    assert options(api_key=key).api_key == KEY


@pytest.mark.parametrize("key", [f"cv_012\n{KEY}", f"Bearer {KEY}", f"{KEY}\u2026", f"cv_\x00{KEY}", "\n"], ids=ascii)
def test_impossible_key_is_said_without_showing_it(key: str) -> None:
    read, said = warned(api_key=key)
    assert read is None
    assert "clevagent is not reporting: The API key" in said
    assert "0123" not in said


@pytest.mark.parametrize(
    "endpoint", ["http://host:8000\n", '"http://host:8000"', "\ufeffhttp://host:8000/", "http://host:8000/api/v1 "]
)
def test_what_surrounds_an_endpoint_is_ignored(endpoint: str) -> None:
    read, said = warned(endpoint=endpoint)
    assert read is not None
    assert read.endpoint == "http://host:8000"
    assert "unencrypted to host" in said


BAD_ENDPOINTS = [
    "host:8000",
    "ftp://host",
    "http://",
    "http://ho st:8000",
    "http://host:80x",
    "http://host:99999",
    "http://host:0",
    "http://" + "a" * 70 + ".example",
    "http://host\n:8000/",
    KEY,
    5,
]


@pytest.mark.parametrize("endpoint", BAD_ENDPOINTS, ids=ascii)
def test_impossible_endpoint_is_said(endpoint: Any) -> None:
    read, said = warned(endpoint=endpoint)
    assert read is None
    assert "is not an address" in said
    assert "0123456789" not in said


def test_password_in_a_bad_endpoint_is_not_shown() -> None:
    assert "hush" not in warned(endpoint="ftp://me:hush@host")[1]


def test_labels_beyond_the_limit_are_said() -> None:
    read, said = warned(labels={f"k{number}": number for number in range(30)})
    assert read is not None
    assert read.labels == {f"k{number}": str(number) for number in range(20)}
    assert "k29" in said


@pytest.mark.parametrize("labels", [["a"], "team=a", 5])
def test_labels_of_another_type_are_said(labels: Any) -> None:
    read, said = warned(labels=labels)
    assert read is not None
    assert read.labels == {}
    assert "labels" in said


@pytest.mark.parametrize("agent", ["  ", "\u200b", "\ufeff\n"])
def test_empty_name_is_said(agent: str) -> None:
    read, said = warned(agent=agent)
    assert read is not None
    assert "@" in read.agent
    assert "is empty" in said


class Hostile:
    """An argument whose own methods fail."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__

    def __float__(self) -> float:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError


@pytest.mark.parametrize("name", ["api_key", "agent", "endpoint", "interval", "cost_limit_usd", "labels", "agent_type"])
def test_no_argument_makes_init_raise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clevagent.Client.start", lambda self: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given: dict[str, Any] = {"api_key": "cv_test", "endpoint": "http://127.0.0.1:9", name: Hostile()}
        clevagent.init(**given)
    clevagent._client = None
