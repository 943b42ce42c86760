"""The SMTP listener for pings. It takes mail for ping addresses only, sends none, and needs no rights.

A mail is accepted once its pings are stored; until then its sender keeps it and tries again.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

from aiosmtpd.smtp import SMTP, Envelope, Session
from django.db import connection
from django.utils import timezone

from agents.api.jobs import mail, pings
from agents.ingest import committer
from agents.ingest.reporter import source_of
from teams.errors import ApiError

# Bytes; what is kept of a mail is far less.
MAX_SIZE: Final = 1024 * 1024
MAX_RECIPIENTS: Final = 20
MAX_CONNECTIONS: Final = 100
# A mail server uses up to about 20 for one destination. Nobody alone takes them all.
MAX_PER_ADDRESS: Final = 25
# Commands of one kind in a connection, and seconds without any.
MAX_COMMANDS: Final = 200
IDLE: Final = 60
THREADS: Final = 4
TAKEN: Final = "250 OK"
UNKNOWN: Final = "550 5.1.1 This address takes no pings"
TOO_MANY: Final = "452 4.5.3 Too many recipients"
LATER: Final = "451 4.3.0 Not stored, send it again"
log = logging.getLogger(__name__)
# It logs the addresses, and with them what is secret in a ping address.
logging.getLogger("mail.log").setLevel(logging.WARNING)
T = TypeVar("T")


class Handler:
    """What aiosmtpd asks. Whatever goes wrong, the sender is asked to try again."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ping-mail")

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        recipient = mail.recipient(address)
        if recipient is None or await self._run(partial(mail.agent_of, recipient)) is None:
            return UNKNOWN
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return TOO_MANY
        envelope.rcpt_tos.append(address)
        return TAKEN

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.content or b""
        # In a thread: a mail may be made to take long, and others must not wait for it.
        read = partial(mail.read, raw if isinstance(raw, bytes) else raw.encode("utf-8", "replace"))
        content = await self._run(read)
        peer = str(session.peer[0]) if isinstance(session.peer, tuple) else ""
        answers = [await self._run(partial(_store, content, address, peer)) for address in envelope.rcpt_tos]
        return next((answer for answer in answers if answer != TAKEN), TAKEN)

    async def handle_exception(self, error: Exception) -> str:
        log.error("a ping by e-mail could not be taken", exc_info=error)
        return LATER

    def close(self) -> None:
        self._threads.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        def with_connection() -> T:
            try:
                return work()
            finally:
                connection.close()  # mails are rare

        return await asyncio.get_running_loop().run_in_executor(self._threads, with_connection)


def _store(content: mail.Mail, address: str, peer: str) -> str:
    """The answer for one recipient. What was stored before is not stored twice."""
    recipient = mail.recipient(address)
    agent = mail.agent_of(recipient) if recipient else None
    if recipient is None or agent is None:  # deleted meanwhile
        return UNKNOWN
    try:
        pings.store(
            agent,
            content.event(recipient),
            body=content.body,
            sender=lambda caller: source_of(caller, peer, ""),
            now=timezone.now(),
            beat_id=content.beat_id(address),
        )
    except ApiError as refusal:
        return LATER if refusal.http_status in (429, 503) else f"550 5.7.1 {refusal.code}"
    return TAKEN


class Listener(SMTP):
    """One connection. Those beyond the limit are asked to come back."""

    # Open connections by the address they come from.
    open_now: ClassVar[Counter[str]] = Counter()
    _peer = ""

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        Listener.open_now[self._peer] += 1
        if Listener.open_now.total() > MAX_CONNECTIONS or Listener.open_now[self._peer] > MAX_PER_ADDRESS:
            transport.write(b"421 4.7.0 Too many connections\r\n")
            transport.close()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        Listener.open_now[self._peer] -= 1
        Listener.open_now += Counter()  # forgets those without any
        super().connection_lost(error)


def connection_for(handler: Handler) -> Listener:
    return Listener(
        handler,
        data_size_limit=MAX_SIZE,
        enable_SMTPUTF8=True,
        hostname="clevagent-watchdog",
        ident="ClevAgent Watchdog",
        timeout=IDLE,
        auth_exclude_mechanism=("LOGIN", "PLAIN"),
        command_call_limit={"*": MAX_COMMANDS},
    )


async def serve(host: str, port: int, started: Callable[[], None] = lambda: None) -> None:
    """Listen until a signal ends the process."""
    loop, handler, ended = asyncio.get_running_loop(), Handler(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(lambda: connection_for(handler), host, port)
    started()
    await ended.wait()
    server.close()
    await asyncio.to_thread(handler.close)
    await asyncio.to_thread(committer.close)
