"""What costs others is limited per person, team and address, in counts that all processes share.

Before, "Resend" mailed a stranger 40 times in 8 s, with words of the sender's choice in the subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.core import mail
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisDown

from agents.ingest.rate_limit import PlanThrottle
from alerts import services as alerts
from alerts.models import Channel, Delivery
from teams import lockouts, rate_limits, services
from teams.accounts import UNASKED
from teams.errors import ApiError
from teams.mail import harmless
from teams.models import ApiKey, Invitation, Project, RateCount, Team, User
from teams.rate_limits import DAY, HOUR, RateLimit
from tests.contracts.test_api_permissions import OPERATIONS

pytestmark = pytest.mark.django_db
THREE = RateLimit("three", 3, HOUR, "tries")


def refused(code: str = "rate_limited") -> Any:
    return pytest.raises(ApiError, check=lambda error: error.code == code)


# Counting


def test_limit_holds_and_starts_anew() -> None:
    now = timezone.now().replace(minute=0)
    assert [rate_limits.take(THREE, "a", now) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert rate_limits.take(THREE, "b", now) == 1
    assert rate_limits.take(THREE, "a", now + timedelta(hours=1)) == 1


def test_several_are_taken_as_far_as_possible() -> None:
    now = timezone.now()
    assert [rate_limits.take(THREE, 7, now, amount=2) for _ in range(3)] == [2, 1, 0]


def test_refusal_says_how_many_and_when() -> None:
    now = timezone.now().replace(minute=50, second=0, microsecond=0)
    for _ in range(3):
        rate_limits.spend(THREE, "a", now)
    with refused() as error:
        rate_limits.spend(THREE, "a", now)
    assert error.value.http_status == 429
    assert error.value.retry_after == 601
    assert "at most 3 per hour" in error.value.message


def test_counts_name_nobody_and_are_purged() -> None:
    now = timezone.now()
    rate_limits.take(THREE, "stranger@example.com", now)
    assert "stranger" not in RateCount.objects.get().key
    rate_limits.purge(now)
    assert RateCount.objects.exists()
    rate_limits.purge(now + timedelta(hours=2))
    assert not RateCount.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_share_one_count() -> None:
    def take(_: int) -> int:
        try:
            return rate_limits.take(THREE, "a", timezone.now())
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(12))) == 3


def test_cache_falls_back_to_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.cache.backends.redis import RedisCache

    from teams.shared_cache import SharedCache

    def down(*args: Any, **kwargs: Any) -> None:
        raise RedisDown

    for name in ("add", "get", "set", "delete", "incr"):
        monkeypatch.setattr(RedisCache, name, down)
    cache = SharedCache("redis://127.0.0.1:1/0", {})
    assert cache.add("attempts", 1)
    assert not cache.add("attempts", 1)
    assert cache.incr("attempts") == 2
    assert caches["database"].get("attempts") == 2


# Mails to strangers


def invite(team: Team, by: User, email: str = "new@example.com") -> Invitation:
    return services.invite(team=team, email=email, role="viewer", invited_by=by, now=timezone.now())[0]


def test_resend_is_limited_per_recipient(owner: User, team: Team, client_of: Any) -> None:
    invitation, browser = invite(team, owner), client_of(owner)
    for _ in range(40):
        page = f"/admin/teams/invitation/{invitation.pk}/send_again/"
        browser.post(page)
        invitation = Invitation.objects.get()
    assert len(mail.outbox) == rate_limits.INVITATIONS_TO_ADDRESS.most - 1


def test_recipient_is_protected_from_all_teams(owner: User, stranger: User, team: Team) -> None:
    other = Team.objects.exclude(pk=team.pk).get()
    for _ in range(rate_limits.INVITATIONS_TO_ADDRESS.most):
        invite(team, owner)
    with refused():
        invite(other, stranger, " New@Example.com")
    assert invite(other, stranger, "else@example.com")


@pytest.mark.parametrize(
    ("path", "field", "email"),
    [
        ("/accounts/password/reset/", "email", "owner@example.com"),
        ("/accounts/password/reset/", "email", "nobody@example.com"),
        ("/accounts/signup/", "email", "owner@example.com"),
    ],
)
def test_strangers_fill_no_mailbox(path: str, field: str, email: str, owner: User, settings: Any) -> None:
    """From many addresses, with an address that is not theirs."""
    settings.ACCOUNT_RATE_LIMITS = {"reset_password": None, "signup": None}
    most = rate_limits.ACCOUNT_MAILS_TO_ADDRESS.most
    for number in range(most + 3):
        Client(REMOTE_ADDR=f"203.0.113.{number}").post(path, {field: email, "password1": "battery horse 42"})
    assert 1 <= len(mail.outbox) <= most
    assert {address for sent in mail.outbox for address in sent.to} == {email}


def test_news_of_an_account_is_always_told() -> None:
    """Else an attacker would first use up the mails."""
    assert not {name for name in UNASKED if "changed" in name or name.endswith(("_added", "_deleted", "_set"))}


@pytest.mark.parametrize("limit", [rate_limits.INVITATIONS_BY_PERSON, rate_limits.INVITATIONS_BY_TEAM])
def test_invitations_per_person_and_team(
    owner: User, team: Team, monkeypatch: pytest.MonkeyPatch, limit: RateLimit
) -> None:
    name = next(name for name, value in vars(rate_limits).items() if value == limit)
    monkeypatch.setattr(rate_limits, name, limit._replace(most=2))
    invite(team, owner, "a@example.com")
    invite(team, owner, "b@example.com")
    with refused():
        invite(team, owner, "c@example.com")
    assert not Invitation.objects.filter(email="c@example.com").exists()


def test_subject_has_no_words_of_the_sender(owner: User, team: Team, client_of: Any) -> None:
    Team.objects.filter(pk=team.pk).update(name="You won! Visit https://evil.example/prize\nBcc: all@example.com")
    User.objects.filter(pk=owner.pk).update(name="PayPal www.evil.example")
    data = {"team": team.pk, "email": "new@example.com", "role": "viewer"}
    client_of(owner).post("/admin/teams/invitation/add/", data)
    [sent] = mail.outbox
    assert sent.subject == "You are invited to a team on ClevAgent Watchdog"
    body = str(sent.body).replace(str(sent.body).split("http")[-1], "")
    assert "evil.example" not in body
    assert "https://evil" not in str(sent.body)
    assert sent.to == ["new@example.com"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Research", "Research"),
        ("ACME Inc.", "ACME Inc."),
        ("acme.io", "acme[.]io"),
        ("http://x", "http[:]//x"),
        ("a@b.c", "a[@]b[.]c"),
        ("two\nlines", "two lines"),
    ],
)
def test_names_in_mails_are_no_links(name: str, shown: str) -> None:
    assert harmless(name) == shown


# Teams, keys and tests


def test_teams_per_person(owner: User, stranger: User, client_of: Any) -> None:
    browser = client_of(owner)
    before = Team.objects.count()
    statuses = [browser.post("/accounts/teams/", {"name": f"T{number}"}).status_code for number in range(12)]
    assert statuses == [302] * 10 + [429] * 2
    assert Team.objects.count() == before + rate_limits.TEAMS.most
    assert client_of(stranger).post("/accounts/teams/", {"name": "T"}).status_code == 302


def test_keys_per_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_KEYS", 2)
    keys = [services.issue_key(project=project, name="k", actor="test")[0] for _ in range(2)]
    with refused("key_limit_reached"):
        services.issue_key(project=project, name="k", actor="test")
    services.revoke_key(key=keys[0], actor="test", now=timezone.now())
    assert services.issue_key(project=project, name="k", actor="test")
    assert ApiKey.objects.count() == 3


def test_new_keys_per_day(project: Project, full_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "KEYS", rate_limits.KEYS._replace(most=2))
    client = Client(headers={"X-API-Key": full_key})
    answers = [client.post("/api/v1/keys", {}, content_type="application/json") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 429]
    assert int(answers[1]["Retry-After"]) <= DAY + 1


@pytest.fixture
def channel(project: Project) -> Channel:
    config = {"to": ["ops@example.com", "Boss@example.com"]}
    return alerts.create_channel(project=project, kind="email", name="Ops", config=config, actor="test")[0]


LIMITS_OF_TESTS = ["TESTS_OF_CHANNEL", "TESTS_BY_PERSON", "TESTS_OF_TEAM", "TEST_MAILS_TO_ADDRESS"]


@pytest.mark.parametrize("name", LIMITS_OF_TESTS)
def test_tests_of_channels(channel: Channel, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(rate_limits, name, getattr(rate_limits, name)._replace(most=2))
    for _ in range(2):
        alerts.send_test(channel=channel, actor="owner@example.com", now=timezone.now())
    sent = len(mail.outbox)
    with refused():
        alerts.send_test(channel=channel, actor="owner@example.com", now=timezone.now())
    assert len(mail.outbox) == sent
    assert Delivery.objects.count() == 2


@pytest.mark.parametrize("is_fragment", [True, False])
def test_page_says_that_tests_are_limited(
    channel: Channel, owner: User, client_of: Any, monkeypatch: pytest.MonkeyPatch, is_fragment: bool
) -> None:
    monkeypatch.setattr(rate_limits, "TESTS_OF_CHANNEL", rate_limits.TESTS_OF_CHANNEL._replace(most=0))
    headers = {"HX-Request": "true"} if is_fragment else {}
    browser = client_of(owner)
    answer = browser.post(f"/admin/alerts/channel/{channel.pk}/send_test/", headers=headers)
    page = answer.headers["HX-Redirect" if is_fragment else "Location"]
    assert "Too many tests of this channel" in browser.get(page).content.decode()
    assert not mail.outbox


# Wrong passwords


def fail(client: Client, email: str, times: int = 12) -> None:
    for _ in range(times):
        client.post("/accounts/login/", {"login": email, "password": "wrong"})


def signs_in(client: Client, email: str) -> bool:
    client.post("/accounts/login/", {"login": email, "password": "correct horse battery"})
    return "_auth_user_id" in client.session


def test_wrong_passwords_lock_out_one_address_only(owner: User, stranger: User) -> None:
    # `forwarding.py` has put the client's own address there, if the proxy is trusted.
    fail(Client(REMOTE_ADDR="203.0.113.9"), "nobody@example.com")
    assert signs_in(Client(REMOTE_ADDR="203.0.113.10"), owner.email)
    assert signs_in(Client(REMOTE_ADDR="203.0.113.11"), stranger.email)


def test_attempts_are_counted_for_all_processes(owner: User) -> None:
    assert caches["default"].__class__.__name__ in ("DatabaseCache", "SharedCache")
    fail(Client(REMOTE_ADDR="203.0.113.9"), owner.email, times=5)
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM watchdog_cache")
        assert cursor.fetchone()[0] > 0
    assert not signs_in(Client(REMOTE_ADDR="203.0.113.9"), owner.email)


# The registry: every POST that creates or sends has a limit, or a reason for none

PLAN = "the plan's requests per minute and key (PlanThrottle)"
API: dict[str, str] = {
    "heartbeat": "count_beats, new_agents_per_hour, agents of the plan",
    "heartbeat/batch": "as heartbeat",
    "commands": f"{PLAN}; the restart budget",
    "commands/{id}/result": "count_beats; one result per command",
    "agents": f"{PLAN}; agents of the plan",
    "agents/by-name/<path:name>/pause": f"{PLAN}; creates nothing",
    "agents/by-name/<path:name>/resume": f"{PLAN}; creates nothing",
    "agents/by-name/<path:name>/release": f"{PLAN}; creates nothing",
    "agents/by-name/<path:name>/restart": f"{PLAN}; one live command per agent",
    "agents/by-name/<path:name>/stop": f"{PLAN}; one live command per agent",
    "agents/{id}/pause": f"{PLAN}; creates nothing",
    "agents/{id}/resume": f"{PLAN}; creates nothing",
    "agents/by-name/<path:name>/hold": f"{PLAN}; creates nothing",
    "agents/{id}/hold": f"{PLAN}; creates nothing",
    "agents/{id}/release": f"{PLAN}; creates nothing",
    "agents/{id}/restart": f"{PLAN}; one live command per agent",
    "agents/{id}/stop": f"{PLAN}; one live command per agent",
    "incidents/{id}/acknowledge": f"{PLAN}; once per incident",
    "incidents/{id}/snooze": f"{PLAN}; one snooze per incident",
    "incidents/{id}/resolve": f"{PLAN}; once per incident",
    "maintenance": f"{PLAN}; rate_limits.MAINTENANCE",
    "rules/try": f"{PLAN}; writes nothing",
    "keys": f"{PLAN}; rate_limits.KEYS, MAX_KEYS",
    "keys/{id}/rotate": f"{PLAN}; rate_limits.KEYS, MAX_KEYS",
    "channels": f"{PLAN}; channels of the plan",
    "channels/{id}/test": f"{PLAN}; rate_limits.TESTS_…",
}
# Endpoints that count by themselves.
OWN_COUNT = {"heartbeat", "heartbeat/batch", "commands/{id}/result"}
ADMIN: dict[str, str] = {
    "sso.singlesignon add": "one per team",
    "sso.singlesignon domains": "MAX_DOMAINS per team",
    "teams.apikey add": "rate_limits.KEYS, MAX_KEYS",
    "teams.apikey rotate": "rate_limits.KEYS, MAX_KEYS",
    "teams.apikey revoke": "creates nothing",
    "teams.apikey revoke_selected": "creates nothing",
    "teams.invitation add": "rate_limits.INVITATIONS_…, members of the plan",
    "teams.invitation send_again": "rate_limits.INVITATIONS_…",
    "teams.project add": "projects of the plan",
    "agents.maintenance add": "rate_limits.MAINTENANCE",
    "agents.maintenance end": "once per window",
    "agents.maintenance cancel": "once per window",
    "agents.maintenance end_selected": "once per window",
    "agents.incomingwebhook add": "rate_limits.NEW_WEBHOOKS, MAX_WEBHOOKS",
    "agents.incomingwebhook new_secret": "replaces a secret, creates nothing",
    "agents.agent add": "agents of the plan",
    "agents.agent restart": "one live command per agent",
    "agents.agent stop": "one live command per agent",
    "agents.agent hold": "creates nothing",
    "agents.agent end-hold": "creates nothing",
    "agents.agent pause": "creates nothing",
    "agents.agent resume": "creates nothing",
    "agents.agent release": "creates nothing",
    "agents.agent pause_selected": "creates nothing",
    "agents.agent resume_selected": "creates nothing",
    "agents.agent maintenance_selected": "rate_limits.MAINTENANCE",
    "agents.incident acknowledge": "once per incident",
    "agents.incident resolve": "once per incident",
    "agents.incident acknowledge_selected": "once per incident",
    "agents.incident resolve_selected": "once per incident",
    "agents.incident restart": "one live command per agent",
    "agents.incident stop": "one live command per agent",
    "agents.incident pause": "creates nothing",
    "agents.incident resume": "creates nothing",
    "agents.incident mute": "rate_limits.NOTES",
    "agents.incident unmute": "rate_limits.NOTES",
    "agents.incident snooze": "one snooze per incident",
    "agents.incident unsnooze": "creates nothing",
    "agents.incident note": "rate_limits.NOTES",
    "alerts.channel add": "channels of the plan",
    "alerts.channel send_test": "rate_limits.TESTS_…",
    "alerts.channel test_selected": "rate_limits.TESTS_…",
    "alerts.channel switch": "creates nothing",
    "alerts.channel new_secret": "replaces a secret, creates nothing",
}
ALLAUTH = "allauth's rate limits, per address, account or person"
PAGES: dict[str, str] = {
    "teams": "rate_limits.TEAMS",
    "leave": "deletes",
    "sessions": "shows one's own sessions",
    "end-session": "deletes",
    "end-other-sessions": "deletes",
    "profile": "changes one's own row",
    "invitation": "once per invitation, members of the plan",
    "sign-in": "once per link",
    "account_login": f"{ALLAUTH}; axes",
    "account_signup": ALLAUTH,
    "account_reset_password": ALLAUTH,
    "account_email": ALLAUTH,
    "account_email_verification_sent": ALLAUTH,
    "account_reauthenticate": ALLAUTH,
    "account_change_password": ALLAUTH,
    "account_set_password": ALLAUTH,
    "account_reset_password_from_key": ALLAUTH,
    "account_confirm_login_code": ALLAUTH,
    "account_logout": "creates nothing",
    # Below /accounts/sso/
    "find": "stores nothing",
    "start": "one's own session",
    "callback": "once per start",
    "acs": "stores only what the provider signed",
    "finish": "once per signed response",
    "metadata": "stores nothing",
    "mfa_*": f"{ALLAUTH}; changes one's own second factor",
    # Below /admin/
    "login": "leads to account_login",
    "logout": "creates nothing",
    "first_steps": "rate_limits.KEYS, projects of the plan",
    "first_steps_alert": "rate_limits.TESTS_…, channels of the plan",
    "agents_maintenance_plan": "rate_limits.MAINTENANCE",
}


def views_of_api() -> dict[str, Any]:
    found = {}
    for path, entry in _patterns(get_resolver()):
        if path.startswith("api/v1/"):
            name = path.removeprefix("api/v1/").replace("<int:pk>", "{id}").replace("<int:key_id>", "{id}")
            found[name] = getattr(entry.callback, "cls", None)
    return found


def _patterns(under: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in under.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry, path)
        else:
            yield path, entry


def test_every_api_post_has_a_limit() -> None:
    posts = {path for method, path in OPERATIONS if method == "POST"}
    assert posts == set(API)
    views = views_of_api()
    unlimited = {path for path in posts - OWN_COUNT if PlanThrottle not in views[path].throttle_classes}
    assert not unlimited


def test_every_admin_action_has_a_limit() -> None:
    found = set()
    for model, page in admin.site._registry.items():
        row: Any = page
        names = [*(row.actions or ()), *(getattr(row, "actions_detail", None) or ())]
        names += [button.name for button in getattr(row, "buttons", ())]
        names += ["add"] if getattr(row, "add_action", None) else []
        found |= {f"{model._meta.label_lower} {name}" for name in names}
    assert found == set(ADMIN)


def test_every_page_with_a_form_has_a_limit() -> None:
    found = set()
    for path, entry in _patterns(get_resolver()):
        name = entry.name or ""
        if path.startswith("accounts/") and not name.endswith(("_done", "inactive")):
            found.add("mfa_*" if name.startswith("mfa_") else name)
    assert found <= set(PAGES)
    assert {"account_login", "account_signup", "account_reset_password", "teams"} <= found


def test_allauth_limits_all_that_mails_or_guesses() -> None:
    from allauth.account import app_settings

    limits = app_settings.RATE_LIMITS
    passwords = (lockouts.AT_ONE_ADDRESS, lockouts.ATTEMPTS, lockouts.BY_ADDRESS, lockouts.ELSEWHERE)
    for name in (*passwords, "signup", "reset_password", "confirm_email", "manage_email"):
        assert limits[name], name
