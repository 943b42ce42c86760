"""Where browsers support passkeys."""

from __future__ import annotations

import pytest

from teams import passkeys


@pytest.mark.parametrize(
    ("url", "available", "alternative_url"),
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
def test_support_needs_host_name_and_https(url: str, available: bool, alternative_url: str) -> None:
    assert passkeys.support_at(url) == (available, alternative_url)
