"""Forms without what helps nobody, that stay where they are when saved, and say what deleting takes along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.db import models
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = object


class Forming(_Base):
    """For ModelAdmins, before Django's own.

    `destroys` are the relations that a delete page counts, as lookups from the row; `explains_deletion` says what no
    number says. `types_name`: whoever deletes types the row's name first.
    """

    change_form_outer_after_template: Any = "teams/admin/delete_link.html"
    destroys: ClassVar[Sequence[str]] = ()
    explains_deletion: ClassVar[str] = "This cannot be undone."
    types_name: ClassVar[bool] = False
    deleting: ClassVar[str] = "Delete"
    # Whether the audit log knows of its rows.
    has_history: ClassVar[bool] = True

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Without the buttons that change the other row from here."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The only choice there is is chosen."""
        field: Any = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None and field.required:
            found = list(field.queryset[:2])
            if len(found) == 1:
                field.initial, field.empty_label = found[0].pk, None
        return field

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["deletable"] = kwargs.get("obj") is not None and self.has_delete_permission(request, kwargs["obj"])
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False, "show_delete": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        return HttpResponseRedirect(request.get_full_path())

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        if request.method == "POST" and self.types_name:
            row = self.get_object(request, unquote(object_id))
            typed = request.POST.get("typed", "").strip()
            if row is not None and self.has_delete_permission(request, row) and typed != str(row).strip():
                messages.error(request, f"Nothing was deleted: the name that was typed is not “{row}”.")
                return HttpResponseRedirect(request.get_full_path())
        told = {name: getattr(self, name) for name in ("types_name", "explains_deletion", "deleting")}
        return super().delete_view(request, object_id, {**told, **(extra_context or {})})

    def response_action(self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any) -> HttpResponse | None:
        """Keys come one a field, as lists send them, or many in one: a request may have a thousand fields at most."""
        given = request.POST.copy()
        keys = [key for field in given.getlist(ACTION_CHECKBOX_NAME) for key in field.split(",")]
        given.setlist(ACTION_CHECKBOX_NAME, keys)
        request.POST = given  # type: ignore[assignment]
        return super().response_action(request, queryset, *args)

    def get_deleted_objects(
        self, objs: Iterable[models.Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """The delete page: the rows, and how many others go with them.

        Those are counted, not listed: they may be a million heartbeats. They are the same team's, so the right to
        delete the row is all it takes.
        """
        rows = list(objs)
        barred = {str(self.opts.verbose_name) for row in rows if not self.has_delete_permission(request, row)}
        counts = dict(self._goes_along(rows))
        return [str(row) for row in rows], counts, barred, []

    def _goes_along(self, rows: list[models.Model]) -> Iterable[tuple[str, int]]:
        """What people would miss, by name. One query a relation: joined, they would multiply."""
        chosen = self.model._base_manager.filter(pk__in=[row.pk for row in rows]).order_by()
        for lookup in self.destroys:
            n = chosen.aggregate(n=Count(lookup, distinct=True))["n"]
            if n:
                yield _named(self.model, lookup, n), n


def _named(model: type[models.Model], lookup: str, n: int) -> str:
    """`agent` or `agents`, as many as there are, of what a lookup leads to."""
    for step in lookup.split("__"):
        model = model._meta.get_field(step).related_model  # type: ignore[assignment]
    return str(model._meta.verbose_name if n == 1 else model._meta.verbose_name_plural)
