"""The Celery tasks of accounts and secrets."""

from celery import shared_task

from teams import encryption, mail
from teams.sessions import SessionStore


@shared_task(name="teams.protect_secrets")
def protect_secrets() -> None:
    """Encrypt what another key encrypted, delete sessions that ended, and old mails that were written to files."""
    encryption.encrypt_again()
    SessionStore.clear_expired()
    mail.purge_files()
