"""Sign-up, invitations, sign-in links, MFA and the account pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from teams import services, sign_in_links
from teams.models import Membership, Project, Team, User
from teams.roles import Role
from tests.authenticator import code_of

Browser = Callable[[User], Client]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def no_rate_limit_left_over(db: None) -> None:
    cache.clear()


def sign_up(browser: Client, email: str, **more: str) -> str:
    """Submit the form and the e-mailed code; returns where that redirects to."""
    data = {"email": email, "password1": PASSWORD, **more}
    answer = browser.post("/accounts/signup/", data)
    assert answer.status_code == 302, answer.content.decode()
    return confirm(browser, email)


def confirm(browser: Client, email: str) -> str:
    sent = next(message for message in reversed(mail.outbox) if message.to == [email])
    found = re.search(r"^\s*([A-Z0-9]{3,4}-?[A-Z0-9]{3,4})\s*$", str(sent.body), re.MULTILINE)
    assert found, sent.body
    answer = browser.post("/accounts/confirm-email/", {"code": found[1]})
    assert answer.status_code == 302, answer.content.decode()
    return answer.headers["Location"]


@pytest.mark.django_db
def test_sign_up_creates_team_and_project() -> None:
    browser = Client()
    names = {"team_name": "Night shift", "project_name": "Papers"}
    assert sign_up(browser, "new@example.com", **names) == "/admin/first-steps/"
    member = Membership.objects.get(user__email="new@example.com")
    assert (member.team.name, member.role) == ("Night shift", Role.OWNER)
    assert [project.name for project in member.team.projects.all()] == ["Papers"]
    assert browser.get("/admin/teams/project/").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(("told", "zone"), [("Asia/Tokyo", "Asia/Tokyo"), ("Mars/Base", "UTC"), ("", "UTC")])
def test_sign_up_takes_the_browsers_time_zone(told: str, zone: str) -> None:
    sign_up(Client(), "new@example.com", time_zone=told)
    person = User.objects.get(email="new@example.com")
    assert (person.time_zone, Project.objects.get(team__members=person).time_zone) == (zone, zone)


@pytest.mark.django_db
def test_sign_up_without_names_uses_defaults() -> None:
    sign_up(Client(), "new@example.com")
    assert (Team.objects.get().name, Project.objects.get().name) == ("new’s team", "Production")


@pytest.mark.django_db
def test_no_sign_in_before_the_code() -> None:
    browser = Client()
    browser.post("/accounts/signup/", {"email": "new@example.com", "password1": PASSWORD})
    assert browser.get("/admin/teams/project/").status_code == 302
    assert browser.post("/accounts/confirm-email/", {"code": "WRONG-1"}).status_code == 200
    assert browser.get("/admin/teams/project/").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("configured", [True, False])
def test_code_page_without_a_mail_server(configured: bool, settings: Settings) -> None:
    settings.EMAIL_CONFIGURED = configured
    browser = Client()
    page = browser.post("/accounts/signup/", {"email": "n@example.com", "password1": PASSWORD}, follow=True)
    assert ("<code>mail/" in page.content.decode()) is not configured


@pytest.mark.django_db
def test_code_can_be_resent_to_another_address() -> None:
    browser = Client()
    browser.post("/accounts/signup/", {"email": "typo@example.com", "password1": PASSWORD})
    browser.post("/accounts/confirm-email/", {"action": "change", "email": "new@example.com"})
    browser.post("/accounts/confirm-email/", {"action": "resend"})
    assert [message.to for message in mail.outbox] == [["typo@example.com"], *[["new@example.com"]] * 2]
    assert confirm(browser, "new@example.com") == "/admin/first-steps/"


@pytest.mark.django_db
def test_sign_up_explains_password_rules() -> None:
    browser = Client()
    assert "At least 10 characters, not a common word." in browser.get("/accounts/signup/").content.decode()
    for password, why in (("ninechars", "too short"), ("password12", None), ("1234567890", "too common")):
        page = browser.post("/accounts/signup/", {"email": "new@example.com", "password1": password})
        beside = page.content.decode().partition('id="id_password1_error"')[2]
        assert (why is None) or why in beside[:400], password


@pytest.mark.django_db
def test_sign_up_does_not_reveal_accounts(owner: User) -> None:
    browser = Client()
    new = browser.post("/accounts/signup/", {"email": "new@example.com", "password1": PASSWORD})
    taken = Client().post("/accounts/signup/", {"email": owner.email, "password1": PASSWORD})
    assert (new.status_code, new.headers["Location"]) == (taken.status_code, taken.headers["Location"])
    assert User.objects.filter(email=owner.email).count() == 1


@pytest.mark.django_db
def test_closed_sign_up(settings: Settings) -> None:
    settings.SIGNUP_OPEN = False
    browser = Client()
    assert "Sign-up is closed" in browser.get("/accounts/signup/").content.decode()
    browser.post("/accounts/signup/", {"email": "new@example.com", "password1": PASSWORD})
    assert not User.objects.exists()
    assert "/accounts/signup/" not in browser.get("/").content.decode()


@pytest.fixture
def token(team: Team, owner: User) -> str:
    return services.invite(team=team, email="new@example.com", role="viewer", invited_by=owner, now=timezone.now())[1]


def page_of(token: str) -> str:
    return f"/accounts/invitation/{token}/"


def test_invited_person_signs_up_while_closed(token: str, team: Team, settings: Settings) -> None:
    settings.SIGNUP_OPEN, settings.EMAIL_CONFIGURED = False, True
    browser = Client()
    page = browser.get(page_of(token)).content.decode()
    assert "Research" in page
    assert "viewer" in page
    assert "new%40example.com" in page
    assert sign_up(browser, "new@example.com", next=page_of(token)) == page_of(token)
    assert browser.post(page_of(token)).headers["Location"] == "/admin/"
    member = Membership.objects.get(user__email="new@example.com")
    assert (member.team, member.role) == (team, Role.VIEWER)


@pytest.mark.parametrize("mail_server", [False, True])
def test_invitation_proves_the_address_without_smtp(
    token: str, team: Team, settings: Settings, mail_server: bool
) -> None:
    settings.EMAIL_CONFIGURED = mail_server
    browser = Client()
    browser.get(page_of(token))
    data = {"email": "New@example.com", "password1": PASSWORD, "next": page_of(token)}
    leads = browser.post("/accounts/signup/", data).headers["Location"]
    assert (leads == page_of(token)) is not mail_server, "with a mail server, the code still has to be entered"
    browser.post(page_of(token))
    assert team.memberships.filter(user__email="new@example.com").exists() is not mail_server


def test_invitation_proves_no_other_address(token: str, settings: Settings) -> None:
    settings.EMAIL_CONFIGURED = False
    browser = Client()
    browser.get(page_of(token))
    answer = browser.post("/accounts/signup/", {"email": "other@example.com", "password1": PASSWORD})
    assert "confirm" in answer.headers["Location"]
    assert not EmailAddress.objects.filter(verified=True, email="other@example.com").exists()


def test_invitation_only_opens_sign_up_for_its_address(token: str, settings: Settings) -> None:
    settings.SIGNUP_OPEN = False
    browser = Client()
    browser.get(page_of(token))
    answer = browser.post("/accounts/signup/", {"email": "other@example.com", "password1": PASSWORD})
    assert "the address that was invited" in answer.content.decode()
    assert not User.objects.filter(email="other@example.com").exists()


def test_invited_person_joins_by_button(team: Team, owner: User, stranger: User, client_of: Browser) -> None:
    _, token = services.invite(team=team, email=stranger.email, role="admin", invited_by=owner, now=timezone.now())
    browser = client_of(stranger)
    browser.get(page_of(token))
    assert not team.memberships.filter(user=stranger).exists()
    browser.post(page_of(token))
    assert team.memberships.get(user=stranger).role == Role.ADMIN


def test_invitation_is_bound_to_its_address(token: str, stranger: User, team: Team, client_of: Browser) -> None:
    answer = client_of(stranger).post(page_of(token))
    assert answer.status_code == 403
    assert "new@example.com" in answer.content.decode()
    assert not team.memberships.filter(user=stranger).exists()


def test_accepting_requires_sign_in(token: str, team: Team) -> None:
    assert Client().post(page_of(token)).status_code == 401
    assert team.memberships.count() == 1


@pytest.mark.parametrize("days", [0, 8])
def test_invalid_or_expired_invitation(token: str, days: int) -> None:
    shown = page_of(token if days else "wrong")
    with time_machine.travel(datetime.now(UTC) + timedelta(days=days), tick=False):
        answer = Client().get(shown)
    assert answer.status_code == 404
    assert ("has expired" if days else "does not exist") in answer.content.decode()


def test_joining_a_full_team_is_refused(
    team: Team, owner: User, member: User, viewer: User, stranger: User, client_of: Browser
) -> None:
    _, token = services.invite(team=team, email=stranger.email, role="admin", invited_by=owner, now=timezone.now())
    answer = client_of(stranger).post(page_of(token))
    assert answer.status_code == 403
    assert "The Free plan allows 3 members" in answer.content.decode()
    assert not team.memberships.filter(user=stranger).exists()


def path_of(user: User) -> str:
    return sign_in_links.sign_in_url(user).removeprefix("http://127.0.0.1:8000")


def test_sign_in_link_works_once(owner: User, team: Team) -> None:
    path = path_of(owner)
    scanner, browser = Client(), Client()
    assert scanner.get(path).status_code == 200
    assert scanner.head(path).status_code == 405
    assert browser.post(path).headers["Location"] == "/admin/first-steps/"
    assert browser.get("/admin/teams/project/").status_code == 200
    again = scanner.post(path)
    assert again.status_code == 404
    assert "already used" in again.content.decode()
    assert scanner.get("/admin/teams/project/").status_code == 302


def test_sign_in_link_expires_after_24_hours(owner: User) -> None:
    path = path_of(owner)
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=24, seconds=1), tick=False):
        answer = Client().post(path)
    assert answer.status_code == 404
    assert "has expired" in answer.content.decode()


def test_sign_in_link_of_deactivated_account(owner: User) -> None:
    path = path_of(owner)
    User.objects.update(is_active=False)
    assert Client().post(path).status_code == 404


@pytest.mark.parametrize("broken", ["x", "eyJ1c2VyIjoxfQ:1:x"])
@pytest.mark.django_db
def test_forged_sign_in_link(broken: str) -> None:
    assert Client().get(f"/accounts/sign-in/{broken}/").status_code == 404


def with_second_factor(user: User) -> str:
    from allauth.mfa.totp.internal import auth

    secret = auth.generate_totp_secret()
    auth.TOTP.activate(user, secret)
    return str(secret)


def test_sign_in_link_requires_second_factor(owner: User, team: Team) -> None:
    secret = with_second_factor(owner)
    browser = Client()
    assert browser.post(path_of(owner)).headers["Location"].startswith("/accounts/2fa/authenticate/")
    assert browser.get("/admin/teams/project/").status_code == 302
    assert browser.post("/accounts/2fa/authenticate/", {"code": code_of(secret)}).status_code == 302
    assert browser.get("/admin/teams/project/").status_code == 200


def test_password_requires_second_factor(owner: User, team: Team) -> None:
    with_second_factor(owner)
    browser = Client()
    answer = browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    assert answer.headers["Location"].startswith("/accounts/2fa/authenticate/")
    assert browser.get("/admin/teams/project/").status_code == 302


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/profile/",
        "/accounts/teams/",
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/logout/",
        "/accounts/2fa/",
        "/accounts/2fa/totp/activate/",
        "/accounts/2fa/webauthn/",
        "/accounts/2fa/webauthn/add/",
        "/accounts/reauthenticate/",
    ],
)
def test_account_pages_share_styles(path: str, owner: User, team: Team) -> None:
    browser = Client()
    browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    answer = browser.get(path, follow=True)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "teams/pages.css" in page
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*(src=|application/json))", page)


@pytest.mark.parametrize(
    "path", ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/accounts/inactive/"]
)
@pytest.mark.django_db
def test_entrance_pages_share_styles(path: str) -> None:
    page = Client().get(path).content.decode()
    assert "teams/pages.css" in page
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*(src=|application/json))", page)


BOILERPLATE = ["please", "Please", "Sign In", "Sign Up", "Email", "Password Reset", "reauthenticate", "Are you sure"]


def visible_text(page: str) -> str:
    """The text of a page without its tags."""
    return re.sub(r"<[^>]+>", " ", page[page.index("<body") :])


@pytest.mark.parametrize(
    "path",
    [
        *("signup/", "login/", "password/reset/", "password/reset/done/", "password/reset/key/1-x/", "inactive/"),
        *("logout/", "email/", "password/change/", "password/set/", "2fa/", "2fa/totp/activate/", "2fa/webauthn/add/"),
        *("2fa/recovery-codes/", "2fa/recovery-codes/generate/", "2fa/totp/deactivate/", "2fa/webauthn/"),
        *("reauthenticate/", "2fa/reauthenticate/", "profile/", "teams/"),
    ],
)
def test_pages_use_product_wording(path: str, owner: User, team: Team) -> None:
    browser = Client()
    browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    if "2fa" in path:
        browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    if re.search("recovery|deactivate|2fa/reauth", path):
        with_second_factor(owner)
    if path == "password/set/":
        User.objects.update(password="!none")
        browser.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    anonymous = path.startswith(("signup", "login", "password/reset", "inactive"))
    page = (Client() if anonymous else browser).get(f"/accounts/{path}", follow=True).content.decode()
    assert [word for word in BOILERPLATE if word in visible_text(page)] == []
    assert page.count("<h1>") == 1
    assert "<title> ·" not in page


def test_second_factor_uses_product_wording(owner: User, team: Team) -> None:
    with_second_factor(owner)
    browser = Client()
    asked = browser.post("/accounts/login/", {"login": owner.email, "password": PASSWORD}, follow=True)
    wrong = browser.post("/accounts/2fa/authenticate/", {"code": "000000"})
    for answer in (asked, wrong):
        assert [word for word in BOILERPLATE if word in visible_text(answer.content.decode())] == []
        assert 'autocomplete="one-time-code"' in answer.content.decode()
    assert "your phone’s clock" in wrong.content.decode()


@pytest.mark.parametrize(
    ("path", "data", "subject", "says"),
    [
        (
            "signup/",
            {"email": "new@example.com", "password1": PASSWORD},
            "Confirm your e-mail address",
            "Enter this code",
        ),
        (
            "signup/",
            {"email": "owner@example.com", "password1": PASSWORD},
            "You already have an account",
            "you already have an account with this address",
        ),
        ("password/reset/", {"email": "owner@example.com"}, "Reset your password", "/accounts/password/reset/key/"),
        ("password/reset/", {"email": "new@example.com"}, "No account", "/accounts/signup/"),
    ],
)
def test_mail_subject_and_footer(owner: User, path: str, data: dict[str, str], subject: str, says: str) -> None:
    Client().post(f"/accounts/{path}", data)
    [sent] = mail.outbox
    assert sent.subject.startswith(f"[ClevAgent Watchdog] {subject}")
    assert says in sent.body
    assert sent.body.strip().endswith("ClevAgent Watchdog\nhttp://127.0.0.1:8000")
    assert "ello from" not in sent.body


@pytest.mark.parametrize(
    ("path", "email"),
    [
        ("password/reset/", "owner@example.com"),
        ("password/reset/", "new@example.com"),
        ("signup/", "owner@example.com"),
    ],
)
def test_mails_link_to_base_url(owner: User, settings: Settings, path: str, email: str) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.BASE_URL = "https://watchdog.example.com"
    Client(HTTP_HOST="elsewhere.example.net").post(f"/accounts/{path}", {"email": email, "password1": PASSWORD})
    [sent] = mail.outbox
    addresses = re.findall(r"https?://\S+", str(sent.body))
    assert len(addresses) >= 2
    assert {address.partition("/accounts/")[0] for address in addresses} == {"https://watchdog.example.com"}


@pytest.mark.parametrize(("host", "possible"), [("127.0.0.1:8000", False), ("localhost:8000", True)])
def test_passkeys_offered_where_supported(
    host: str, possible: bool, owner: User, team: Team, client_of: Browser, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    signing_in = Client(HTTP_HOST=host).get("/accounts/login/").content.decode()
    assert ("Sign in with a passkey" in signing_in) is possible
    page = client_of(owner).get("/accounts/2fa/", headers={"host": host}).content.decode()
    assert ("http://localhost:8000/accounts/2fa/" in page) is not possible
    assert ('href="/accounts/2fa/webauthn/add/"' in page) is possible


def test_no_link_to_a_host_that_is_not_allowed(owner: User, team: Team, client_of: Browser, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    page = client_of(owner).get("/accounts/2fa/", headers={"host": "127.0.0.1:8000"}).content.decode()
    assert "Passkeys don’t work at this address" in page
    assert "localhost:8000" not in page


def test_rate_limit_page(owner: User) -> None:
    browser = Client()
    for n in range(25):
        answer = browser.post("/accounts/signup/", {"email": f"a{n}@example.com", "password1": PASSWORD})
        if answer.status_code == 429:
            break
    assert answer.status_code == 429
    assert "teams/pages.css" in answer.content.decode()


def test_recovery_codes_page(owner: User, team: Team, client_of: Browser) -> None:
    with_second_factor(owner)
    assert client_of(owner).get("/accounts/2fa/").status_code == 200


def test_lockout_after_ten_wrong_passwords(owner: User, team: Team, settings: Settings) -> None:
    settings.ACCOUNT_RATE_LIMITS = False
    browser = Client()
    for _ in range(10):
        answer = browser.post("/accounts/login/", {"login": owner.email, "password": "wrong"})
    assert answer.status_code == 429
    right = {"login": owner.email, "password": PASSWORD}
    assert browser.post("/accounts/login/", right).status_code == 429
    assert Client(REMOTE_ADDR="192.0.2.7").post("/accounts/login/", right).status_code == 302


def test_password_reset(owner: User, team: Team) -> None:
    browser = Client()
    browser.post("/accounts/password/reset/", {"email": owner.email})
    found = re.search(r"https?://[^/]+(/accounts/password/reset/key/\S+)", str(mail.outbox[0].body))
    assert found
    form = browser.get(found[1], follow=True)
    data = {"password1": "battery horse staple", "password2": "battery horse staple"}
    browser.post(form.redirect_chain[-1][0], data)
    owner.refresh_from_db()
    assert owner.check_password("battery horse staple")


def test_profile_saves_name_and_time_zone(viewer: User, client_of: Browser) -> None:
    browser = client_of(viewer)
    browser.post("/accounts/profile/", {"name": "Ada", "time_zone": "Asia/Seoul", "is_superuser": "on"})
    viewer.refresh_from_db()
    assert (viewer.name, viewer.time_zone, viewer.is_superuser) == ("Ada", "Asia/Seoul", False)
    assert browser.post("/accounts/profile/", {"time_zone": "Mars/Base"}).status_code == 200


def test_create_another_team(viewer: User, client_of: Browser) -> None:
    client_of(viewer).post("/accounts/teams/", {"name": "Side"})
    assert Membership.objects.get(team__name="Side").user == viewer
    assert Project.objects.filter(team__name="Side").count() == 1


def test_leaving_a_team_only_removes_yourself(viewer: User, member: User, team: Team, client_of: Browser) -> None:
    other = Membership.objects.get(user=member)
    own = Membership.objects.get(user=viewer)
    browser = client_of(viewer)
    assert browser.post(f"/accounts/teams/leave/{other.pk}/").status_code == 404
    asked = browser.get(f"/accounts/teams/leave/{own.pk}/").content.decode()
    assert "Leave Research?" in asked
    assert team.memberships.filter(pk=own.pk).exists(), "a link never acts"
    browser.post(f"/accounts/teams/leave/{own.pk}/")
    assert set(team.memberships.values_list("user__email", flat=True)) == {"owner@example.com", member.email}


def test_only_owner_is_told_why_they_stay(owner: User, member: User, team: Team, client_of: Browser) -> None:
    own = team.memberships.get(user=owner)
    page = client_of(owner).get(f"/accounts/teams/leave/{own.pk}/").content.decode()
    assert "its only owner" in page
    assert '<form method="post">' not in page
    team.memberships.filter(user=member).update(role="owner")
    page = client_of(owner).get(f"/accounts/teams/leave/{own.pk}/").content.decode()
    assert "no longer one of its owners" in page
    assert '<form method="post">' in page


def test_first_link_opens_the_first_steps(owner: User, team: Team) -> None:
    browser = Client()
    assert browser.post(path_of(owner)).headers["Location"] == "/admin/first-steps/"
    owner.refresh_from_db()
    assert Client().post(path_of(owner)).headers["Location"] == "/admin/"


def test_not_found_page(db: None) -> None:
    answer = Client().get("/nothing/here")
    assert answer.status_code == 404
    assert "teams/pages.css" in answer.content.decode()


def test_times_are_shown_in_own_time_zone(owner: User, team: Team, client_of: Browser) -> None:
    Team.objects.filter(pk=team.pk).update(created_at=datetime(2026, 1, 2, 20, 30, tzinfo=UTC))
    browser = client_of(owner)
    assert "2 Jan 2026, 20:30" in browser.get("/admin/teams/team/").content.decode()
    User.objects.update(time_zone="Asia/Seoul")
    assert "3 Jan 2026, 05:30" in browser.get("/admin/teams/team/").content.decode()
    User.objects.update(time_zone="Mars/Base")
    assert "2 Jan 2026, 20:30" in browser.get("/admin/teams/team/").content.decode()


def test_admin_index_shows_the_fleet(owner: User, team: Team, client_of: Browser) -> None:
    assert "No agents yet" in client_of(owner).get("/admin/").content.decode()
