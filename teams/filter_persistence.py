"""Lists that remember how a person last narrowed them down."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils.http import urlencode

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = object

# `?clear` forgets.
CLEAR = "clear"
# What is in the address and no filter; nor is what begins with an underscore.
_PASSING = (PAGE_VAR, ERROR_FLAG, CLEAR)


class Remembering(_Base):
    """The address holds the filter; the session holds the last one, for who comes back by a plain link.

    What `passing` names is of the moment, and not kept.
    """

    passing: ClassVar[Sequence[str]] = ()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        kept = f"filter {self.opts.label_lower}"
        found = elsewhere(request, kept, self.passing) if request.method == "GET" else None
        return found or super().changelist_view(request, extra_context)


def elsewhere(request: HttpRequest, key: str, passing: Sequence[str] = ()) -> HttpResponse | None:
    """Where the list is that the person means, if not here; notes under `key` in the session what they chose."""
    if "HX-Request" in request.headers or IS_POPUP_VAR in request.GET:
        return None  # a page that keeps itself up to date, or a choice for a form
    kept, chosen = request.session.get(key, ""), _chosen(request.GET)
    if any(name in request.GET for name in passing):
        return None
    if not request.GET and kept and not _left(request):
        return HttpResponseRedirect(f"{request.path}?{kept}")
    if kept != chosen:
        request.session[key] = chosen
    if CLEAR in request.GET or "" in request.GET.values():
        return HttpResponseRedirect(f"{request.path}?{chosen}" if chosen else request.path)
    return None


def _chosen(asked: QueryDict) -> str:
    """The filter in an address; fields of a form that were left empty are none."""
    if CLEAR in asked or ERROR_FLAG in asked:
        return ""
    names = [name for name in asked if name not in _PASSING and not name.startswith("_")]
    return urlencode([(name, value) for name in names for value in asked.getlist(name) if value])


def _left(request: HttpRequest) -> bool:
    """Whether the person comes from this very list: then a plain link means everything."""
    referrer = request.headers.get("Referer", "")
    return referrer.partition("?")[0] == request.build_absolute_uri(request.path)
