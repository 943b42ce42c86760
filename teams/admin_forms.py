"""Simpler admin forms, and delete pages that count what is deleted along with a row."""

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


class SimpleFormsMixin(_Base):
    """For ModelAdmins, before Django's own class.

    `destroys` are the relations that a delete page counts, as lookups from the row; `explains_deletion` says what
    deleting means. With `confirm_by_name`, the row's name must be typed to delete it.
    """

    change_form_outer_after_template: Any = "teams/admin/delete_link.html"
    destroys: ClassVar[Sequence[str]] = ()
    explains_deletion: ClassVar[str] = "This cannot be undone."
    confirm_by_name: ClassVar[bool] = False
    delete_label: ClassVar[str] = "Delete"
    # Whether the audit log has entries about its rows.
    has_history: ClassVar[bool] = True

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Name the bulk action like the delete button."""
        actions: dict[str, Any] = super().get_actions(request)
        if "delete_selected" in actions:
            run, name, _ = actions["delete_selected"]
            actions["delete_selected"] = run, name, f"{self.delete_label} selected %(verbose_name_plural)s"
        return actions

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Drop the buttons that add or edit the related row from here."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Preselect the only choice."""
        field: Any = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None and field.required:
            choices = list(field.queryset[:2])
            if len(choices) == 1:
                field.initial, field.empty_label = choices[0].pk, None
        return field

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["deletable"] = kwargs.get("obj") is not None and self.has_delete_permission(request, kwargs["obj"])
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False, "show_delete": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        """Stay on the form."""
        return HttpResponseRedirect(request.get_full_path())

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        if request.method == "POST" and self.confirm_by_name:
            row = self.get_object(request, unquote(object_id))
            typed = request.POST.get("typed", "").strip()
            if row is not None and self.has_delete_permission(request, row) and typed != str(row).strip():
                messages.error(request, f"Not deleted: the name you typed is not “{row}”.")
                return HttpResponseRedirect(request.get_full_path())
        context = {name: getattr(self, name) for name in ("confirm_by_name", "explains_deletion", "delete_label")}
        return super().delete_view(request, object_id, {**context, **(extra_context or {})})

    def response_action(self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any) -> HttpResponse | None:
        """Accept ids joined by commas besides one field per id: Django allows at most 1,000 fields per request."""
        data = request.POST.copy()
        keys = [key for field in data.getlist(ACTION_CHECKBOX_NAME) for key in field.split(",")]
        data.setlist(ACTION_CHECKBOX_NAME, keys)
        request.POST = data  # type: ignore[assignment]
        response = super().response_action(request, queryset, *args)
        if (context := getattr(response, "context_data", None)) is not None:
            context["delete_label"] = self.delete_label
        return response

    def get_deleted_objects(
        self, objs: Iterable[models.Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """For the delete page: the rows, and how many related rows are deleted with them.

        Related rows are counted, not listed, as Django would: they may be a million heartbeats. They belong to the same
        team, so the permission to delete the row suffices.
        """
        rows = list(objs)
        forbidden = {str(self.opts.verbose_name) for row in rows if not self.has_delete_permission(request, row)}
        return [str(row) for row in rows], dict(self._count_related(rows)), forbidden, []

    def _count_related(self, rows: list[models.Model]) -> Iterable[tuple[str, int]]:
        """Related rows by name. One query per relation: joined in one query, the counts would multiply."""
        selected = self.model._base_manager.filter(pk__in=[row.pk for row in rows]).order_by()
        for lookup in self.destroys:
            n = selected.aggregate(n=Count(lookup, distinct=True))["n"]
            if n:
                yield _related_name(self.model, lookup, n), n


def _related_name(model: type[models.Model], lookup: str, n: int) -> str:
    """`agent` or `agents`, depending on `n`, for the model at the end of a lookup."""
    for step in lookup.split("__"):
        model = model._meta.get_field(step).related_model  # type: ignore[assignment]
    return str(model._meta.verbose_name if n == 1 else model._meta.verbose_name_plural)
