"""The Celery tasks of accounts and secrets."""

from celery import shared_task

from teams import encryption, mail


@shared_task(name="teams.protect_secrets")
def protect_secrets() -> None:
    """Encrypt what another key encrypted, and delete old mails that were written to files."""
    encryption.encrypt_again()
    mail.purge_files()
