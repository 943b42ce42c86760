"""Every admin page for every role. Pages are read from the registry and its URLs, so none can be forgotten.

Two teams have rows of every model, marked with the team's name. What one team's people see, ask for or send must
never show or change the other's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import ModelAdmin
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from agents.ingest.registration import create_agent
from agents.models import (
    Agent,
    AgentName,
    Command,
    Heartbeat,
    Incident,
    IncidentEvent,
    IncomingWebhook,
    Maintenance,
    Signal,
)
from alerts.models import Channel, Delivery
from billing.models import Subscription
from teams import services
from teams.models import ApiKey, AuditEntry, FailedSignIn, Invitation, Membership, Project, Team, User
from teams.roles import Action, Role, may
from teams.sso.models import SingleSignOn
from teams.tenant_admin import OperatorAdmin, TeamScoped

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
# In every text of a team's rows; the tail can be searched for without naming the team.
TAIL = "7f3a91"
MINE, THEIRS = f"mine-{TAIL}", f"theirs-{TAIL}"
ROLES = (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)
Pages = dict[type[Model], Any]
# Site pages that belong to no model: what a role needs for their POST. A page that is not here takes none.
POSTS = {
    "first_steps_key": Action.MANAGE,
    "first_steps_names": Action.MANAGE,
    "first_steps_alert": Action.CONFIGURE,
    "policy": Action.CONFIGURE,
}


@dataclass(frozen=True)
class Address:
    """A URL of the admin. `page` is None for pages that belong to no model."""

    path: str
    name: str
    page: ModelAdmin[Any] | None
    of_row: bool = False

    def __str__(self) -> str:
        return f"/admin/{self.path}"

    def of(self, pk: object) -> str:
        return str(self).replace("<object_id>", str(pk))


def registry() -> Pages:
    return dict(admin.site._registry)


def patterns() -> Iterator[tuple[str, str]]:
    """Route and name of each URL, with `<name>` for its parameters."""
    for pattern in admin.site.get_urls():
        inner: list[Any] = getattr(pattern, "url_patterns", [pattern])
        prefix = "" if inner == [pattern] else str(pattern.pattern)
        for one in inner:
            yield re.sub(r"<\w+:(\w+)>", r"<\1>", prefix + str(one.pattern)), str(one.name)


def page_at(route: str) -> ModelAdmin[Any] | None:
    found = [
        page for model, page in registry().items() if route.startswith(f"{model._meta.label_lower.replace('.', '/')}/")
    ]
    return found[0] if found else None


def addresses() -> list[Address]:
    found: list[Address] = []
    for route, name in patterns():
        page = page_at(route)
        for path in filled(route, page):
            found.append(Address(path, name, page, "<object_id>" in path))
    return found


def filled(route: str, page: Any) -> list[str]:
    """The route once per value of its parameters; without routes that Django answers the same way for everyone."""
    if "<content_type_id>" in route or route.startswith(("^", "(?P")) or route in ("login/", "logout/"):
        return []
    words = {
        "<name>": [button.name for button in getattr(page, "buttons", ())],
        "<part>": getattr(page, "live_parts", ()),
    }
    for slot, choices in words.items():
        if slot in route:
            return [route.replace(slot, word) for word in choices]
    return [route]


# Rows of every model


def seed(team: Team, mark: str) -> dict[type[Model], Model]:
    """One row of every model for a team, with the team's mark in every text."""
    now, owner = timezone.now(), team.memberships.get(role=Role.OWNER).user
    project = services.create_project(team=team, name=f"{mark} project", actor=owner.email)
    agent = create_agent(project=project, name=f"{mark}-agent", now=now)
    AgentName.objects.create(project=project, agent=agent, name=f"{mark}-alias")
    Heartbeat.objects.create(
        agent=agent, day=now.date(), received_at=now, status="ok", content={"message": f"{mark} message"}
    )
    incident, event = seed_incident(agent, mark)
    channel = Channel.objects.create(
        project=project, kind="email", name=f"{mark} channel", config={"to": [f"ops@{mark}.example.com"]}
    )
    delivery = Delivery.objects.create(event=event, channel=channel, message_id=mark, last_error=f"{mark} error")
    invitation = services.invite(
        team=team, email=f"invited@{mark}.example.com", role=Role.VIEWER, invited_by=owner, now=now
    )[0]
    later = now + timedelta(hours=1)
    window = Maintenance.objects.create(
        project=project, reason=f"{mark} reason", starts_at=later, ends_at=later + timedelta(hours=1)
    )
    rows: list[Model] = [
        window, team, project, agent, incident, channel, delivery, invitation, seed_command(agent, incident, mark),
        services.issue_key(project=project, name=f"{mark} key", actor=owner.email)[0],
        IncomingWebhook.objects.create(project=project, kind="github", name=f"{mark} webhook", secret=f"{mark} secret"),
        services.audit(team=team, actor=owner.email, action="seeded", target=f"{mark} target"),
        Subscription.objects.update_or_create(team=team, defaults={"plan": "pro"})[0],
        team.memberships.get(role=Role.OWNER),
        owner,
        SingleSignOn.objects.create(team=team, name=f"{mark} provider", client_secret=f"{mark} secret"),
        FailedSignIn.objects.create(username=f"{mark}@example.com", failures_since_start=1),
    ]  # fmt: skip
    for row in rows:
        kind = ContentType.objects.get_for_model(row)
        LogEntry.objects.create(
            user=owner, content_type=kind, object_id=str(row.pk), object_repr=f"{mark} log", action_flag=2
        )
    return {type(row): row for row in rows}


def seed_incident(agent: Agent, mark: str) -> tuple[Incident, IncidentEvent]:
    now = timezone.now()
    what = {"kind": "stalled", "severity": "critical", "reason": f"{mark} reason", "started_at": now, "opened_at": now}
    incident = Incident.objects.create(project=agent.project, agent=agent, **what)
    Signal.objects.create(incident=incident, agent=agent, evidence={"message": f"{mark} evidence"}, **what)
    agent.state.incident, agent.state.status = incident, "stalled"
    agent.state.restart_type, agent.state.restart_target = "systemd", f"{mark}.service"
    agent.state.last_beat_at, agent.state.beats = now, 3
    agent.state.save()
    return incident, IncidentEvent.objects.create(incident=incident, kind="opened", text=f"{mark} event")


def seed_command(agent: Agent, incident: Incident, mark: str) -> Command:
    return Command.objects.create(
        agent=agent, incident=incident, action="stop", type="systemd", target=f"{mark}.service", state="failed",
        requested_by=f"{mark}@example.com", result=f"{mark} result", expires_at=timezone.now() + timedelta(minutes=5),
    )  # fmt: skip


@dataclass
class World:
    """Two teams with their rows, and a browser per role."""

    mine: dict[type[Model], Model]
    theirs: dict[type[Model], Model]
    browsers: dict[str, Client]


@pytest.fixture
def world(client_of: Callable[[User], Client]) -> World:
    teams, people = {}, {}
    for mark in (MINE, THEIRS):
        owner = User.objects.create_user(f"owner@{mark}.example.com", name=f"{mark} owner")
        teams[mark] = services.create_team(owner=owner, name=f"{mark} team")
        people[mark] = owner
    for role in (Role.VIEWER, Role.MEMBER, Role.ADMIN):
        user = User.objects.create_user(f"{role}@{MINE}.example.com", name=f"{MINE} {role}")
        Membership.objects.create(team=teams[MINE], user=user, role=role)
        people[role] = user
    people |= {Role.OWNER: people[MINE], "stranger": people[THEIRS]}
    people["operator"] = User.objects.create_superuser("operator@example.com")
    browsers = {name: client_of(user) for name, user in people.items()}
    return World(seed(teams[MINE], MINE), seed(teams[THEIRS], THEIRS), browsers)


def stored(rows: dict[type[Model], Model]) -> dict[str, list[Any]]:
    """Every stored row, except for what reading a page may change."""
    changing = {"last_login", "last_used_at"}
    kinds: list[type[Model]] = [*rows, Heartbeat, Signal, IncidentEvent]
    return {
        model._meta.label: [
            {key: value for key, value in row.items() if key not in changing}
            for row in model._default_manager.order_by("pk").values()
        ]
        for model in kinds
    }


def visit(browser: Client, url: str, data: dict[str, Any] | None = None) -> HttpResponse:
    """GET, or POST with `data`. Changes of a POST are rolled back."""
    if data is None:
        return browser.get(url)  # type: ignore[return-value]
    with transaction.atomic():
        answer = browser.post(url, data)
        transaction.set_rollback(True)
    return answer  # type: ignore[return-value]


def shown(answer: Any) -> str:
    """Everything a response reveals."""
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return f"{body.decode()} {answer.headers.get('Location', '')} {answer.headers.get('Content-Disposition', '')}"


def body_for(address: Address, row: Model | None) -> dict[str, Any]:
    """POST data that would do harm if accepted: confirm a deletion, run an action, move the row."""
    sent: dict[str, Any] = {"post": "yes", "reason": "x", "_selected_action": str(row.pk) if row else "1"}
    sent |= {"typed": str(row), "overlap": "0", "to": "off"}
    actions = getattr(address.page, "actions", None) or ()
    if address.name.endswith("_changelist"):
        sent |= {"action": actions[0] if actions else "delete_selected", "index": "0"}
    if address.name == "agents_maintenance_plan" and isinstance(row, Maintenance):
        sent |= {"agents": str(row.project.agents.get().pk), "lasts": "1h"}
    project = getattr(row, "project_id", None)
    return sent | ({"project": project} if project else {})


def visits(rows: dict[type[Model], Model]) -> Iterator[tuple[Address, str, Model | None]]:
    """Every URL, for the rows of one team."""
    for address in addresses():
        row = rows.get(address.page.model) if address.page else rows[Agent]
        yield address, address.of(row.pk if row else 0), row


# What holds


def test_every_admin_model_is_seeded_and_scoped(world: World) -> None:
    assert set(registry()) <= set(world.mine)
    loose = [page for page in registry().values() if not isinstance(page, TeamScoped | OperatorAdmin)]
    assert loose == []
    assert len(addresses()) > 6 * len(registry())


def test_seed_is_visible_to_its_own_team(world: World) -> None:
    """Otherwise the absence of a mark would prove nothing."""
    for model, page in registry().items():
        if isinstance(page, TeamScoped):
            path = f"/admin/{model._meta.label_lower.replace('.', '/')}/"
            assert MINE in shown(world.browsers[Role.OWNER].get(path)), path
            assert THEIRS in shown(world.browsers["stranger"].get(path)), path


def test_stranger_sees_no_other_team(world: World) -> None:
    browser, before = world.browsers["stranger"], stored(world.mine)
    for address, url, row in visits(world.mine):
        for data in (None, body_for(address, row)):
            answer = browser.get(url) if data is None else browser.post(url, data)
            assert MINE not in shown(answer).replace(url, ""), (url, data)
            if address.of_row:
                moved = answer.status_code == 302 and answer.headers["Location"].startswith(url)  # to …/change/
                refused = answer.status_code == 403 and isinstance(address.page, OperatorAdmin)
                assert answer.status_code == 404 or moved or refused, (url, answer.status_code)
            assert answer.status_code < 500
    after = stored(world.mine)
    assert {k: mine_of(v) for k, v in after.items()} == {k: mine_of(v) for k, v in before.items()}


def mine_of(rows: list[Any]) -> list[Any]:
    return [row for row in rows if MINE in str(row)]


def test_stranger_cannot_request_other_teams_rows(world: World) -> None:
    """Filters, searches, form choices, and access through a parent's id."""
    browser = world.browsers["stranger"]
    for model, page in registry().items():
        path = f"/admin/{model._meta.label_lower.replace('.', '/')}/"
        asked = [f"?q={TAIL}", "?_popup=1", *filters_of(page, world.mine)]
        asked += [f"add/?{field.name}={world.mine[field.related_model].pk}" for field in parents_of(model, world.mine)]
        for query in asked:
            answer = browser.get(path + query)
            assert answer.status_code < 500, path + query
            assert MINE not in shown(answer), path + query


def parents_of(model: type[Model], rows: dict[type[Model], Model]) -> list[Any]:
    return [
        field for field in model._meta.fields if isinstance(field, models.ForeignKey) and field.related_model in rows
    ]


def filters_of(page: Any, rows: dict[type[Model], Model]) -> list[str]:
    return [f"?{field.name}__id__exact={rows[field.related_model].pk}" for field in parents_of(page.model, rows)]


@pytest.mark.parametrize("who", ["stranger", Role.OWNER])
def test_autocomplete_offers_own_rows_only(world: World, who: str) -> None:
    foreign = MINE if who == "stranger" else THEIRS
    for model in registry():
        for field in parents_of(model, world.mine):
            label = f"app_label={model._meta.app_label}&model_name={model._meta.model_name}&field_name={field.name}"
            answer = world.browsers[who].get(f"/admin/autocomplete/?term={TAIL}&{label}")
            assert answer.status_code in (200, 403, 404)
            assert foreign not in shown(answer), label


@pytest.mark.parametrize("role", ROLES)
def test_roles_open_permitted_pages_of_their_team(world: World, role: Role) -> None:
    for address, url, _ in visits(world.mine):
        answer = visit(world.browsers[role], url)
        assert THEIRS not in shown(answer), url
        expected = expected_get(address, role)
        assert answer.status_code in expected, (url, answer.status_code, expected)


def expected_get(address: Address, role: Role) -> tuple[int, ...]:
    page: Any = address.page
    if page is None:
        return (200, 286, 302, 400, 403, 404, 405)
    if isinstance(page, OperatorAdmin):
        return (302, 403)
    needed = needed_action(address, posting=False)
    return (200, 302) if needed is not None and may(role, needed) else (302, 403)


def needed_action(address: Address, *, posting: bool) -> Action | None:
    """The permission a URL needs, as its page declares. None: operators only."""
    page: Any = address.page
    last = address.name.removeprefix(f"{page.opts.app_label}_{page.opts.model_name}_")
    declared: dict[str, Action | None] = {"add": page.add_action, "delete": page.delete_action, "press": Action.OPERATE}
    declared |= {"change": page.change_action} if posting else {}
    if last in declared:
        return declared[last]
    permissions = getattr(getattr(page, last, None), "allowed_permissions", ())
    return Action(permissions[0]) if permissions else Action.VIEW


def test_viewer_cannot_change_anything(world: World) -> None:
    """Every request is refused, and nothing changes."""
    browser, before = world.browsers[Role.VIEWER], stored(world.mine)
    for address, url, row in visits(world.mine):
        answer = browser.post(url, body_for(address, row))
        assert answer.status_code < 500, url
        assert THEIRS not in shown(answer), url
        if address.of_row and address.name != "None" and "_history" not in address.name:
            assert answer.status_code in (403, 405), (url, answer.status_code)
    assert stored(world.mine) == before


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN, Role.OWNER])
def test_roles_post_what_is_permitted(world: World, role: Role) -> None:
    for address, url, row in visits(world.mine):
        if address.name.startswith("password_change"):
            continue
        answer = visit(world.browsers[role], url, body_for(address, row))
        assert THEIRS not in shown(answer), url
        if address.page is None:
            allowed = address.name not in POSTS or may(role, POSTS[address.name])
            assert (answer.status_code == 403) is not allowed or answer.status_code == 405, url
        elif address.of_row and address.name != "None" and not isinstance(address.page, OperatorAdmin):
            needed = needed_action(address, posting=True)
            refused = needed is None or not may(role, needed)
            assert (answer.status_code in (403, 405)) is refused or needed is Action.VIEW, (url, answer.status_code)


# On the rows of the seed these find nothing to do, or ask first, whoever asks.
IDLE = {"resume_selected", "maintenance_selected"}


@pytest.mark.parametrize("role", ROLES)
def test_roles_run_permitted_bulk_actions(world: World, role: Role) -> None:
    """Every bulk action of every list, including deletion, works if it is permitted and changes nothing if not."""
    before, tried = stored(world.mine), 0
    for model, page in registry().items():
        if isinstance(page, OperatorAdmin) or page.actions is None:
            continue
        for action, needed in bulk_actions(page).items():
            sent = {"action": action, "_selected_action": str(world.mine[model].pk), "post": "yes", "index": "0"}
            sent["choice"] = "1h"  # how long a pause lasts
            with transaction.atomic():
                answer = world.browsers[role].post(f"/admin/{model._meta.label_lower.replace('.', '/')}/", sent)
                changed = stored(world.mine) != before
                transaction.set_rollback(True)
            assert answer.status_code < 400 or not may(role, needed)
            assert changed is (may(role, needed) and action not in IDLE and not keeps(action, model)), action
            tried += 1
    assert tried > 8


def bulk_actions(page: Any) -> dict[str, Action]:
    """Each action's name and the permission it needs, as the page declares it."""
    named = {name: getattr(page, name).allowed_permissions[0] for name in page.actions or ()}
    found = {name: Action(permission) for name, permission in named.items()}
    return found | ({"delete_selected": page.delete_action} if page.delete_action else {})


def keeps(action: str, model: type[Model]) -> bool:
    """The seeded member is the only owner: admins may not change them, and nobody may remove them."""
    return action == "delete_selected" and model is Membership


@pytest.mark.parametrize("role", [Role.MEMBER, Role.OWNER])
def test_rows_cannot_move_to_another_team(world: World, role: Role) -> None:
    """Forms accept only own parents, and list actions only own rows."""
    before = stored(world.theirs)
    for model, page in registry().items():
        path = f"/admin/{model._meta.label_lower.replace('.', '/')}/"
        parents = {field.name: world.theirs[field.related_model].pk for field in parents_of(model, world.theirs)}
        fields: dict[str, Any] = {
            "name": "smuggled",
            "email": "smuggled@example.com",
            "kind": "agent",
            "role": "viewer",
        }
        answer = world.browsers[role].post(f"{path}add/", {**fields, "scope": "agent", **parents})
        assert THEIRS not in shown(answer), path
        for action in ["delete_selected", *(page.actions or ())]:
            sent = {"action": action, "_selected_action": str(world.theirs[model].pk), "post": "yes"}
            assert THEIRS not in shown(world.browsers[role].post(path, sent)), (path, action)
    after = stored(world.theirs)
    assert {k: theirs_of(v) for k, v in after.items()} == {k: theirs_of(v) for k, v in before.items()}
    assert "smuggled" not in str(after)


def theirs_of(rows: list[Any]) -> list[Any]:
    return [row for row in rows if THEIRS in str(row)]


def test_operator_sees_every_team(world: World) -> None:
    browser = world.browsers["operator"]
    for model in registry():
        body = shown(browser.get(f"/admin/{model._meta.label_lower.replace('.', '/')}/"))
        assert MINE in body, model
        assert THEIRS in body, model
    for rows in (world.mine, world.theirs):
        for _, url, _ in visits(rows):
            assert browser.get(url).status_code < 500, url


def test_anonymous_is_redirected_to_sign_in(world: World, client: Client) -> None:
    for address, url, row in visits(world.mine):
        for data in (None, body_for(address, row)):
            answer = client.get(url) if data is None else client.post(url, data)
            assert MINE not in shown(answer).replace(url, ""), url
            if address.name != "jsi18n":
                assert answer.status_code == 302, url


def test_people_without_a_team_see_nothing(world: World, client_of: Callable[[User], Client]) -> None:
    browser = client_of(User.objects.create_user("loner@example.com"))
    for address, url, _ in visits(world.mine):
        answer = browser.get(url)
        assert MINE not in shown(answer).replace(url, ""), url
        if address.name != "jsi18n":
            assert answer.status_code == 302, url


def test_every_team_model_is_in_the_admin_or_exempt() -> None:
    """A model without a page is shown on another model's page, or never."""
    hidden = {
        "AgentName",
        "AgentState",
        "AgentMemory",
        "DoorNote",
        "Unread",
        "Heartbeat",
        "MonthSpend",
        "OutsideEvent",
        "Refusal",
        "RateCount",
        "AuditPosition",
        "SavedView",
        "Session",
        "Job",
        "KnownBrowser",
        "Rollup",
        "Pulse",
        "Outage",
        "Signal",
        "SignInDomain",
        "Runner",
        "StreamEvent",
        "Policy",
        "Escalation",
        "OnCall",
        "QuietHours",
    }
    ours = {model.__name__ for model in all_models() if model not in registry()}
    assert ours <= hidden | {"IncidentEvent"}
    assert {ApiKey, AuditEntry, Invitation, Membership, Project} <= set(registry())


def all_models() -> list[type[Model]]:
    from django.apps import apps

    labels = ("teams", "sso", "billing", "agents", "alerts")
    return [model for label in labels for model in apps.get_app_config(label).get_models()]
