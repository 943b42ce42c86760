"""Every error of the API has one shape: {"error": {"code", "message", "fields"?}}. Pure: no Django, no clock."""

from typing import Any


class ApiError(Exception):
    """A refusal with its status, code and a sentence that says what to do."""

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
