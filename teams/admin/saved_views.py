"""Saving and deleting the views of a list, and the switch for compact rows. The lists show them above their filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from teams import saved_views
from teams.errors import ApiError
from teams.filter_persistence import filter_query
from teams.list_tools import FLEET
from teams.models import User
from teams.site import Site


def _person(request: HttpRequest) -> User:
    """The admin site lets nobody else in."""
    return cast("User", request.user)


def _is_list(request: HttpRequest, page: str) -> bool:
    """Whether the person can open a list of this name."""
    if page == FLEET:
        return True
    lists = {model._meta.label_lower: model_admin for model, model_admin in admin.site._registry.items()}
    return page in lists and lists[page].has_module_permission(request)


def _answer(request: HttpRequest, change: Callable[[], str]) -> HttpResponse:
    """Do it, say so, and return to the page the person came from."""
    try:
        messages.success(request, change())
    except ApiError as refusal:
        messages.error(request, refusal.message)
    back = request.POST.get("back", "")
    is_local = back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_local else reverse("admin:index"))


@require_POST
def save(request: HttpRequest) -> HttpResponse:
    def change() -> str:
        page, team = request.POST.get("page", ""), request.POST.get("team", "")
        if not _is_list(request, page) or not (team == "" or team.isdecimal()):
            raise ApiError(404, "not_found", "There is no such list.")
        view = saved_views.save_view(
            user=_person(request),
            team_id=int(team) if team else None,
            page=page,
            name=request.POST.get("name", ""),
            query=filter_query(QueryDict(request.POST.get("query", ""))),
        )
        return f"View {view} saved{' for the team' if view.team_id else ''}."

    return _answer(request, change)


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    user = _person(request)
    view = get_object_or_404(saved_views.visible_to(user), pk=pk)

    def change() -> str:
        saved_views.delete_view(user=user, view=view)
        return f"View {view} deleted."

    return _answer(request, change)


@require_POST
def rows(request: HttpRequest) -> HttpResponse:
    """`compact` says which, so that a second press changes nothing."""

    def change() -> str:
        compact = request.POST.get("compact") == "on"
        saved_views.set_compact_rows(user=_person(request), compact=compact)
        return "Rows are compact now, in all lists." if compact else "Rows have their usual height again."

    return _answer(request, change)


Site.pages.extend(
    [
        path("views/save/", admin.site.admin_view(save), name="view_save"),
        path("views/<int:pk>/delete/", admin.site.admin_view(delete), name="view_delete"),
        path("rows/", admin.site.admin_view(rows), name="rows"),
    ]
)
