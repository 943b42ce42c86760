from django.apps import AppConfig


class WatchdogConfig(AppConfig):
    name = "watchdog_project"

    def ready(self) -> None:
        from teams.site import Site
        from watchdog_project import checks, installation  # noqa: F401 - importing registers the checks

        Site.pages.extend(installation.urls())
