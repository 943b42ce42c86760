"""Admin mixins for multi-tenancy: every queryset, choice, filter, action and delete page shows the person's teams only.

A ModelAdmin or inline names the lookup from its model to the team (`team_path`) and, for each kind of change, the
`Action` that the role must allow; None means that nobody can make that change here. The operator sees everything.
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

from teams.access import allowed, is_operator, teams_of
from teams.admin_forms import SimpleFormsMixin
from teams.declared_filters import DeclaredFiltersMixin
from teams.errors import ApiError
from teams.filter_persistence import FilterPersistenceMixin
from teams.models import User
from teams.roles import Action

if TYPE_CHECKING:
    _Base = admin.options.BaseModelAdmin[Any]
    _ModelAdminBase = admin.ModelAdmin[Any]
else:
    _Base = _ModelAdminBase = object


Decorated = Callable[..., Any]
Decorator = Callable[[Decorated], Decorated]
# Unfold's decorators; a type checker cannot follow their own annotations.
action: Callable[..., Decorator] = cast("Callable[..., Decorator]", decorators.action)
display: Callable[..., Decorator] = cast("Callable[..., Decorator]", decorators.display)


def _team_id(obj: models.Model, path: str) -> int | None:
    """The id of a row's team, by a lookup such as `project__team`, or `pk` for a team itself."""
    *steps, last = path.split(LOOKUP_SEP)
    row: Any = obj
    for step in steps:
        row = getattr(row, step, None)
    if row is None:
        return None
    team_id: int | None = row.pk if last == "pk" else getattr(row, f"{last}_id")
    return team_id


def or_404(row: Any) -> Any:
    """Raise 404 for a missing row; Django's admin would redirect to the index with a message."""
    if row is None:
        raise Http404("Not found.")
    return row


def refusals_as_messages(request: HttpRequest, view: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a view; if a service refuses, the reason becomes a message on the page the person came from."""
    try:
        return view(request, *args, **kwargs)
    except ApiError as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(request.get_full_path())


class Scoped(_Base):
    """Shared by ModelAdmins and inlines."""

    team_path: ClassVar[str] = "project__team"
    view_action: ClassVar[Action] = Action.VIEW
    add_action: ClassVar[Action | None] = Action.CONFIGURE
    change_action: ClassVar[Action | None] = Action.CONFIGURE
    delete_action: ClassVar[Action | None] = Action.CONFIGURE

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        return self.within(request, super().get_queryset(request), self.view_action)

    def within(self, request: HttpRequest, rows: models.QuerySet[Any], action: Action | None) -> models.QuerySet[Any]:
        """The rows of teams in which the person can do `action`."""
        if action is None:
            return rows.none()
        if isinstance(request.user, User) and request.user.is_superuser:
            # One join to the team instead of a subquery over all teams.
            steps = [step for step in self.team_path.split(LOOKUP_SEP) if step != "pk"]
            return rows.filter(**{LOOKUP_SEP.join([*steps, "ended_at"]): None})
        return rows.filter(**{f"{self.team_path}__in": teams_of(request.user, action)})

    def allows(self, request: HttpRequest, action: Action | None, obj: Any = None) -> bool:
        """Whether the person can do `action` to `obj`, or (None) to any row of this model."""
        if obj is None or is_operator(request):
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

    # For `@action(permissions=["operate"])` etc.
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
        """Only rows of teams where the person can save this model; nothing if the related model has no scoped admin."""
        related = db_field.remote_field.model
        rows = related._default_manager.all() if rows is None else rows
        related_admin: Any = self.admin_site._registry.get(related)
        if isinstance(related_admin, TeamScoped):
            return related_admin.within(request, rows, self.add_action or self.change_action or self.view_action)
        return rows if isinstance(request.user, User) and request.user.is_superuser else rows.none()


class TeamScoped(Scoped, _ModelAdminBase):
    """For ModelAdmins. List it before `ModelAdmin`, or use `TeamAdmin`, which combines them."""

    def team_id_of(self, request: HttpRequest, obj: Any) -> int | None:
        if not isinstance(obj, models.Model):  # Unfold passes the key from the URL
            obj = self.get_object(request, unquote(str(obj)))
        return _team_id(obj, self.team_path)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) or self.has_change_permission(request)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return refusals_as_messages(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return refusals_as_messages(request, super().delete_view, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return refusals_as_messages(request, super().changelist_view, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """404 for another team's row just like for one that does not exist, so that nobody can probe for ids."""
        try:
            return or_404(super().get_object(request, object_id, from_field))
        except OverflowError:  # an id beyond SQLite's integers
            raise Http404 from None

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Filters on relations only list the person's own rows."""
        return [self._scoped_filter(item) for item in super().get_list_filter(request)]

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
            raise ImproperlyConfigured(f"A filter on {item} would show values of other teams.")
        return item

    def response_action(self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any) -> HttpResponse | None:
        """A list spans all teams of a person: skip the rows of teams where their role does not allow the action."""
        for name in request.POST.getlist("action"):
            queryset = self._permitted_rows(request, queryset, name)
        response: HttpResponse | None = super().response_action(request, queryset, *args)
        return response

    def _permitted_rows(self, request: HttpRequest, queryset: models.QuerySet[Any], name: str) -> models.QuerySet[Any]:
        actions: dict[str, Any] = self.get_actions(request)
        function = actions.get(name, [None])[0]
        for permission in getattr(function, "allowed_permissions", ()):
            queryset = self.within(request, queryset, self._action_for(permission))
        return queryset

    def _action_for(self, permission: str) -> Action | None:
        """`view`, `change` and `delete` map to this admin's settings; others, such as `operate`, are actions."""
        own = {"view": self.view_action, "change": self.change_action, "delete": self.delete_action}
        return own[permission] if permission in own else Action(permission)


class TeamScopedInline(Scoped):
    """For inlines. Permissions are checked on the parent object, so the first step of `team_path` must lead there.

    If it leads to another model, only the operator sees the inline.
    """

    if TYPE_CHECKING:
        model: type[models.Model]
        parent_model: type[models.Model]

    def team_id_of(self, request: HttpRequest, obj: Any) -> int | None:
        first, _, rest = self.team_path.partition(LOOKUP_SEP)
        leads_to_parent = self.model._meta.get_field(first).related_model is self.parent_model
        return _team_id(obj, rest or "pk") if leads_to_parent else None


class ScopedRelatedFilter(admin.RelatedFieldListFilter):
    """Django's own filter would list the rows of every team."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        """Skipped in live updates, which do not redraw the filter bar."""
        related_admin = model_admin.admin_site._registry.get(field.remote_field.model)
        is_needed = self.lookup_val or not getattr(request, "htmx", False)
        if not (is_needed and isinstance(related_admin, TeamScoped)):
            return []
        rows = related_admin.get_queryset(request).order_by(*related_admin.get_ordering(request))
        return [(row.pk, str(row)) for row in rows]

    def has_output(self) -> bool:
        """Hidden if there is only one row to choose from, unless the URL selects one."""
        return bool(self.lookup_val) or super().has_output()

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> Any:
        """A malformed id matches nothing, just like an id of another team."""
        try:
            return super().queryset(request, queryset)
        except IncorrectLookupParameters:
            return queryset.none()


class TeamAdmin(DeclaredFiltersMixin, FilterPersistenceMixin, TeamScoped, SimpleFormsMixin, ModelAdmin):  # type: ignore[misc]
    """A ModelAdmin scoped to the person's teams."""

    actions_list: Any = ()
    actions_row: Any = ()
    actions_detail: Any = ()
    actions_submit_line: Any = ()


class TeamTabularInline(TeamScopedInline, TabularInline):  # type: ignore[misc]
    """A tabular inline scoped to the person's teams."""

    extra = 0


class OperatorAdmin(DeclaredFiltersMixin, FilterPersistenceMixin, SimpleFormsMixin, ModelAdmin):  # type: ignore[misc]
    """A ModelAdmin for the operator only."""

    has_history = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_operator(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_operator(request)

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return or_404(super().get_object(request, object_id, from_field))
