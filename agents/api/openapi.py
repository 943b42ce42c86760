"""What the OpenAPI document says of every operation alike."""

from __future__ import annotations

from typing import Any, Final

_ALWAYS: Final = {
    "401": "The key is missing, unknown, revoked or expired.",
    "403": "The key's scope, or the plan, does not allow it.",
    "429": "Too many calls; try again after `Retry-After` seconds.",
}
_OF_ONE_THING: Final = {"404": "There is no such thing in the key's project."}
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_ERROR: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def add_common_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A postprocessing hook: the errors that any operation may answer, where it does not name them itself."""
    for path, operations in result["paths"].items():
        said = _ALWAYS | _OF_ONE_THING if "{" in path else _ALWAYS
        for operation in (operations[method] for method in _METHODS if method in operations):
            for status, description in said.items():
                operation["responses"].setdefault(status, {"description": description, "content": _ERROR})
    return result
