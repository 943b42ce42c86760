from django.apps import AppConfig
from django.contrib.admin import apps as django_admin  # a class imported by name would be taken for this app's own


class TeamsConfig(AppConfig):
    name = "teams"
    verbose_name = "Team"
    default = True


class AdminConfig(django_admin.AdminConfig):
    """Django's admin with our site as the default one."""

    default = False
    default_site = "teams.site.Site"
