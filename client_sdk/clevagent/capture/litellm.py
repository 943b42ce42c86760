from __future__ import annotations

MODULE = "litellm"


def patches(module):
    return []
