"""The admin sees one person's teams: mixins that scope every queryset, choice, filter, action and delete page.

A ModelAdmin or an inline names the way from its model to the team (`team_path`) and, for each kind of change, the
`Action` that a role must allow; None means that nobody changes it here. The operator sees everything.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import get_fields_from_path, unquote
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.constants import LOOKUP_SEP
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from unfold import decorators
from unfold.admin import ModelAdmin, TabularInline

from teams.admin_forms import Forming
from teams.errors import ApiError
from teams.filter_persistence import Remembering
from teams.models import Membership, Team, User
from teams.roles import Action, may

if TYPE_CHECKING:
    _Base = admin.options.BaseModelAdmin[Any]
else:
    _Base = object


Decorated = Callable[..., Any]
Decorator = Callable[[Decorated], Decorated]
# Unfold's decorators, whose own annotations a type checker cannot follow.
action: Callable[..., Decorator] = cast("Callable[..., Decorator]", decorators.action)
display: Callable[..., Decorator] = cast("Callable[..., Decorator]", decorators.display)


def teams_of(user: Any, action: Action = Action.VIEW) -> models.QuerySet[Team]:
    """The teams in which a person may do something; all of them for the operator."""
    if not isinstance(user, User):
        return Team.objects.none()
    return Team.objects.lasting() if user.is_superuser else Team.objects.allowing(user, action)


def roles_of(request: HttpRequest) -> dict[int, str]:
    """Team -> role of the person who asks, read once a request."""
    kept: dict[int, str] | None = getattr(request, "_roles", None)
    if kept is None:
        kept = dict(Membership.objects.filter(user_id=request.user.pk or 0).values_list("team_id", "role"))
        request._roles = kept  # type: ignore[attr-defined]
    return kept


def allowed(request: HttpRequest, action: Action | None, team_id: int | None = None) -> bool:
    """Whether the person may do something in a team, or (None) in any team of theirs."""
    user = request.user
    if action is None or not isinstance(user, User) or not user.is_active:
        return False
    if user.is_superuser:
        return True
    roles = roles_of(request)
    return may(roles.get(team_id), action) if team_id is not None else any(may(r, action) for r in roles.values())


def _team_id(obj: models.Model, path: str) -> int | None:
    """Follow `project__team` (or `pk` for a team itself) from a row to its team's id."""
    *steps, last = path.split(LOOKUP_SEP)
    holder: Any = obj
    for step in steps:
        holder = getattr(holder, step, None)
    if holder is None:
        return None
    found: int | None = holder.pk if last == "pk" else getattr(holder, f"{last}_id")
    return found


def or_404(found: Any) -> Any:
    """Django would go to the index with a message; an address with nothing behind it is a 404."""
    if found is None:
        raise Http404("Nothing here by that address.")
    return found


def refusals_as_messages(request: HttpRequest, view: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a view; a refusal of a service becomes a message on the page the person came from."""
    try:
        return view(request, *args, **kwargs)
    except ApiError as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(request.get_full_path())


class Scoped(_Base):
    """What ModelAdmins and inlines share."""

    team_path: ClassVar[str] = "project__team"
    view_action: ClassVar[Action] = Action.VIEW
    add_action: ClassVar[Action | None] = Action.CONFIGURE
    change_action: ClassVar[Action | None] = Action.CONFIGURE
    delete_action: ClassVar[Action | None] = Action.CONFIGURE

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        return self.within(request, super().get_queryset(request), self.view_action)

    def within(self, request: HttpRequest, rows: models.QuerySet[Any], action: Action | None) -> models.QuerySet[Any]:
        """The rows of those teams in which the person may do `action`."""
        if action is None:
            return rows.none()
        if isinstance(request.user, User) and request.user.is_superuser:
            steps = [step for step in self.team_path.split(LOOKUP_SEP) if step != "pk"]
            return rows.filter(**{LOOKUP_SEP.join([*steps, "ended_at"]): None})
        return rows.filter(**{f"{self.team_path}__in": teams_of(request.user, action)})

    def allows(self, request: HttpRequest, action: Action | None, obj: Any = None) -> bool:
        """Whether the person may do `action` to `obj`, or (None) to anything of this kind."""
        if obj is None or allowed_operator(request):
            return allowed(request, action)
        team_id = self.team_id_of(request, obj)
        return team_id is not None and allowed(request, action, team_id)

    def team_id_of(self, request: HttpRequest, obj: Any) -> int | None:
        raise NotImplementedError

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, self.view_action, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, self.add_action, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, self.change_action, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, self.delete_action, obj)

    # For `@action(permissions=["operate"])` and its like.
    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, Action.OPERATE, obj)

    def has_configure_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, Action.CONFIGURE, obj)

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.allows(request, Action.MANAGE, obj)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = self._choices(db_field, request, kwargs.get("queryset"))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = self._choices(db_field, request, kwargs.get("queryset"))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def _choices(self, db_field: Any, request: HttpRequest, rows: models.QuerySet[Any] | None) -> models.QuerySet[Any]:
        """Only what lies in teams where the person may write such a row; nothing at all of an unscoped model."""
        related = db_field.remote_field.model
        rows = related._default_manager.all() if rows is None else rows
        other: Any = self.admin_site._registry.get(related)
        if isinstance(other, TeamScoped):
            return other.within(request, rows, self.add_action or self.change_action or self.view_action)
        return rows if isinstance(request.user, User) and request.user.is_superuser else rows.none()


class TeamScoped(Scoped):
    """For ModelAdmins; see the module. Put it before `ModelAdmin`, or use `TeamAdmin`, which is both."""

    def team_id_of(self, request: HttpRequest, obj: Any) -> int | None:
        if not isinstance(obj, models.Model):  # Unfold asks with the key in the address
            obj = self.get_object(request, unquote(str(obj)))
        return _team_id(obj, self.team_path)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) or self.has_change_permission(request)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return refusals_as_messages(request, super().changeform_view, *args, **kwargs)  # type: ignore[misc]

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return refusals_as_messages(request, super().delete_view, *args, **kwargs)  # type: ignore[misc]

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return refusals_as_messages(request, super().changelist_view, *args, **kwargs)  # type: ignore[misc]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """What is not there for this person is not there: 404, for another team's as for nobody's."""
        return or_404(super().get_object(request, object_id, from_field))  # type: ignore[misc]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Relations always get a filter that names only the person's own rows."""
        return [self._scoped_filter(item) for item in super().get_list_filter(request)]  # type: ignore[misc]

    def _scoped_filter(self, item: Any) -> Any:
        if isinstance(item, tuple):
            path, kind = item
            scoped = (ScopedRelatedFilter, admin.RelatedOnlyFieldListFilter)
            unscoped = issubclass(kind, admin.RelatedFieldListFilter) and not issubclass(kind, scoped)
            return (path, ScopedRelatedFilter) if unscoped else item
        if not isinstance(item, str):
            return item
        field: Any = get_fields_from_path(self.model, item)[-1]
        if field.is_relation:
            return item, ScopedRelatedFilter
        if LOOKUP_SEP in item and not field.choices and not isinstance(field, models.BooleanField | models.DateField):
            raise ImproperlyConfigured(f"A filter on {item} would list the values of other teams.")
        return item

    def response_action(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        """A list shows all teams of a person, who may have less to say in some: leave those rows alone."""
        for name in request.POST.getlist("action"):
            queryset = self._rows_for(request, queryset, name)
        answer: HttpResponse | None = super().response_action(request, queryset)  # type: ignore[misc]
        return answer

    def _rows_for(self, request: HttpRequest, queryset: models.QuerySet[Any], name: str) -> models.QuerySet[Any]:
        function = self.get_actions(request).get(name, [None])[0]  # type: ignore[attr-defined]
        for permission in getattr(function, "allowed_permissions", ()):
            queryset = self.within(request, queryset, self._action_behind(permission))
        return queryset

    def _action_behind(self, permission: str) -> Action | None:
        """`delete` is what this admin says it takes; `operate` and its like are themselves."""
        own = {"view": self.view_action, "change": self.change_action, "delete": self.delete_action}
        return own[permission] if permission in own else Action(permission)


class TeamScopedInline(Scoped):
    """For inlines; the permissions are asked about the parent, to which `team_path`'s first step leads.

    Where it leads elsewhere, the inline is the operator's alone.
    """

    if TYPE_CHECKING:
        model: type[models.Model]
        parent_model: type[models.Model]

    def team_id_of(self, request: HttpRequest, obj: Any) -> int | None:
        first, _, rest = self.team_path.partition(LOOKUP_SEP)
        leads_there = self.model._meta.get_field(first).related_model is self.parent_model
        return _team_id(obj, rest or "pk") if leads_there else None


class ScopedRelatedFilter(admin.RelatedFieldListFilter):
    """Django's own shows every team's rows."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        """Not of a poll, which leaves the form alone."""
        other = model_admin.admin_site._registry.get(field.remote_field.model)
        is_needed = self.lookup_val or not getattr(request, "htmx", False)
        if not (is_needed and isinstance(other, TeamScoped)):
            return []
        return [(row.pk, str(row)) for row in other.get_queryset(request).order_by(*other.get_ordering(request))]

    def has_output(self) -> bool:
        """Who has one row only need not choose; what was chosen counts all the same."""
        return bool(self.lookup_val) or super().has_output()

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """What can be nobody's id matches nothing, as that of another team does."""
        try:
            return super().queryset(request, queryset)
        except IncorrectLookupParameters:
            return queryset.none()


class TeamAdmin(Remembering, TeamScoped, Forming, ModelAdmin):  # type: ignore[misc]
    """A ModelAdmin in which everything is scoped to the person's teams."""

    actions_list: Any = ()
    actions_row: Any = ()
    actions_detail: Any = ()
    actions_submit_line: Any = ()


class TeamTabularInline(TeamScopedInline, TabularInline):  # type: ignore[misc]
    """An inline table, scoped."""

    extra = 0


class OperatorAdmin(Remembering, Forming, ModelAdmin):  # type: ignore[misc]
    """For what is the operator's alone."""

    has_history = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return allowed_operator(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return allowed_operator(request)

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return or_404(super().get_object(request, object_id, from_field))


def allowed_operator(request: HttpRequest) -> bool:
    """Whether the person who asks is the operator."""
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser
