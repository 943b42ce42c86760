"""When the watchdog itself ran, and its outages."""

from __future__ import annotations

from django.db import models


class Pulse(models.Model):
    """When a part of the watchdog last ran: `detector`, `rollup`, `edge` (web processes), `overload` (theirs)."""

    name = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()
    read_to = models.BigIntegerField(default=0, help_text="Of `rollup`: all heartbeats up to this id are rolled up.")
    # Of `rollup`: the newest heartbeat, and how many there were after `read_to`. If there are more by now, some were
    # committed late.
    seen_to = models.BigIntegerField(default=0)
    seen = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Outage(models.Model):
    """A watchdog outage. Deadlines move by it, so no agent is blamed."""

    part = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-ended_at"]

    def __str__(self) -> str:
        return f"{self.part} {self.started_at} – {self.ended_at}"
