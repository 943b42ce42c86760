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


@pytest.mark.parametrize(
    ("text", "name", "agent"),
    [
        ("process:python agent.py --mode=fast", "python agent.py --mode=fast", "python agent.py --mode=fast"),
        ("process:python agent.py --mode=fast=bot", "python agent.py --mode=fast", "bot"),
        ("process:python train.py model=gpt rate=2", "python train.py model=gpt rate=2", None),
        ("process:python train.py model=gpt rate=2=bot", "python train.py model=gpt rate=2", "bot"),
        ("process:python agent.py=bot", "python agent.py", "bot"),
        ("process:/run/agent.pid=my bot", "/run/agent.pid", "my bot"),
        ("process:worker=bot", "worker", "bot"),
    ],
)
def test_equals_sign_in_a_command_stays(text: str, name: str, agent: str | None) -> None:
    target = parse(text)
    assert (target.name, target.agent) == (name, agent or name)


@pytest.mark.parametrize("instance", ["agent@eu.west.service", "agent@us.west.service", "agent@1.2.3.service"])
def test_template_instances_keep_their_names(instance: str) -> None:
    assert parse(f"systemd:user/{instance}").agent == instance


@pytest.mark.parametrize(
    ("sent", "agent"),
    [
        ("bot-\U0001f468\u200d\U0001f469", "bot-\U0001f468\u200d\U0001f469"),
        ("my\u00a0bot", "my bot"),
        ("\ufeffbot", "bot"),
    ],
)
def test_agents_are_named_as_on_the_server(sent: str, agent: str) -> None:
    assert parse(f"docker:web={sent}").agent == agent


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\u200b", "half\ud83d"])
def test_unreadable_agent_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="agent name"):
        parse(f"docker:web={name}")


@pytest.mark.parametrize("name", ["skyscanner-price-bot", "sk-learn-trainer-01", "cv-screening-agent.service"])
def test_target_names_are_never_redacted(name: str) -> None:
    assert parse(f"systemd:{name}").agent == name
