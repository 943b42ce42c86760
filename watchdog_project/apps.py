from django.apps import AppConfig


class WatchdogConfig(AppConfig):
    name = "watchdog_project"

    def ready(self) -> None:
        from watchdog_project import checks  # noqa: F401 - importing registers them
