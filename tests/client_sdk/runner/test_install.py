"""`install`: the written files, the programs run, and that only one private file contains the key."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest
from clevagent.runner import cli, install

from tests.client_sdk.runner.scripted import Scripted

WORDS = ("--watch", "systemd:user/a.service=bot", "--endpoint", "http://127.0.0.1:9", "--user")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_secret")
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    return Scripted(tmp_path / "bin", "systemctl").on_path(monkeypatch)


@pytest.fixture
def launchctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("os.getuid", lambda: 501)
    return Scripted(tmp_path / "bin", "launchctl").on_path(monkeypatch)


def holders_of_the_key(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and b"cv_secret" in path.read_bytes()]


def test_install_writes_and_starts_the_unit(systemctl: Scripted, home: Path) -> None:
    assert cli.main(["install", *WORDS]) == 0
    key = home / "config/clevagent/clevagent-runner.env"
    assert holders_of_the_key(home) == [key]
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text() == "CLEVAGENT_API_KEY=cv_secret\n"
    unit = (home / "config/systemd/user/clevagent-runner.service").read_text()
    assert f"EnvironmentFile={key}\n" in unit
    assert "-m clevagent.runner start --watch systemd:user/a.service=bot --endpoint http://127.0.0.1:9" in unit
    assert "WantedBy=default.target" in unit
    assert systemctl.calls == [
        "--user daemon-reload",
        "--user enable clevagent-runner.service",
        "--user restart clevagent-runner.service",
    ]


def test_reinstall_replaces_the_key(systemctl: Scripted, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(["install", *WORDS])
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_new")
    assert cli.main(["install", *WORDS]) == 0
    assert (home / "config/clevagent/clevagent-runner.env").read_text() == "CLEVAGENT_API_KEY=cv_new\n"
    assert holders_of_the_key(home) == []


def test_dry_run_hides_the_key_and_writes_nothing(
    systemctl: Scripted, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["install", *WORDS, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "EnvironmentFile=" in shown
    assert "$ systemctl --user enable clevagent-runner.service" in shown
    assert "cv_secret" not in shown
    assert systemctl.calls == []
    assert not (home / "config").exists()


def test_named_runner_has_separate_files(systemctl: Scripted, home: Path) -> None:
    cli.main(["install", *WORDS, "--name", "second one", "--restart-on-down"])
    unit = (home / "config/systemd/user/clevagent-runner-second_one.service").read_text()
    assert '--name "second one" --restart-on-down' in unit


def test_systemd_accepts_the_unit(systemctl: Scripted, home: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    cli.main(["install", *WORDS, "--name", "100% $HOME; 'x'"])
    unit = next((home / "config/systemd/user").iterdir())
    ran = subprocess.run([analyze, "verify", "--user", str(unit)], capture_output=True, text=True, check=False)
    assert unit.name not in ran.stderr


def test_system_service_requires_root(
    systemctl: Scripted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["install", "--watch", "systemd:a.service"]) == 2
    assert "sudo, or --user" in capsys.readouterr().err
    assert systemctl.calls == []


def test_systemctl_refusal_is_reported(systemctl: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    systemctl.answers("enable", error="Failed to connect to bus", code=1)
    assert cli.main(["install", *WORDS]) == 2
    assert "Failed to connect to bus" in capsys.readouterr().err


def test_plist_names_the_key_file_on_macos(launchctl: Scripted, home: Path) -> None:
    assert cli.main(["install", *WORDS]) == 0
    key = home / "Library/Application Support/ClevAgent/com.clevagent.runner.key"
    assert holders_of_the_key(home) == [key]
    assert key.stat().st_mode & 0o777 == 0o600
    plist = home / "Library/LaunchAgents/com.clevagent.runner.plist"
    found = plistlib.loads(plist.read_bytes())
    assert found["ProgramArguments"][-2:] == ["--api-key-file", str(key)]
    assert found["RunAtLoad"]
    assert launchctl.calls == ["bootout gui/501/com.clevagent.runner", f"bootstrap gui/501 {plist}"]


def test_unloaded_service_is_fine_on_macos(launchctl: Scripted) -> None:
    launchctl.answers("bootout", error="Boot-out failed: 3: No such process", code=3)
    assert cli.main(["install", *WORDS]) == 0


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("plain=x", "plain=x"),
        ("two words", '"two words"'),
        ('say "x"', '"say \\"x\\""'),
        ("100%", "100%%"),
        ("$HOME", "$$HOME"),
        ("back\\slash", "back\\\\slash"),
        ("a;b", '"a;b"'),
        ("", '""'),
    ],
)
def test_arguments_are_quoted_for_systemd(word: str, quoted: str) -> None:
    assert install.quoted(word) == quoted
