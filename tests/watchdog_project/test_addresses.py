"""Where a server that listens everywhere can be reached, and what it accepts."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client

from watchdog_project import addresses

ADAPTERS: list[list[Any]] = [
    ["127.0.0.1", ("::1", 0, 0)],
    ["192.168.1.5", ("fd00::2", 0, 0), ("fe80::1", 0, 3)],
    ["10.0.0.7", "169.254.3.4"],
]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = [SimpleNamespace(ips=[SimpleNamespace(ip=ip) for ip in ips]) for ips in ADAPTERS]
    monkeypatch.setattr("ifaddr.get_adapters", lambda: adapters)
    monkeypatch.setattr("socket.gethostname", lambda: "Studio")
    for name in ("BASE_URL", "ALLOWED_HOSTS"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1", []),
        ("192.168.1.5", []),
        ("0.0.0.0", ["10.0.0.7", "192.168.1.5", "studio", "studio.local"]),
        ("::", ["10.0.0.7", "192.168.1.5", "[fd00::2]", "studio", "studio.local"]),
    ],
)
def test_all_usable_addresses_are_known(host: str, known: list[str]) -> None:
    assert addresses.hosts(host) == known


def test_links_lead_to_an_address_others_reach() -> None:
    assert addresses.publish("0.0.0.0", 8000) == "http://10.0.0.7:8000"
    allowed = os.environ["ALLOWED_HOSTS"].split(",")
    assert {"10.0.0.7", "192.168.1.5", "studio.local", "127.0.0.1", "localhost"} <= set(allowed)
    assert "*" not in allowed


def test_local_server_stays_local() -> None:
    assert addresses.publish("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert os.environ["ALLOWED_HOSTS"] == ""


def test_operators_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", "https://watch.example.com")
    addresses.publish("0.0.0.0", 8000)
    assert os.environ["BASE_URL"] == "https://watch.example.com"
    assert "watch.example.com" in os.environ["ALLOWED_HOSTS"].split(",")
    monkeypatch.setenv("ALLOWED_HOSTS", "watch.example.com")
    addresses.publish("0.0.0.0", 8000)
    assert os.environ["ALLOWED_HOSTS"] == "watch.example.com"


def test_addresses_and_advice_are_printed() -> None:
    printed = addresses.lines("0.0.0.0", 8000, "http://10.0.0.7:8000", with_code=True)
    assert printed[0] == "Also at: http://192.168.1.5:8000, http://studio:8000, http://studio.local:8000"
    assert "BASE_URL" in " ".join(printed)
    assert any("█" in line for line in printed), "a QR code"
    assert not any("█" in line for line in addresses.lines("0.0.0.0", 1, "", with_code=False))
    assert addresses.lines("127.0.0.1", 8000, "http://127.0.0.1:8000", with_code=True) == []


@pytest.mark.django_db
def test_unknown_address_is_explained(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.BASE_URL = ["10.0.0.7"], "http://10.0.0.7:8000"
    page = Client(headers={"host": "192.168.9.9:8000"}).get("/")
    text = page.content.decode()
    assert page.status_code == 400
    assert "does not answer at <strong>192.168.9.9:8000</strong>" in text
    assert 'href="http://10.0.0.7:8000"' in text
    assert "ALLOWED_HOSTS" in text
    assert "select fewer rows" not in text
    assert Client(headers={"host": "10.0.0.7:8000"}).get("/").status_code == 200


@pytest.mark.django_db
def test_unknown_address_is_escaped(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["10.0.0.7"]
    page = Client(headers={"host": "<script>alert(1)</script>"}).get("/")
    assert b"<script>alert" not in page.content
