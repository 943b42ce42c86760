"""Admin pages of this app, one module per subject."""

from django.contrib import admin

# Unregister the pages of Django, allauth and axes: permissions come from team roles, not groups; the account pages
# manage addresses and second factors; failed sign-ins have a page of ours.
for _model in list(admin.site._registry):
    if _model._meta.app_label in ("account", "auth", "axes", "mfa", "socialaccount"):
        admin.site.unregister(_model)

from teams.admin import audit, keys, members, people, projects, saved_views  # noqa: E402

__all__ = ["audit", "keys", "members", "people", "projects", "saved_views"]
