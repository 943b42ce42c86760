"""https://github.com/getsentry/sentry-python/pull/4741

The end of an async loop is captured as an error.
"""

from __future__ import annotations

from clevagent.failures import is_purposeful


def test_end_of_a_loop_is_no_failure() -> None:
    assert is_purposeful(StopAsyncIteration())
    assert is_purposeful(StopIteration())
