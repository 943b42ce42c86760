"""`manage.py reprice`: what stored heartbeats cost by the prices as they are known now."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from agents.domain.money import dollars
from agents.storage import repricing, rollups
from agents.storage.repricing import Changed
from teams.models import Project
from teams.services import audit


class Command(BaseCommand):
    help = "Price stored heartbeats again, after the price list or a project's own prices changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", type=int, metavar="ID", help="Only this one; else all.")
        parser.add_argument(
            "--since",
            type=_day,
            metavar="YYYY-MM-DD",
            help="From the midnight of this day, there; else all that is kept.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Say what would change, and change nothing.")

    def handle(self, **options: Any) -> None:
        now, dry = timezone.now(), bool(options["dry_run"])
        projects = Project.objects.select_related("team").order_by("pk")
        if options["project"] is not None:
            projects = projects.filter(pk=options["project"])
            if not projects:
                raise CommandError(f"There is no project {options['project']}.")
        for project in projects:
            self._reprice(project, _since(project, options["since"], now), now, dry=dry)

    def _reprice(self, project: Project, since: datetime, now: datetime, *, dry: bool) -> None:
        changed = [found for found in repricing.reprice(project, since, now, dry=dry) if found.changed]
        for found in changed:
            self.stdout.write(f"{project} / {found.agent}: {_in_words(found)}")
        if not changed:
            self.stdout.write(f"{project}: nothing changes")
        elif dry:
            self.stdout.write(f"{project}: nothing was written (--dry-run)")
        else:
            data = {"since": since.isoformat(), "agents": {found.agent.name: _as_data(found) for found in changed}}
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
        raise ArgumentTypeError(f"{text} is not a day such as 2026-11-01") from None


def _since(project: Project, day: date | None, now: datetime) -> datetime:
    if day is None:
        return (now - rollups.OLDEST).astimezone(UTC)
    return datetime.combine(day, time.min, ZoneInfo(project.time_zone))


def _in_words(found: Changed) -> str:
    before, after = found.before, found.after
    return (
        f"{found.changed:,} of {found.read:,} heartbeats, {dollars(before['cost'])} → {dollars(after['cost'])}, "
        f"tokens without a price {before['unpriced']:,} → {after['unpriced']:,}"
    )


def _as_data(found: Changed) -> dict[str, Any]:
    return {"heartbeats": found.changed, "before": found.before, "after": found.after}
