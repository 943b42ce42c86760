"""The admin's pages of this app, one file a noun."""

from django.contrib import admin
from django.contrib.auth.models import Group

from teams.admin import audit, keys, members, people, projects

__all__ = ["audit", "keys", "members", "people", "projects"]

# Roles decide here, not groups; addresses and second factors are on the account pages.
_NOT_SHOWN = {"auth.group", "account.emailaddress", "account.emailconfirmation", "mfa.authenticator"}
for _model in [
    model for model in admin.site._registry if model._meta.label_lower in _NOT_SHOWN | {Group._meta.label_lower}
]:
    admin.site.unregister(_model)
