"""https://github.com/getsentry/sentry-python/pull/571

A cancelled request is captured as an error.
"""

from __future__ import annotations

import asyncio

from clevagent.failures import is_purposeful


def test_cancellation_is_no_failure() -> None:
    assert is_purposeful(asyncio.CancelledError())
