"""Checking what a body says."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from teams.errors import ApiError


def valid(serializer: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """What a body says, checked. Raises 422 with the fields that are wrong."""
    if not isinstance(data, dict):
        raise invalid("body", "must be one JSON object")
    checked = serializer(data=data)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)


def invalid(field: str, why: str) -> ApiError:
    """A 422 about one field."""
    return ApiError(422, "invalid", f"{field}: {why}", fields={field: why})
