"""Where browsers make passkeys."""

from __future__ import annotations

import pytest

from teams import passkeys


@pytest.mark.parametrize(
    ("url", "possible", "instead"),
    [
        ("https://watch.example.com/accounts/login/", True, ""),
        ("http://localhost:8000/accounts/login/", True, ""),
        ("http://watch.localhost/accounts/login/", True, ""),
        ("http://watch.example.com/accounts/login/", False, ""),
        ("http://127.0.0.1:8000/accounts/2fa/?a=b", False, "http://localhost:8000/accounts/2fa/?a=b"),
        ("https://[::1]/accounts/2fa/", False, "https://localhost/accounts/2fa/"),
        ("https://10.0.0.5/accounts/2fa/", False, ""),
    ],
)
def test_they_need_a_name_and_a_safe_way(url: str, possible: bool, instead: str) -> None:
    assert passkeys.at(url) == (possible, instead)
