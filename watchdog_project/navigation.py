"""The admin's side bar: every page a person may see, in the order in which they are needed."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from teams.tenant_admin import allowed_operator

OPERATORS_OWN = "/admin/installation/"
# Below the channels' address, and no channel.
ROUTES = "/admin/alerts/channel/routes/"
# Group -> (title, icon, model or address name). What is not registered, or not this person's, is left out.
_GROUPS = (
    (
        "Fleet",
        (
            ("Fleet overview", "monitoring", "/admin/"),
            ("Agents", "smart_toy", "agents.agent"),
            ("Incidents", "crisis_alert", "agents.incident"),
            ("Restarts & stops", "terminal", "agents.command"),
            ("Maintenance", "engineering", "agents.maintenance"),
            ("Get started", "rocket_launch", "/admin/first-steps/"),
        ),
    ),
    (
        "Telling people",
        (
            ("Channels", "campaign", "alerts.channel"),
            ("Who hears what", "alt_route", ROUTES),
            ("Deliveries", "outbox", "alerts.delivery"),
        ),
    ),
    (
        "Team",
        (
            ("Teams", "groups", "teams.team"),
            ("Projects", "folder", "teams.project"),
            ("Keys", "key", "teams.apikey"),
            ("Members", "person", "teams.membership"),
            ("Invitations", "mail", "teams.invitation"),
            ("Plan and usage", "credit_card", "billing.subscription"),
            ("Audit log", "history", "teams.auditentry"),
        ),
    ),
    (
        "Operator",
        (
            ("Installation", "monitor_heart", OPERATORS_OWN),
            ("People", "manage_accounts", "teams.user"),
            ("Failed sign-ins", "gpp_bad", "teams.failedsignin"),
        ),
    ),
)


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """For Unfold's `SIDEBAR.navigation`."""
    shown: list[dict[str, Any]] = []
    for title, entries in _GROUPS:
        items = [_item(request, *entry) for entry in entries if _visible(request, entry[2])]
        if items:
            shown.append({"title": title, "separator": bool(shown), "items": items})
    return shown


def _visible(request: HttpRequest, address: str) -> bool:
    if address == OPERATORS_OWN:
        return allowed_operator(request)
    if address.startswith("/"):
        return True
    page = next((page for model, page in admin.site._registry.items() if model._meta.label_lower == address), None)
    return page is not None and page.has_module_permission(request)


def _item(request: HttpRequest, title: str, icon: str, address: str) -> dict[str, Any]:
    link = address if address.startswith("/") else reverse(f"admin:{address.replace('.', '_')}_changelist")
    elsewhere = request.path == ROUTES and link != ROUTES
    return {"title": title, "icon": icon, "link": link} | ({"active": False} if elsewhere else {})


def account_links(request: HttpRequest) -> list[dict[str, Any]]:
    """For Unfold's `ACCOUNT.navigation`."""
    pages = (
        ("Profile", "teams:profile"),
        ("Your teams", "teams:teams"),
        ("Password", "account_change_password"),
        ("Two-factor and passkeys", "mfa_index"),
    )
    return [{"title": title, "link": reverse(name)} for title, name in pages]
