"""The admin's side bar: every page a person can see."""

from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from teams.access import is_operator
from teams.links import on_site
from watchdog_project.documentation import anchor_of

INSTALLATION = "/admin/installation/"
# Below the URL of channels, but a page of its own in the side bar.
ROUTES = "/admin/alerts/channel/routes/"
HELP = "/docs/"
# Group -> (title, icon, model or path). Models that are not registered or not visible to the person are left out.
_GROUPS = (
    (
        "Fleet",
        (
            ("Fleet overview", "monitoring", "/admin/"),
            ("Agents", "smart_toy", "agents.agent"),
            ("Incidents", "crisis_alert", "agents.incident"),
            ("Restarts & stops", "restart_alt", "agents.command"),
            ("Maintenance", "engineering", "agents.maintenance"),
            ("Get started", "rocket_launch", "/admin/first-steps/"),
        ),
    ),
    (
        "Alerting",
        (
            ("Channels", "campaign", "alerts.channel"),
            ("Alert routing", "alt_route", ROUTES),
            ("Notification log", "outbox", "alerts.delivery"),
        ),
    ),
    (
        "Team",
        (
            ("Teams", "groups", "teams.team"),
            ("Projects", "folder", "teams.project"),
            ("API keys", "key", "teams.apikey"),
            ("Incoming webhooks", "webhook", "agents.incomingwebhook"),
            ("Members", "person", "teams.membership"),
            ("Invitations", "mail", "teams.invitation"),
            ("Single sign-on", "passkey", "sso.singlesignon"),
            ("Plan and usage", "credit_card", "billing.subscription"),
            ("Audit log", "history", "teams.auditentry"),
        ),
    ),
    (
        "Operator",
        (
            ("Installation", "monitor_heart", INSTALLATION),
            ("People", "manage_accounts", "teams.user"),
            ("Failed sign-ins", "gpp_bad", "teams.failedsignin"),
        ),
    ),
    ("", (("Help", "help", HELP),)),
)


def group_of(model: str) -> str:
    """The group in which a model's list stands; empty for a model that has no entry."""
    return next((title for title, entries in _GROUPS if any(entry[2] == model for entry in entries)), "")


# The documentation of the pages has a section for each entry, under the entry's title.
PAGES: Final = "pages/"


def help_for(target: str) -> tuple[str, str]:
    """The section about a page, below the documentation, and its title. `target` is a model or a path.

    Pages without an entry, such as the search, get the beginning.
    """
    entries = (entry for _, group in _GROUPS for entry in group if entry[2] == target and target != HELP)
    title = next((entry[0] for entry in entries), "")
    return (f"{PAGES}#{anchor_of(title)}", title) if title else (PAGES, "this page")


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """For Unfold's `SIDEBAR.navigation`."""
    shown: list[dict[str, Any]] = []
    for title, entries in _GROUPS:
        items = [_item(request, *entry) for entry in entries if _visible(request, entry[2])]
        if items:
            shown.append({"title": title, "separator": bool(shown), "items": items})
    return shown


def _visible(request: HttpRequest, target: str) -> bool:
    if target == INSTALLATION:
        return is_operator(request)
    if target.startswith("/"):
        return True
    page = next((page for model, page in admin.site._registry.items() if model._meta.label_lower == target), None)
    return page is not None and page.has_module_permission(request)


def _item(request: HttpRequest, title: str, icon: str, target: str) -> dict[str, Any]:
    link = on_site(target) if target.startswith("/") else reverse(f"admin:{target.replace('.', '_')}_changelist")
    item = {"title": title, "icon": icon, "link": link}
    # Unfold would also highlight "Channels" on the routing page, whose URL is below it.
    return {**item, "active": False} if request.path_info == ROUTES != target else item


def account_links(request: HttpRequest) -> list[dict[str, Any]]:
    """For Unfold's `ACCOUNT.navigation`."""
    pages = (
        ("Profile", "teams:profile"),
        ("Your teams", "teams:teams"),
        ("Password", "account_change_password"),
        ("Two-factor and passkeys", "mfa_index"),
        ("Sessions", "teams:sessions"),
    )
    return [{"title": title, "link": reverse(name)} for title, name in pages]
