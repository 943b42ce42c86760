"""Every API error has the shape {"error": {"code", "message", "fields"?}}. Pure: no Django, no clock."""

import json
from typing import Any


class ApiError(Exception):
    """A refused request: HTTP status, machine-readable code, and a message that says what to do.

    `fields` maps a request field to what is wrong with it; `retry_after` is in seconds.
    """

    def __init__(
        self,
        http_status: int,
        code: str,
        message: str,
        *,
        fields: dict[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.fields = fields
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.fields:
            error["fields"] = self.fields
        return {"error": error}

    def encoded(self) -> bytes:
        return json.dumps(self.body(), ensure_ascii=False, separators=(",", ":")).encode()

    def headers(self) -> dict[str, str]:
        """The response headers that belong to it."""
        headers = {"WWW-Authenticate": "ApiKey"} if self.http_status == 401 else {}
        return headers if self.retry_after is None else {**headers, "Retry-After": str(self.retry_after)}
