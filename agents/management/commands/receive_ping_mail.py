"""`manage.py receive_ping_mail`: takes pings by e-mail."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agents.api.jobs import smtp


class Command(BaseCommand):
    help = "Take pings by e-mail at PING_SMTP_HOST and PING_SMTP_PORT, until the process is ended."

    def handle(self, **options: Any) -> None:
        host, port = settings.PING_SMTP_HOST, settings.PING_SMTP_PORT
        if not port:
            raise CommandError("PING_SMTP_PORT is not set.")
        try:
            asyncio.run(smtp.serve(host, port, lambda: self.stdout.write(f"Taking pings by e-mail at {host}:{port}.")))
        except OSError as error:
            raise CommandError(f"Cannot listen at {host}:{port}: {error.strerror}.") from None
