"""Child processes of the embedded installation: `python -m watchdog_project.processes NAME …`. See `embedded`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from typing import Any

from celery.exceptions import SecurityWarning
from django.core.exceptions import ImproperlyConfigured

from watchdog_project import demo
from watchdog_project.process_supervisor import die_with_parent

OWNER = "owner@localhost"
# Connections: waiting to be accepted, and open at the same time. Idle ones cost a few kilobytes each.
BACKLOG = 1024
MAX_CONNECTIONS = 20_000
WORKER_THREADS = 16


def web(host: str, port: int) -> None:
    """Serve HTTP: granian's parent process and one worker, because SQLite has a single writer."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels

    Granian(
        "watchdog_project.asgi:application",
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=MAX_CONNECTIONS,
        workers_kill_timeout=6,
        log_level=LogLevels.error,
    ).serve(target_loader=_load_application, wrap_loader=False)


def _load_application() -> Any:
    die_with_parent()
    from watchdog_project.asgi import application

    return application


def worker() -> None:
    """Run the tasks of all queues."""
    # Celery warns when it runs as root. Tasks come from our own broker only and are never pickled.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    _celery("worker", "-P", "threads", "-c", str(WORKER_THREADS), "-Q", "celery,alerts", *quiet)


def beat() -> None:
    """Send the periodic tasks."""
    _celery("beat", "--pidfile=")


def mail() -> None:
    """Take pings by e-mail."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("receive_ping_mail")


def _celery(*arguments: str) -> None:
    from watchdog_project.celery import app

    app.start(argv=["--quiet", *arguments])


def prepare(*, new_key: bool, with_demo: bool) -> None:
    """Migrate the database; print the operator's sign-in link and any new keys as JSON.

    Creates the operator with a first team, project and key if there is no operator yet.
    """
    import django
    from django.core.management import call_command

    django.setup()
    from watchdog_project.checks import refuse_unsafe_start

    try:
        refuse_unsafe_start()
    except ImproperlyConfigured as refusal:
        sys.exit(f"unsafe configuration. {refusal}")
    call_command("migrate", interactive=False, verbosity=0)
    from billing import services as billing
    from teams import sign_in_links
    from teams.actors import WATCHDOG
    from teams.models import User

    operator = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if operator is None or new_key:
        owner = operator.email if operator else OWNER
        account = _create_project(team="My team", project="Production", owner=owner, operator=True)
    else:
        billing.lift_limits(operator=operator, actor=WATCHDOG)
        owner, account = operator.email, {"sign_in_url": sign_in_links.sign_in_url(operator)}
    if with_demo:
        account["demo_key"] = _demo_key(owner)
    sys.stdout.write(json.dumps(account))


def _create_project(**options: Any) -> dict[str, Any]:
    from django.core.management import call_command

    output = io.StringIO()
    call_command("create_project", json=True, stdout=output, **options)
    created: dict[str, Any] = json.loads(output.getvalue())
    return created


def _demo_key(owner: str) -> str:
    """Create a key for the demo agents' project; revoke the keys of earlier demos."""
    from django.utils import timezone

    from teams import keys, services
    from teams.models import ApiKey

    created = _create_project(team=demo.TEAM, project=demo.PROJECT, owner=owner, plan="enterprise")
    key: str = created["api_key"]
    earlier = ApiKey.objects.filter(project=created["project_id"], revoked_at=None).exclude(prefix=keys.prefix_of(key))
    for old in earlier:
        services.revoke_key(key=old, actor=owner, now=timezone.now())
    return key


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["web", "worker", "beat", "mail", "prepare"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--new-key", action="store_true")
    parser.add_argument("--demo", action="store_true")
    options = parser.parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")
    if argv is None:
        die_with_parent()
    if options.part == "web":
        web(options.host, options.port)
    elif options.part == "prepare":
        prepare(new_key=options.new_key, with_demo=options.demo)
    else:
        {"worker": worker, "beat": beat, "mail": mail}[options.part]()


if __name__ == "__main__":
    main()
