"""URLs of the server."""

from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularSwaggerSplitView

from agents.api.mcp.endpoint import mcp
from agents.api.metrics import metrics
from alerts.on_call_api import feed_patterns
from watchdog_project.openapi_views import SchemaView

# Swagger UI uses inline styles.
api_docs = csp_update({"style-src": ["'self'", "'unsafe-inline'"]})(
    SpectacularSwaggerSplitView.as_view(url_name="api_schema")
)

handler400 = "watchdog_project.error_views.bad_request"
handler404 = "watchdog_project.error_views.not_found"
handler500 = "watchdog_project.error_views.server_error"

urlpatterns = [
    path("api/v1/", include("agents.api.urls")),  # first: most requests are heartbeats
    path("", include("agents.doors.urls")),
    path("metrics", metrics, name="metrics"),
    path("mcp", mcp, name="mcp"),
    path("ping/", include("agents.api.jobs.pings")),
    path("admin/", admin.site.urls),
    path("", include("teams.urls")),
    path("", include("agents.reporting.status_page")),
    path("accounts/sso/", include("teams.sso.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("docs/", include("watchdog_project.documentation_views")),
    path("api/v1/", include("teams.api")),
    path("api/v1/", include("billing.api")),
    path("api/v1/", include("alerts.api")),
    path("api/v1/", include("alerts.policy_api")),
    path("alerts/", include("alerts.link_views")),
    path("alerts/", include("alerts.quiet_hours_page")),
    path("api/v1/", include("alerts.on_call_api")),
    path("alerts/", include(feed_patterns)),
    path("api/schema", SchemaView.as_view(), name="api_schema"),
    path("api/docs", api_docs, name="api_docs"),
    path("simple/", include("watchdog_project.package_index")),
    path("npm/", include("watchdog_project.npm_package")),
    path("", include("watchdog_project.site_files")),
]
