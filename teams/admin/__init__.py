"""The admin's pages of this app, one file a noun."""

from django.contrib import admin

# Roles decide here, not groups; addresses and second factors are on the account pages. Before ours are registered:
# of the others only failed sign-ins are shown, in our own dress.
for _model in list(admin.site._registry):
    if _model._meta.app_label in ("account", "auth", "axes", "mfa"):
        admin.site.unregister(_model)

from teams.admin import audit, keys, members, people, projects  # noqa: E402

__all__ = ["audit", "keys", "members", "people", "projects"]
