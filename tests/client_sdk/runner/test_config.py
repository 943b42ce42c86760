"""The TOML file and the options, and the messages about invalid ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner import cli, config
from clevagent.runner.errors import ConfigError

WHOLE = """
endpoint = "http://127.0.0.1:9000/api/v1"
api_key_file = "{key}"
interval = 10
name = "host-1"
restart_on_down = true
log_level = "debug"

[[targets]]
type = "systemd"
target = "research-agent.service"
agent = "research"
labels = {{ team = "research" }}
restart_on_down = false
progress_timeout = 900
probe = {{ log = "/var/log/bot.log" }}

[[targets]]
type = "process"
target = "bot"
command = ["python3", "bot.py"]
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CLEVAGENT_API_KEY", "CLEVAGENT_API_KEY_FILE", "CLEVAGENT_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))


def settings(*words: str) -> config.Settings:
    return cli.read_settings(cli.parser().parse_args(["start", *words]))


def toml(tmp_path: Path, text: str) -> str:
    (tmp_path / "runner.toml").write_text(text)
    return str(tmp_path / "runner.toml")


def test_file_supports_every_option(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("cv_file\n")
    found = settings("--config", toml(tmp_path, WHOLE.format(key=tmp_path / "key")))
    assert (found.endpoint, found.api_key, found.interval) == ("http://127.0.0.1:9000", "cv_file", 10)
    assert (found.name, found.log_level) == ("host-1", "DEBUG")
    assert found.state == str(tmp_path / "state/runner-host-1.json")
    first, second = found.targets
    assert (str(first), first.agent, first.labels) == (
        "systemd:research-agent.service",
        "research",
        {"team": "research"},
    )
    assert (first.restart_on_down, first.progress_timeout, first.probe) == (False, 900, {"log": "/var/log/bot.log"})
    assert (second.restart_on_down, second.options) == (True, {"command": ["python3", "bot.py"]})


def test_options_override_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("cv_file\n")
    file = toml(tmp_path, WHOLE.format(key=tmp_path / "key"))
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_environment")
    monkeypatch.setenv("CLEVAGENT_ENDPOINT", "http://127.0.0.1:1")
    found = settings("--config", file, "--heartbeat-interval", "5", "--watch", "systemd:more.service")
    assert (found.api_key, found.endpoint, found.interval) == ("cv_environment", "http://127.0.0.1:1", 5)
    assert len(found.targets) == 3
    assert settings("--config", file, "--endpoint", "http://127.0.0.1:2").endpoint == "http://127.0.0.1:2"


def test_published_options_and_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_1")
    found = settings("--watch", "systemd:a.service")
    assert (found.endpoint, found.interval, found.log_level) == ("http://127.0.0.1:8000", 30, "INFO")
    assert not found.targets[0].restart_on_down
    assert settings("--watch", "systemd:a.service", "--restart-on-down").targets[0].restart_on_down


def test_key_on_the_command_line_warns(capsys: pytest.CaptureFixture[str]) -> None:
    assert settings("--watch", "systemd:a.service", "--api-key", "cv_1").api_key == "cv_1"
    warned = capsys.readouterr().err
    assert "CLEVAGENT_API_KEY" in warned
    assert "cv_1" not in warned


@pytest.mark.parametrize("text", ["cv_1\n", "CLEVAGENT_API_KEY=cv_1\n", 'CLEVAGENT_API_KEY="cv_1"'])
def test_key_file_formats(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    assert settings("--watch", "systemd:a.service", "--api-key-file", str(tmp_path / "key")).api_key == "cv_1"


def labelled(labels: dict[str, str]) -> str:
    """A target's table with labels."""
    table = ", ".join(f'"{name}" = "{value}"' for name, value in labels.items())
    return f"[[targets]]\ntype = 'systemd'\ntarget = 'a'\nlabels = {{ {table} }}\n"


def test_paths_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text("cv_file")
    file = toml(
        tmp_path, "api_key_file = '~/key'\nstate = '~/runner.json'\n[[targets]]\ntype = 'systemd'\ntarget = 'a'\n"
    )
    found = settings("--config", file)
    assert (found.api_key, found.state) == ("cv_file", str(tmp_path / "runner.json"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Nothing to watch"),
        (("--watch", "vm:a"), "vm: is not a target type; use one of systemd"),
        (("--watch", "systemd:"), "target is empty"),
        (("--watch", "systemd:a.service", "--watch", "systemd:a.service=b"), "listed twice"),
        (("--watch", "systemd:a.service=x", "--watch", "systemd:b.service=x"), "name one with =AGENT"),
        (("--watch", "systemd:a b"), "not a unit name"),
        (("--watch", "systemd:a.service"), "CLEVAGENT_API_KEY"),
        (("--watch", "systemd:a.service", "--api-key", "k", "--endpoint", "server"), "http://"),
        (("--watch", "systemd:a.service", "--api-key", "k", "--endpoint", "http://a:b"), "endpoint|Port"),
        (("--watch", "systemd:a.service", "--api-key", "k", "--heartbeat-interval", "0.1"), "from 1 to 3600"),
        (("--watch", "systemd:a.service", "--api-key", "k", "--heartbeat-interval", "nan"), "from 1 to 3600"),
        (("--watch", "systemd:a.service", "--api-key", "k", "--heartbeat-interval", "0"), "from 1 to 3600"),
        (("--watch", "systemd:a.service", "--api-key", "k", "--log-level", "loud"), "one of DEBUG"),
        (("--watch", "systemd:a.service", "--api-key-file", "/none"), "cannot be read"),
        (("--config", "/none.toml"), "cannot be read"),
    ],
)
def test_invalid_options_explain_the_fix(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings(*words)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = 1\nb = = 2\n", "line 2"),
        ("colour = 1\n", "'colour' is unknown; use one of endpoint"),
        ('api_key = "cv_1"\n', "mode 0600"),
        ("targets = 1\n", r"\[\[targets\]\]"),
        ("[[targets]]\ntarget = 'a'\n", "type is missing"),
        ("[[targets]]\ntype = 'systemd'\n", "target is empty"),
        ("[[targets]]\ntype = 'vm'\ntarget = 'a'\n", "not a target type"),
        ("[[targets]]\ntype = 'systemd'\ntarget = 'a'\ncommand = ['x']\n", "'command' is unknown"),
        ("[[targets]]\ntype = 'systemd'\ntarget = 'a'\nrestart_on_down = 1\n", "must be true or false"),
        ("[[targets]]\ntype = 'systemd'\ntarget = 'a'\nlabels = { a = 1 }\n", "labels must be strings"),
        (labelled({f"k{number}": "v" for number in range(21)}), "at most 20 labels, not 21"),
        (labelled({"k" * 51: "v"}), "a name of 1 to 50"),
        (labelled({"k": "v" * 201}), "a value of at most 200"),
        ("[[targets]]\ntype = 'systemd'\ntarget = 'a'\nprogress_timeout = 1\n", "must be from 5 to 31,622,400"),
        ("[[targets]]\ntype = 'systemd'\ntarget = 'a'\nprogress_timeout = inf\n", "must be from 5"),
        ("[[targets]]\ntype = 'systemd'\ntarget = 'a'\nprogress_timeout = true\n", "must be a number"),
        ("[[targets]]\ntype = 'process'\ntarget = 'a'\ncommand = 'x y'\n", "list of strings"),
        ("interval = 'often'\n[[targets]]\ntype = 'systemd'\ntarget = 'a'\n", "interval = 'often' must be a number"),
    ],
)
def test_invalid_files_explain_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_1")
    with pytest.raises(ConfigError, match=says):
        settings("--config", toml(tmp_path, text))


def test_missing_toml_support_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *more: Any) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ConfigError, match="pip install tomli"):
        settings("--config", toml(tmp_path, "interval = 1\n"))


def test_default_state_file_is_per_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/a/.local/state")
    assert config.default_state("") == Path("/home/a/.local/state/clevagent/runner.json")
    assert config.default_state("a/../b") == Path("/home/a/.local/state/clevagent/runner-a_.._b.json")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert config.default_state("").parent == Path("/var/lib/clevagent")


def test_invalid_input_exits_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["start", "--watch", "vm:a", "--api-key-file", "/none"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("clevagent-runner: vm: is not a target type")
    assert said.count("\n") == 1


def test_every_option_has_help() -> None:
    for action in cli.parser()._actions:
        assert action.help
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                assert all(option.help for option in command._actions)
