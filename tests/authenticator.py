"""The app on a person's phone that shows the codes of the second factor."""

from __future__ import annotations

import time

from allauth.mfa import app_settings
from allauth.mfa.totp.internal import auth


def code_of(secret: str) -> str:
    """What the app shows now.

    The first of allauth's own counters is the period before: its code is refused as soon as the next period begins.
    """
    return str(auth.format_hotp_value(auth.hotp_value(secret, int(time.time()) // app_settings.TOTP_PERIOD)))
