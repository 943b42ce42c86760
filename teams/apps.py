from django.apps import AppConfig
from django.contrib.admin import apps as django_admin  # Django would take an AppConfig imported by name for this app's


class TeamsConfig(AppConfig):
    name = "teams"
    verbose_name = "Team"
    default = True

    def ready(self) -> None:
        from teams import account_log, sign_ins

        account_log.connect()
        sign_ins.connect()


class AdminConfig(django_admin.AdminConfig):
    """Django's admin with our site as the default site."""

    default = False
    default_site = "teams.site.Site"
