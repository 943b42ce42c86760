"""The Celery tasks of accounts and secrets."""

from celery import shared_task
from django.contrib.sessions.models import Session as PlainSession
from django.utils import timezone

from teams import encryption, mail, rate_limits
from teams.sessions import SessionStore


@shared_task(name="teams.protect_secrets")
def protect_secrets() -> None:
    """Encrypt what another key encrypted; delete ended sessions, old mails in files and old counts."""
    encryption.encrypt_again()
    SessionStore.clear_expired()
    PlainSession.objects.all().delete()  # of earlier versions: nobody reads them any more, and their keys are no hashes
    mail.purge_files()
    rate_limits.purge(timezone.now())
