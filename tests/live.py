"""The surroundings of an installation in live tests: mail, webhooks, an HTTP client for pages, and processes."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import psycopg
from aiosmtpd.controller import Controller
from standardwebhooks import Webhook

from tests.alerts.receiver import Receiver, responds
from tests.flows.installation import PATIENCE, ROOT, Installation, environment, free_port


@dataclass
class Arrival:
    """A mail or webhook; `at` is a Unix timestamp, `text` the mail's subject or the webhook's raw body."""

    at: float
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Inbox:
    """A mail server and a webhook receiver."""

    def __init__(self) -> None:
        self.mails: list[Arrival] = []
        self.hooks: list[Arrival] = []
        self.secret = ""

    def __enter__(self) -> Inbox:
        self.smtp = Controller(self, hostname="127.0.0.1", port=free_port())
        self.smtp.start()
        self.receiver = Receiver(answer=self._take)
        self.receiver.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.smtp.stop()
        self.receiver.__exit__(None, None, None)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        mail = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(Arrival(time.time(), str(mail["Subject"]), dict(mail.items())))
        return "250 OK"

    def _take(self, peer: Any) -> None:
        request = self.receiver.requests[-1]
        self.hooks.append(Arrival(time.time(), request.body.decode(), request.headers))
        responds("204 No Content")(peer)

    @property
    def mail_url(self) -> str:
        return f"smtp://127.0.0.1:{self.smtp.port}"

    def hooks_of(self, agent: str) -> list[Arrival]:
        """The webhooks about an agent, after verifying every signature."""
        for hook in self.hooks:
            Webhook(self.secret).verify(hook.text, hook.headers)
        return [hook for hook in list(self.hooks) if hook.body["data"]["agent"]["name"] == agent]

    def types_of(self, agent: str) -> list[str]:
        return [hook.body["type"] for hook in self.hooks_of(agent)]

    def mails_of(self, agent: str) -> list[str]:
        """The subjects of the mails about an agent, without its name."""
        subjects = [mail.text for mail in list(self.mails)]
        return [text.removeprefix(agent).strip(": ") for text in subjects if text.startswith(agent)]


class Browser:
    """Keeps cookies and submits forms."""

    def __init__(self) -> None:
        self.jar = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.jar))

    def get(self, url: str) -> str:
        return self._open(Request(url))

    def post(self, url: str, **fields: str) -> str:
        """Submit a form of a page that was opened before; returns the page that follows."""
        token = next(cookie.value or "" for cookie in self.jar if cookie.name == "csrftoken")
        return self._open(Request(url, urlencode({**fields, "csrfmiddlewaretoken": token}).encode()))

    def _open(self, request: Request) -> str:
        with self.opener.open(request, timeout=PATIENCE) as answer:
            page: str = answer.read().decode()
            return page


@contextmanager
def database() -> Iterator[dict[str, str]]:
    """The environment of an installation with its own database on the server that the tests use."""
    server = os.environ.get("DATABASE_URL")
    if not server:
        yield {}
        return
    name = f"live_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield {
                "DATABASE_URL": f"{server.rpartition('/')[0]}/{name}",
                "REDIS_URL": f"{os.environ['REDIS_URL'].rpartition('/')[0]}/{10 + os.getpid() % 6}",
                "SECRET_KEY": os.environ["SECRET_KEY"],
            }
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def create_project(
    installation: Installation, owner: str, scope: str, team: str = "T", project: str = "P"
) -> dict[str, Any]:
    """Run `manage.py create_project` for the installation; its answer with a new key and sign-in link.

    The team is on the largest plan, because tests send more requests than people do.
    """
    words = f"create_project --owner {owner} --plan enterprise --scope {scope} --json"
    base = f"http://127.0.0.1:{installation.port}"
    env = environment(**installation.env, DATA_DIR=str(installation.folder), BASE_URL=base)
    argv = [sys.executable, "manage.py", *words.split(), "--team", team, "--project", project]
    done = subprocess.run(argv, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


class Program:
    """A process whose output can be read, and input written, while it runs."""

    def __init__(self, log: Path, *argv: str, **env: str) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                text=True,
                cwd=ROOT,
                env=environment(PYTHONUNBUFFERED="1", **env),
            )

    def tell(self, *lines: str) -> None:
        assert self.process.stdin
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def lines(self, text: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if text in line]

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        """Kill it if it is still running."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
