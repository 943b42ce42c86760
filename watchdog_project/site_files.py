"""Files that browsers, crawlers and security researchers look for at fixed paths."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from django.views.generic.base import RedirectView

from teams.links import on_base_url

# RFC 9116 asks for less than a year.
EXPIRES_IN: Final = timedelta(days=180)
# The landing page and the documentation say what this is; everything else belongs to somebody.
ROBOTS: Final = """\
User-agent: *
Disallow: /admin/
Disallow: /accounts/
Disallow: /api/
Disallow: /badge/
Disallow: /status/
"""
cached = cache_control(public=True, max_age=86_400)


@require_safe
@cached
def robots(request: HttpRequest) -> HttpResponse:
    return HttpResponse(ROBOTS, content_type="text/plain; charset=utf-8")


@require_safe
@cached
def security(request: HttpRequest) -> HttpResponse:
    """RFC 9116. Without `SUPPORT_EMAIL`, the installation itself is the only contact there is."""
    contact = f"mailto:{settings.SUPPORT_EMAIL}" if settings.SUPPORT_EMAIL else settings.BASE_URL
    expires = (timezone.now() + EXPIRES_IN).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    own = on_base_url(request.path)
    text = f"Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\nCanonical: {own}\n"
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


class Favicon(RedirectView):
    """For programs that ignore the icon a page names."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        return static("teams/icon.svg")


urlpatterns = [
    path("robots.txt", robots),
    path(".well-known/security.txt", security),
    path("favicon.ico", cached(Favicon.as_view())),
]
