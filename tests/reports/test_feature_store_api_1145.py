"""https://github.com/logicalclocks/feature-store-api/issues/1145

With a newline after the key, the error prints the key.
"""

from __future__ import annotations

import pytest
from clevagent import check
from clevagent.options import read_options
from clevagent.testing import FakeServer

from tests.client_sdk.test_options import GIVEN, KEY, warned


def test_newline_after_the_key_is_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    options = read_options(**{**GIVEN, "api_key": f"{KEY}\n"})
    assert options
    assert options.api_key == KEY
    with FakeServer(key=KEY) as server:
        assert check.check_server(server.url, f"{KEY}\n", "", wall=0) == 1  # for the clock alone
    assert KEY not in "".join(capsys.readouterr())


def test_newline_inside_the_key_is_said_without_it() -> None:
    assert KEY[3:] not in warned(api_key=f"{KEY}\n{KEY}")[1]
