"""An owner sets up single sign-on, tests it and requires it; a colleague comes in through it."""

from __future__ import annotations

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from teams.models import Membership, Team, User
from teams.sso import services
from teams.sso.models import SignInDomain
from tests.browser.conftest import Open
from tests.browser.tab import Tab
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider
from tests.sign_on import claims_of, provider

__all__ = ["provider"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_owner_requires_it_and_colleague_enters(
    open_tab: Open, chromium: Browser, server: str, provider: OidcProvider, owner: User, operator: User, team: Team
) -> None:
    tab = open_tab(owner)
    set_up(tab, provider)
    page = tab.page
    page.locator("#new-domain").fill("example.com")
    page.get_by_role("button", name="Add domain").click()
    tab.sees("example.com was added.")
    services.approve_domain(row=SignInDomain.objects.get(), by=operator, now=timezone.now())

    provider.person = claims_of(owner.email, groups=["board"])
    page.get_by_role("link", name="Sign in as a test").click()
    tab.sees("The test succeeded: owner@example.com would sign in with the role Owner.")
    assert tab.barriers() == []
    tab.picture("single-sign-on")
    page.locator("#id_enforced").check(force=True)
    page.get_by_role("button", name="Save").click()
    tab.sees("Required for the verified domains.")
    # The only other host is the provider's.
    tab.elsewhere[:] = [url for url in tab.elsewhere if not url.startswith(provider.issuer)]

    context = chromium.new_context()
    come_in(context.new_page(), server, provider)
    context.close()
    assert Membership.objects.get(team=team, user__email="ada@example.com").role == "admin"


def set_up(tab: Tab, provider: OidcProvider) -> None:
    """From the empty state to a connection with its roles."""
    page = tab.go("/admin/sso/singlesignon/")
    page.locator("#single-sign-on").get_by_role("link", name="Set up single sign-on").click()
    # Whoever sets it up decides who can sign in as whom.
    page.locator("input[type=password]").fill("correct horse battery")
    page.get_by_role("button", name="Confirm").click()
    page.locator("#id_name").fill("Acme")
    page.locator("#id_issuer").fill(provider.issuer)
    page.locator("#id_client_id").fill(CLIENT_ID)
    page.locator("#id_new_secret").fill(CLIENT_SECRET)
    page.locator("#id_role_claim").fill("groups")
    page.locator("#id_roles").fill("board = owner\nengineering = admin")
    page.get_by_role("button", name="Save").click()
    tab.sees("/callback/")


def come_in(page: Page, server: str, provider: OidcProvider) -> None:
    """A colleague tries a password first, and is led to the provider."""
    provider.person = claims_of("ada@example.com", groups=["engineering"])
    page.goto(f"{server}/accounts/login/")
    page.locator("#id_login").fill("ada@example.com")
    page.locator("input[type=password]").fill("whatever it was")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("example.com signs in with Acme, not with a password.")).to_be_visible()
    page.get_by_role("link", name="Continue with Acme").click()
    page.wait_for_url("**/admin/")
