"""Parsing `TYPE:TARGET[=AGENT]`."""

from __future__ import annotations

import pytest
from clevagent.runner.errors import ConfigError
from clevagent.runner.target import agent_of, parse


@pytest.mark.parametrize(
    ("text", "kind", "name", "agent"),
    [
        ("systemd:research-agent.service", "systemd", "research-agent.service", "research-agent.service"),
        ("systemd:research-agent.service=research", "systemd", "research-agent.service", "research"),
        ("systemd:user/bot.service", "systemd", "user/bot.service", "bot.service"),
        ("launchd:com.example.crypto.bot", "launchd", "com.example.crypto.bot", "crypto.bot"),
        ("launchd:gui/501/com.example.crypto.bot", "launchd", "gui/501/com.example.crypto.bot", "crypto.bot"),
        ("docker: bot = the bot ", "docker", "bot", "the bot"),
        ("docker:label:watch=true", "docker", "label:watch=true", "label:watch=true"),
        ("process:/run/bot.pid", "process", "/run/bot.pid", "bot.pid"),
        ("process:python3 bot.py --model=x=writer", "process", "python3 bot.py --model=x", "writer"),
        ("k8s:prod/deployment/bot", "k8s", "prod/deployment/bot", "bot"),
    ],
)
def test_parts(text: str, kind: str, name: str, agent: str) -> None:
    target = parse(text)
    assert (target.type, target.name, target.agent) == (kind, name, agent)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("research-agent", "TYPE:TARGET"),
        (":x", "TYPE:TARGET"),
        ("systemd:", "target is empty"),
        ("systemd:=x", "target is empty"),
        ("systemd:x=", "remove the ="),
        ("systemd:a\nb", "printable"),
        ("systemd:" + "a" * 301, "at most 300"),
        ("systemd:a=" + "b" * 201, "1 to 200"),
    ],
)
def test_invalid_target_explains_the_fix(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(text)


@pytest.mark.parametrize(
    ("name", "agent"),
    [("a", "a"), ("a.b", "a.b"), ("a.b.c", "b.c"), ("a.b.c.d", "c.d"), ("/x/y/a.b.c", "b.c"), ("a/", "a"), ("/", "/")],
)
def test_default_agent_name_matches_published_runner(name: str, agent: str) -> None:
    assert agent_of(name) == agent
