from django.apps import AppConfig


class SsoConfig(AppConfig):
    name = "teams.sso"
    label = "sso"
    verbose_name = "Team"
