"""The ways to a first heartbeat: what to paste for each, complete but for the key, if it is not at hand. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class Block(NamedTuple):
    """Something to copy. `id` is its name on the page, `what` what its button copies."""

    id: str
    text: str
    what: str


class Way(NamedTuple):
    key: str
    title: str
    blocks: list[Block]
    hint: str


def ways(key: str, server: str, agent: str) -> list[Way]:
    """All of them, the shortest first. The first block of a framework's is that of Python: it needs the client, too."""
    install = f"pip install --index-url {server}/simple/ {_trusted(server)}clevagent"
    init = f'clevagent.init(api_key="{key}", agent="{agent}", endpoint="{server}")'
    where = f"export CLEVAGENT_API_KEY={key} CLEVAGENT_ENDPOINT={server}"
    start = "clevagent-runner start --watch"
    client = "the line that installs the client"
    return [
        Way(
            "python",
            "Python",
            [
                Block("python-install", install, client),
                Block(
                    "python-lines",
                    f'import clevagent\n{init}\nclevagent.ping("ok", "page 3 done")',
                    "the lines of Python",
                ),
            ],
            "init once at the start; from then on the program reports by itself. ping wherever work has moved. "
            "The client comes from this server and needs nothing else.",
        ),
        Way(
            "systemd",
            "systemd",
            [
                Block("systemd-install", install, "the line that installs the runner"),
                Block("systemd-runner", f"{where}\n{start} systemd:{agent}.service={agent}", "the runner command"),
            ],
            "A runner watches from outside, for an agent that cannot be changed. Through it the agent can also be "
            "restarted and stopped from here.",
        ),
        Way(
            "docker",
            "Docker",
            [
                Block("docker-install", install, "the line that installs the runner"),
                Block("docker-runner", f"{where}\n{start} docker:{agent}", "the runner command"),
            ],
            "A runner watches from outside, by the container's name; docker:label:KEY=VALUE watches every container "
            "with a label.",
        ),
        Way(
            "curl",
            "curl",
            [Block("curl-command", _curl(key, server, agent), "the curl command")],
            "From anything that speaks HTTP, at least once a minute.",
        ),
        Way(
            "langchain",
            "LangChain",
            [
                Block("langchain-install", install, client),
                Block("langchain-lines", _langchain(init), "the lines for LangChain"),
            ],
            "Tools, models and steps report by themselves, in LangGraph, too.",
        ),
        Way(
            "crewai",
            "CrewAI",
            [Block("crewai-install", install, client), Block("crewai-lines", _crewai(init), "the lines for CrewAI")],
            "Steps, tools and models of the crew report by themselves.",
        ),
    ]


def _curl(key: str, server: str, agent: str) -> str:
    return (
        f"curl -X POST {server}/api/v1/heartbeat \\\n  -H 'X-API-Key: {key}' \\\n"
        f"""  -H 'Content-Type: application/json' \\\n  -d '{{"agent": "{agent}", "status": "ok"}}'"""
    )


def _langchain(init: str) -> str:
    return (
        "import clevagent\nfrom clevagent.integrations.langchain import ClevAgentCallbackHandler\n"
        f'{init}\nagent.invoke(question, config={{"callbacks": [ClevAgentCallbackHandler()]}})'
    )


def _crewai(init: str) -> str:
    return (
        "import clevagent\nfrom clevagent.integrations.crewai import clevagent_step_callback\n"
        f"{init}\nCrew(agents=agents, tasks=tasks, step_callback=clevagent_step_callback).kickoff()"
    )


def _trusted(server: str) -> str:
    """What pip asks for where there is no TLS, except on this machine itself."""
    url = urlsplit(server)
    host = url.hostname or ""
    local = host in ("localhost", "::1") or host.startswith("127.")
    return "" if url.scheme == "https" or local else f"--trusted-host {host} "
