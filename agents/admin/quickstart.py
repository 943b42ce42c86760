"""What to paste for a first heartbeat, per language or tool; complete, except for a key that is not known. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class Block(NamedTuple):
    """Text to copy. `id` is its HTML id, `what` completes the button's label "Copy"."""

    id: str
    text: str
    what: str


class Tab(NamedTuple):
    key: str
    title: str
    blocks: list[Block]
    hint: str


def tabs(key: str, server: str, agent: str) -> list[Tab]:
    """Shortest first. Tabs of frameworks also start with installing the client."""
    install = f"pip install --index-url {server}/simple/ {_trusted(server)}clevagent"
    init = f'clevagent.init(api_key="{key}", agent="{agent}", endpoint="{server}")'
    where = f"export CLEVAGENT_API_KEY={key} CLEVAGENT_ENDPOINT={server}"
    start = "clevagent-runner start --watch"
    client = "the install command"
    return [
        Tab(
            "python",
            "Python",
            [
                Block("python-install", install, client),
                Block(
                    "python-lines",
                    f'import clevagent\n{init}\nclevagent.ping("ok", "page 3 done")',
                    "the Python code",
                ),
            ],
            "Call init() once at startup and ping() whenever work progresses. Heartbeats are sent automatically. "
            "The client is served by this server and has no dependencies.",
        ),
        Tab(
            "systemd",
            "systemd",
            [
                Block("systemd-install", install, "the install command"),
                Block("systemd-runner", f"{where}\n{start} systemd:{agent}.service={agent}", "the runner command"),
            ],
            "A runner monitors an agent from outside, without changing its code. You can also restart and stop the "
            "agent from here.",
        ),
        Tab(
            "docker",
            "Docker",
            [
                Block("docker-install", install, "the install command"),
                Block("docker-runner", f"{where}\n{start} docker:{agent}", "the runner command"),
            ],
            "A runner monitors the container by name. Use docker:label:KEY=VALUE for every container with a label.",
        ),
        Tab(
            "curl",
            "curl",
            [Block("curl-command", _curl(key, server, agent), "the curl command")],
            "From anything that speaks HTTP. Send it at least once a minute.",
        ),
        Tab(
            "langchain",
            "LangChain",
            [
                Block("langchain-install", install, client),
                Block("langchain-lines", _langchain(init), "the LangChain code"),
            ],
            "Tools, models and steps are reported automatically, also in LangGraph.",
        ),
        Tab(
            "crewai",
            "CrewAI",
            [Block("crewai-install", install, client), Block("crewai-lines", _crewai(init), "the CrewAI code")],
            "The crew’s steps, tools and models are reported automatically.",
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
    """The option pip needs for a host without TLS, unless it is localhost."""
    url = urlsplit(server)
    host = url.hostname or ""
    local = host in ("localhost", "::1") or host.startswith("127.")
    return "" if url.scheme == "https" or local else f"--trusted-host {host} "
