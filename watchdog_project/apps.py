from django.apps import AppConfig

# Binds every shared task to our Celery application. Not in the package's __init__, which would make each program that
# reads only the settings load Celery.
from watchdog_project.celery import app as celery_app

__all__ = ["WatchdogConfig", "celery_app"]


class WatchdogConfig(AppConfig):
    name = "watchdog_project"

    def ready(self) -> None:
        from teams.site import Site
        from watchdog_project import checks, installation  # noqa: F401 - importing registers the checks

        Site.pages.extend(installation.urls())
