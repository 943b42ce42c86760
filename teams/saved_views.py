"""Saved views of lists: a filter and an order under a name, for a person or a team. Also the height of their rows."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from teams.errors import ApiError
from teams.models import SavedView, Team, User
from teams.roles import Action

# Per list, for one person or one team.
MAX_VIEWS: Final = 50
MAX_NAME, MAX_QUERY = 60, 1000


def visible_to(user: User) -> QuerySet[SavedView]:
    """A person's own views, and those of the teams they are a member of."""
    return SavedView.objects.filter(Q(user=user) | Q(team__memberships__user=user, team__ended_at=None))


def views_of(user: User, page: str) -> QuerySet[SavedView]:
    """What they can choose from on the page of a list."""
    return visible_to(user).filter(page=page).select_related("team").order_by("name", "pk")


def teams_to_save_for(user: User) -> QuerySet[Team]:
    return Team.objects.active().allowing(user, Action.CONFIGURE)


def save_view(*, user: User, team_id: int | None, page: str, name: str, query: str) -> SavedView:
    """Save, or replace the view of the same name. `query` is a query string; `team_id` None: only for the person."""
    name = " ".join(name.split())
    if not name:
        raise ApiError(400, "invalid", "Enter a name for the view.")
    if len(name) > MAX_NAME or len(query) > MAX_QUERY:
        raise ApiError(400, "invalid", f"A name has at most {MAX_NAME} characters, a filter {MAX_QUERY}.")
    if team_id is not None and not teams_to_save_for(user).filter(pk=team_id).exists():
        raise ApiError(403, "forbidden", "Only members and above can save views for a team.")
    owner = {"user": None, "team_id": team_id} if team_id is not None else {"user": user, "team_id": None}
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # so that two requests cannot both be the last one
        others = SavedView.objects.filter(**owner, page=page).exclude(name=name)
        if others.count() >= MAX_VIEWS:
            raise ApiError(409, "too_many", f"There are already {MAX_VIEWS} views of this list. Delete one first.")
        view, _ = SavedView.objects.update_or_create(**owner, page=page, name=name, defaults={"query": query})
    return view


def may_delete(user: User, view: SavedView) -> bool:
    if view.team_id is None:
        return view.user_id == user.pk
    return teams_to_save_for(user).filter(pk=view.team_id).exists()


def delete_view(*, user: User, view: SavedView) -> None:
    if not may_delete(user, view):
        raise ApiError(403, "forbidden", "Only members and above can delete views of a team.")
    view.delete()


def set_compact_rows(*, user: User, compact: bool) -> None:
    User.objects.filter(pk=user.pk).update(compact_rows=compact)
