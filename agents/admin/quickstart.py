"""What to paste for a first heartbeat, per language or tool; complete, except for a key that is not known. Pure."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from agents.doors import setup


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
    runner = f"export CLEVAGENT_API_KEY={key} CLEVAGENT_ENDPOINT={server}\nclevagent-runner start --watch"
    return [
        _python_tab(install, init),
        _typescript_tab(key, server, agent),
        _systemd_tab(install, f"{runner} systemd:{agent}.service={agent}"),
        _docker_tab(install, f"{runner} docker:{agent}"),
        _job_tab(install, f"export CLEVAGENT_API_KEY={key} CLEVAGENT_ENDPOINT={server}", agent),
        _curl_tab(_curl(key, server, agent)),
        _powershell_tab(_powershell(key, server, agent)),
        *_framework_tabs(install, init),
        *map(_door_tab, setup.setups(key, server, agent)),
    ]


def _door_tab(door: setup.Setup) -> Tab:
    """A program that reports without the client."""
    block = Block(f"{door.key}-setup", door.text, f"the text for {door.where}")
    return Tab(door.key, door.title, [block], f"For {door.where}. {door.hint}")


def _install(tab: str, command: str) -> Block:
    return Block(f"{tab}-install", command, "the install command")


def _python_tab(install: str, init: str) -> Tab:
    lines = f'import clevagent\n{init}\nclevagent.ping("ok", "page 3 done")'
    hint = (
        "Call init() once at startup and ping() whenever work progresses. Heartbeats are sent automatically. "
        "The client is served by this server and has no dependencies."
    )
    return Tab("python", "Python", [_install("python", install), Block("python-lines", lines, "the Python code")], hint)


def _typescript_tab(key: str, server: str, agent: str) -> Tab:
    lines = (
        f'import * as clevagent from "clevagent";\nclevagent.init({{ apiKey: "{key}", agent: "{agent}", '
        f'endpoint: "{server}" }});\nclevagent.ping("ok", "page 3 done");'
    )
    hint = (
        "For Node 20 and later, and Bun. Call init() before creating model clients, so that their tokens are counted. "
        f"In Deno, import {server}/npm/clevagent.js instead of installing it."
    )
    install = _install("typescript", f"npm install {server}/npm/clevagent.tgz")
    return Tab("typescript", "TypeScript", [install, Block("typescript-lines", lines, "the TypeScript code")], hint)


def _systemd_tab(install: str, command: str) -> Tab:
    hint = (
        "A runner monitors an agent from outside, without changing its code. You can also restart and stop the agent "
        "from here."
    )
    blocks = [_install("systemd", install), Block("systemd-runner", command, "the runner command")]
    return Tab("systemd", "systemd", blocks, hint)


def _docker_tab(install: str, command: str) -> Tab:
    hint = "A runner monitors the container by name. Use docker:label:KEY=VALUE for every container with a label."
    blocks = [_install("docker", install), Block("docker-runner", command, "the runner command")]
    return Tab("docker", "Docker", blocks, hint)


def _job_tab(install: str, settings: str, agent: str) -> Tab:
    lines = f'{settings}\nclevagent run --agent {agent} --cron "0 2 * * *" -- ./backup.sh'
    hint = (
        "Any command in any language, run by cron, a timer or by hand. Start, end, exit status and missed runs are "
        "reported. Without the client: see the documentation of jobs."
    )
    return Tab("job", "Job", [_install("job", install), Block("job-lines", lines, "the command")], hint)


def _curl_tab(command: str) -> Tab:
    hint = "From anything that speaks HTTP. Send it at least once a minute."
    return Tab("curl", "curl", [Block("curl-command", command, "the curl command")], hint)


def _powershell_tab(command: str) -> Tab:
    hint = "On Windows and elsewhere, without anything to install. Send it at least once a minute."
    return Tab("powershell", "PowerShell", [Block("powershell-command", command, "the PowerShell command")], hint)


def _framework_tabs(install: str, init: str) -> list[Tab]:
    langchain = Block("langchain-lines", _langchain(init), "the LangChain code")
    crewai = Block("crewai-lines", _crewai(init), "the CrewAI code")
    langchain_hint = "Tools, models and steps are reported automatically, also in LangGraph."
    crewai_hint = "The crew’s steps, tools and models are reported automatically."
    return [
        Tab("langchain", "LangChain", [_install("langchain", install), langchain], langchain_hint),
        Tab("crewai", "CrewAI", [_install("crewai", install), crewai], crewai_hint),
    ]


def _curl(key: str, server: str, agent: str) -> str:
    return (
        f"curl -X POST {server}/api/v1/heartbeat \\\n  -H 'X-API-Key: {key}' \\\n"
        f"""  -H 'Content-Type: application/json' \\\n  -d '{{"agent": "{agent}", "status": "ok"}}'"""
    )


def _powershell(key: str, server: str, agent: str) -> str:
    return (
        f'$Body = @{{ agent = "{agent}"; status = "ok" }} | ConvertTo-Json\n'
        f'Invoke-RestMethod -Uri "{server}/api/v1/heartbeat" -Method Post -Body $Body `\n'
        f'  -Headers @{{ "X-API-Key" = "{key}" }} -ContentType "application/json"'
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
