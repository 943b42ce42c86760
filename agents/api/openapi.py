"""Responses that every operation has in common in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

_COMMON: Final = {
    "401": "The key is missing, unknown, revoked or expired.",
    "403": "The key's scope or the plan does not allow this.",
    "429": "Too many requests. Retry after `Retry-After` seconds.",
}
_ONE_RESOURCE: Final = {"404": "Not found in the project of the key."}
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_ERROR: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def add_common_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A postprocessing hook: adds common errors to operations that do not declare them."""
    for path, operations in result["paths"].items():
        errors = _COMMON | _ONE_RESOURCE if "{" in path else _COMMON
        for operation in (operations[method] for method in _METHODS if method in operations):
            for status, description in errors.items():
                operation["responses"].setdefault(status, {"description": description, "content": _ERROR})
    return result
