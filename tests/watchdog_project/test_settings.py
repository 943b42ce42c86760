"""Generated settings: the secret key, the broker's socket, the address."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from watchdog_project.settings import _stored_secret_key, broker_socket

SHOW_SECRET = """
import sys, pathlib
from watchdog_project.settings import _stored_secret_key
print(_stored_secret_key(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.live
def test_concurrent_starts_share_one_secret_key(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    argv = [sys.executable, "-c", SHOW_SECRET, str(folder)]
    starts = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    shown = {start.communicate(timeout=180)[0].strip() for start in starts}
    assert len(shown) == 1
    assert len(shown.pop()) >= 50
    assert [path.name for path in folder.iterdir()] == ["secret_key"]


def test_secret_key_is_stable_and_private(tmp_path: Path) -> None:
    assert _stored_secret_key(tmp_path) == _stored_secret_key(tmp_path)
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("length", [10, 60, 90, 110, 300])
def test_broker_socket_path_is_short_enough(length: int) -> None:
    path = broker_socket(Path("/" + "d" * length))
    assert len(bytes(path)) <= 107


def test_broker_socket_is_unique_per_directory() -> None:
    long = "/" + "d" * 150
    assert broker_socket(Path(long)) != broker_socket(Path(long + "2"))
    assert broker_socket(Path(long)) == broker_socket(Path(long))
    assert broker_socket(Path("/data")) == Path("/data/broker.sock")


@pytest.mark.postgres
@pytest.mark.django_db
def test_postgresql_jit_is_off() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == ("off",)


def shown_address(folder: Path, **environment: str) -> str:
    argv = [sys.executable, "-c", "from watchdog_project import settings; print(settings.BASE_URL)"]
    plain = {name: value for name, value in os.environ.items() if name not in ("BASE_URL", "DATABASE_URL", "REDIS_URL")}
    environment = {**plain, "DATA_DIR": str(folder), **environment}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.live
def test_commands_use_the_served_address(tmp_path: Path) -> None:
    assert shown_address(tmp_path) == "http://127.0.0.1:8000"
    (tmp_path / "address").write_text("http://127.0.0.1:9123")
    assert shown_address(tmp_path) == "http://127.0.0.1:9123"
    assert shown_address(tmp_path, BASE_URL="https://watch.example.com/") == "https://watch.example.com"


SHOW_REPORT = """
import json, sys
import sentry_sdk
import watchdog_project.settings
sent = []
sentry_sdk.get_client().transport.capture_envelope = sent.append
def look_up(raw):
    raise OSError("away")
try:
    look_up("cv_" + "x" * 40)
except OSError:
    sentry_sdk.capture_exception()
sys.stdout.write(str([envelope.serialize() for envelope in sent]))
"""


@pytest.mark.live
def test_error_report_contains_no_key(tmp_path: Path) -> None:
    there = {**os.environ, "SENTRY_DSN": "http://public@127.0.0.1:9/1", "DATA_DIR": str(tmp_path)}
    report = subprocess.run([sys.executable, "-c", SHOW_REPORT], env=there, capture_output=True, text=True, check=True)
    assert "look_up" in report.stdout
    assert "x" * 40 not in report.stdout
