"""https://github.com/open-telemetry/opentelemetry-python/issues/4484

A span around a generator that is closed has the status ERROR.
"""

from __future__ import annotations

from clevagent.failures import is_purposeful


def test_closed_generator_is_no_failure() -> None:
    assert is_purposeful(GeneratorExit())
    assert is_purposeful(BaseExceptionGroup("", [GeneratorExit()]))
    assert not is_purposeful(BaseExceptionGroup("", [GeneratorExit(), ValueError()]))
