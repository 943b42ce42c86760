"""Base class of views on a project's resources. The project is the one of the API key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.api.validation import invalid
from agents.domain.wire.names import agent_name
from agents.models import Agent
from teams.api import caller_of
from teams.auth import Caller
from teams.drf import Pages
from teams.errors import ApiError

M = TypeVar("M", bound=Model)
# A longer number is no ID.
MAX_ID_DIGITS: Final = 19


def named_agents(project_id: int, text: str) -> QuerySet[Agent]:
    """The project's agent with this ID, else with this name or alias. Empty if there is none."""
    own = Agent.objects.filter(project=project_id)
    is_id = text.isascii() and text.isdigit() and len(text) < MAX_ID_DIGITS
    if is_id and (by_id := own.filter(pk=int(text))).exists():
        return by_id
    return own.filter(names__name=agent_name(text))


class ProjectView(APIView):
    # No docstrings on base views: the OpenAPI document would show them at every operation.

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        with_nul = [name for name, value in request.query_params.items() if "\0" in value]
        if with_nul:
            raise invalid(with_nul[0], "contains a NUL character")

    @property
    def caller(self) -> Caller:
        return caller_of(self.request)

    def get_or_404(self, queryset: QuerySet[M], pk: int) -> M:
        """The row with this id in a queryset of the project. Raises 404, also for rows of other projects."""
        row = queryset.filter(pk=pk).first()
        if row is None:
            raise ApiError(404, "not_found", f"This project has no {queryset.model._meta.verbose_name} {pk}.")
        return row

    def page(self, queryset: QuerySet[M], as_dict: Callable[[M], dict[str, Any]]) -> Response:
        """One page of a list, `?limit=&offset=`."""
        return self.pages(queryset, lambda rows: [as_dict(row) for row in rows])

    def pages(self, queryset: QuerySet[M], as_dicts: Callable[[list[M]], list[dict[str, Any]]]) -> Response:
        """Like `page`, for rows that are converted together."""
        pages = Pages()
        rows = pages.paginate_queryset(queryset, self.request, view=self) or []
        return pages.get_paginated_response(as_dicts(rows))

    def agents_asked_for(self) -> QuerySet[Agent] | None:
        """The agent that `?agent=` means, an ID, a name or an alias; None without it, empty if there is none."""
        value = self.request.query_params.get("agent")
        return named_agents(self.caller.project_id, value) if value else None

    def choice(self, name: str, allowed: list[str]) -> str | None:
        """A query parameter with a fixed set of values. Raises 422 for any other value."""
        value = self.request.query_params.get(name)
        if value and value not in allowed:
            raise invalid(name, f"must be one of {', '.join(allowed)}")
        return value or None
