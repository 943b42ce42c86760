"""https://github.com/louislam/uptime-kuma/issues/985

Below a path of its host, pages redirect to the root and load nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from watchdog_project.forwarding import below_prefix


@pytest.mark.parametrize(
    ("asked", "seen"),
    [("/uptime/admin/", "/admin/"), ("/uptime", "/"), ("/admin/", "/admin/"), ("/uptimes/", "/uptimes/")],
)
def test_path_is_taken_with_and_without_prefix(asked: str, seen: str) -> None:
    paths: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        paths.append(environ["PATH_INFO"])
        return []

    below_prefix(app, "/uptime")({"PATH_INFO": asked}, None)
    assert paths == [seen]
