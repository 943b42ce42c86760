"""The id that all log lines and the response of a request carry."""

import os
import re

_ACCEPTED = re.compile(r"^[A-Za-z0-9._-]{8,64}$")


def request_id_for(supplied: str) -> str:
    """The caller's `X-Request-ID` if it is valid, else a new one."""
    return supplied if _ACCEPTED.match(supplied) else os.urandom(16).hex()
