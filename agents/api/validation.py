"""Validation of request bodies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from teams.errors import ApiError


def validated(serializer: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """The validated data of a body. Raises 422 with the invalid fields."""
    if not isinstance(data, dict):
        raise invalid("body", "must be one JSON object")
    bound = serializer(data=data)
    bound.is_valid(raise_exception=True)
    return dict(bound.validated_data)


def invalid(field: str, problem: str) -> ApiError:
    """A 422 about one field."""
    return ApiError(422, "invalid", f"{field}: {problem}", fields={field: problem})


class Moment(serializers.DateTimeField):
    """A time in a request: without its UTC offset it would mean another one wherever clocks differ."""

    def enforce_timezone(self, value: datetime) -> datetime:
        if timezone.is_naive(value):
            raise serializers.ValidationError("must have its UTC offset, such as 2030-01-31T12:00:00Z")
        return super().enforce_timezone(value)
