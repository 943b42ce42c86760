"""What stands above every list: saved views, the density of its rows, and the export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse

from teams import saved_views
from teams.filter_persistence import CLEAR, filter_query
from teams.models import SavedView, Team

# The overview is no list of one model.
FLEET: Final = "fleet"


@dataclass(frozen=True, slots=True)
class ShownView:
    """A saved view on the page of its list."""

    view: SavedView
    url: str
    is_current: bool
    may_delete: bool


@dataclass(frozen=True, slots=True)
class ListTools:
    """Context of `teams/admin/list_tools.html`. `query` is what would be saved; `export_url` is empty without one."""

    page: str
    query: str
    views: Sequence[ShownView]
    teams: Sequence[Team]
    export_url: str
    here: str

    @property
    def deletable(self) -> list[ShownView]:
        return [shown for shown in self.views if shown.may_delete]


def list_tools(request: HttpRequest, page: str, export_url: str = "") -> ListTools:
    """For the page of a list: the person's views of it, and what they can do with them."""
    user: Any = request.user
    query = filter_query(request.GET)
    teams = list(saved_views.teams_to_save_for(user))
    editable = {None, *(team.pk for team in teams)}
    shown = [
        ShownView(view, _url(view), view.query == query, view.team_id in editable)
        for view in saved_views.views_of(user, page)
    ]
    export = f"{export_url}?{query}" if export_url and query else export_url
    return ListTools(page, query, shown, teams, export, request.get_full_path())


def _url(view: SavedView) -> str:
    return f"{_list_url(view.page)}?{view.query or CLEAR}"


def _list_url(page: str) -> str:
    return reverse("admin:index") if page == FLEET else reverse(f"admin:{page.replace('.', '_')}_changelist")
