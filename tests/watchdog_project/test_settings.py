"""What the settings make themselves: the secret key, and the broker's socket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from watchdog_project.settings import _kept_secret, broker_socket

SHOW_SECRET = """
import sys, pathlib
from watchdog_project.settings import _kept_secret
print(_kept_secret(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.live
def test_starts_at_the_same_moment_share_one_secret_key(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    argv = [sys.executable, "-c", SHOW_SECRET, str(folder)]
    starts = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    shown = {start.communicate(timeout=180)[0].strip() for start in starts}
    assert len(shown) == 1
    assert len(shown.pop()) >= 50
    assert [path.name for path in folder.iterdir()] == ["secret_key"]


def test_the_secret_key_stays_and_is_for_nobody_else(tmp_path: Path) -> None:
    assert _kept_secret(tmp_path) == _kept_secret(tmp_path)
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("length", [10, 60, 90, 110, 300])
def test_the_brokers_socket_fits_whatever_the_folder(length: int) -> None:
    path = broker_socket(Path("/" + "d" * length))
    assert len(bytes(path)) <= 107


def test_each_folder_has_a_socket_of_its_own() -> None:
    long = "/" + "d" * 150
    assert broker_socket(Path(long)) != broker_socket(Path(long + "2"))
    assert broker_socket(Path(long)) == broker_socket(Path(long))
    assert broker_socket(Path("/data")) == Path("/data/broker.sock")


@pytest.mark.postgres
@pytest.mark.django_db
def test_postgresql_runs_queries_without_compiling_them() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == ("off",)


def shown_address(folder: Path, **environment: str) -> str:
    argv = [sys.executable, "-c", "from watchdog_project import settings; print(settings.BASE_URL)"]
    plain = {name: value for name, value in os.environ.items() if name not in ("BASE_URL", "DATABASE_URL", "REDIS_URL")}
    environment = {**plain, "DATA_DIR": str(folder), **environment}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.live
def test_commands_know_the_address_that_is_served(tmp_path: Path) -> None:
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
def test_a_report_of_an_error_holds_no_key(tmp_path: Path) -> None:
    there = {**os.environ, "SENTRY_DSN": "http://public@127.0.0.1:9/1", "DATA_DIR": str(tmp_path)}
    report = subprocess.run([sys.executable, "-c", SHOW_REPORT], env=there, capture_output=True, text=True, check=True)
    assert "look_up" in report.stdout
    assert "x" * 40 not in report.stdout
