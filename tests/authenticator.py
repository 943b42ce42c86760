"""The authenticator app on a person's phone."""

from __future__ import annotations

import time

from allauth.mfa import app_settings
from allauth.mfa.totp.internal import auth


def code_of(secret: str) -> str:
    """The code that the app shows now.

    allauth's first counter is the previous period, whose code is rejected as soon as the next period begins.
    """
    return str(auth.format_hotp_value(auth.hotp_value(secret, int(time.time()) // app_settings.TOTP_PERIOD)))
