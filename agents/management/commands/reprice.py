"""`manage.py reprice`: recalculates the cost of stored heartbeats with current prices."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from agents.domain.money import dollars
from agents.storage import repricing, retention
from agents.storage.repricing import Changed
from teams.models import Project
from teams.services import audit


class Command(BaseCommand):
    help = "Recalculate the cost of stored heartbeats after the price list or a project's custom prices changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", type=int, metavar="ID", help="Only this project (default: all).")
        parser.add_argument(
            "--since",
            type=_day,
            metavar="YYYY-MM-DD",
            help="From midnight of this day in the project's time zone (default: everything that is kept).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Show what would change without writing anything.")

    def handle(self, **options: Any) -> None:
        now, dry = timezone.now(), bool(options["dry_run"])
        projects = Project.objects.select_related("team").order_by("pk")
        if options["project"] is not None:
            projects = projects.filter(pk=options["project"])
            if not projects:
                raise CommandError(f"Project {options['project']} not found.")
        for project in projects:
            self._reprice(project, _since(project, options["since"], now), now, dry=dry)

    def _reprice(self, project: Project, since: datetime, now: datetime, *, dry: bool) -> None:
        changed = [change for change in repricing.reprice(project, since, now, dry=dry) if change.changed]
        for change in changed:
            self.stdout.write(f"{project} / {change.agent}: {_summary(change)}")
        if not changed:
            self.stdout.write(f"{project}: no changes")
        elif dry:
            self.stdout.write(f"{project}: dry run, nothing written")
        else:
            data = {"since": since.isoformat(), "agents": {change.agent.name: _as_data(change) for change in changed}}
            audit(
                team=project.team,
                actor="manage.py",
                action="project.repriced",
                target=project.name,
                of=project,
                data=data,
            )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text} is not a date like 2026-11-01") from None


def _since(project: Project, day: date | None, now: datetime) -> datetime:
    if day is None:
        return (now - retention.OLDEST).astimezone(UTC)
    return datetime.combine(day, time.min, ZoneInfo(project.time_zone))


def _summary(change: Changed) -> str:
    before, after = change.before, change.after
    return (
        f"{change.changed:,} of {change.read:,} heartbeats, {dollars(before['cost'])} → {dollars(after['cost'])}, "
        f"tokens without a price {before['unpriced']:,} → {after['unpriced']:,}"
    )


def _as_data(change: Changed) -> dict[str, Any]:
    return {"heartbeats": change.changed, "before": change.before, "after": change.after}
