"""`manage.py rotate_encryption_key`: replace the key of secrets at rest without a gap, in three steps."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from teams import encryption

KEY_FILE = "encryption_key"


class Command(BaseCommand):
    help = (
        "Replace the key that encrypts channels and second factors. Without an option, makes a new key. Restart the "
        "server, encrypt everything with it (--encrypt), then forget the old keys (--forget-old)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        step = parser.add_mutually_exclusive_group()
        step.add_argument("--encrypt", action="store_true", help="encrypt everything with the first key")
        step.add_argument("--forget-old", action="store_true", help="keep only the first key, if it is enough")

    def handle(self, *args: Any, encrypt: bool, forget_old: bool, **options: Any) -> None:
        if encrypt:
            self.encrypt()
        elif forget_old:
            self.forget_old()
        else:
            self.add_key()

    def add_key(self) -> None:
        """The new key is used after a restart only: until then, running processes could not read what it encrypts."""
        key = base64.b64encode(secrets.token_bytes(encryption.KEY_BYTES)).decode()
        if _is_stored():
            _store([key, *settings.ENCRYPTION_KEYS])
            self.stdout.write("A new key was added. Restart the server, then run this with --encrypt.")
            return
        self.stdout.write(f"Put this key and a comma before the others in ENCRYPTION_KEYS:\n{key}")
        if not settings.ENCRYPTION_KEYS_CONFIGURED:
            self.stdout.write(
                f"The one in use was derived from SECRET_KEY; put it after:\n{settings.ENCRYPTION_KEYS[0]}"
            )
        self.stdout.write("Restart the server, then run this with --encrypt.")

    def encrypt(self) -> None:
        changed = encryption.encrypt_again()
        self.stdout.write(
            f"Encrypted with the first key: {changed}. Still with another: {encryption.count_outdated()}."
        )

    def forget_old(self) -> None:
        outdated = encryption.count_outdated()
        if outdated:
            raise CommandError(f"{outdated} secrets still need an older key. Run this with --encrypt first.")
        if _is_stored():
            _store(settings.ENCRYPTION_KEYS[:1])
            self.stdout.write("Only the first key is kept. Backups from before need the old ones.")
        else:
            self.stdout.write(
                "Remove all but the first key from ENCRYPTION_KEYS. Backups from before need the old ones."
            )


def _is_stored() -> bool:
    """Whether the keys are in the data directory, not in the environment."""
    return bool(settings.EMBEDDED) and not os.environ.get("ENCRYPTION_KEYS")


def _store(keys: list[str]) -> None:
    """Replace the file at once: a crash leaves the old keys or all, never a part."""
    path = Path(settings.DATA_DIR) / KEY_FILE
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
