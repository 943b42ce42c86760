"""Lists remember the last filter a person used, per session."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils.http import urlencode

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = object

# `?clear` resets the filter.
CLEAR = "clear"
# Query parameters that are not filters; nor are those that start with an underscore.
_NOT_FILTERS = (PAGE_VAR, ERROR_FLAG, CLEAR)


class FilterPersistenceMixin(_Base):
    """The filter lives in the URL; a plain link to the list restores the last one from the session.

    Parameters named in `unsaved_filters` are applied but not remembered.
    """

    unsaved_filters: ClassVar[Sequence[str]] = ()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        key = f"filter {self.opts.label_lower}"
        if request.method == "GET":
            redirect = restore_filter(request, key, self.unsaved_filters)
            if redirect is not None:
                return redirect
        try:
            return super().changelist_view(request, extra_context)
        except DisallowedModelAdminLookup:
            request.session.pop(key, None)  # otherwise a plain link would lead to it again
            raise


def restore_filter(request: HttpRequest, key: str, unsaved_filters: Sequence[str] = ()) -> HttpResponse | None:
    """Save the filter of this request in the session under `key`; redirect to the URL with the right filter if needed.

    None means that this URL already is the right one.
    """
    if "HX-Request" in request.headers or IS_POPUP_VAR in request.GET:
        return None  # a live update, or a popup that selects a value for a form
    saved, requested = request.session.get(key, ""), filter_query(request.GET)
    if any(name in request.GET for name in unsaved_filters):
        return None
    if not request.GET and saved and not _came_from_same_list(request):
        return HttpResponseRedirect(f"{request.path}?{saved}")
    if saved != requested:
        request.session[key] = requested
    if CLEAR in request.GET or "" in request.GET.values():
        return HttpResponseRedirect(f"{request.path}?{requested}" if requested else request.path)
    return None


def filter_query(parameters: QueryDict) -> str:
    """The filters of a URL as a query string, without form fields that were left empty."""
    if CLEAR in parameters or ERROR_FLAG in parameters:
        return ""
    names = [name for name in parameters if name not in _NOT_FILTERS and not name.startswith("_")]
    return urlencode([(name, value) for name in names for value in parameters.getlist(name) if value])


def _came_from_same_list(request: HttpRequest) -> bool:
    """On the list itself, a link without parameters means "show everything", not "restore my filter"."""
    referrer = request.headers.get("Referer", "")
    return referrer.partition("?")[0] == request.build_absolute_uri(request.path)
