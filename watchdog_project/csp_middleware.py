"""Content security policy: strict, with exceptions for pages whose scripts need them."""

from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings


class PolicyMiddleware(CSPMiddleware):
    """`settings.CSP_LOOSER` maps a path prefix to directives that replace the strict ones below it."""

    def get_policy_parts(self, request: Any, response: Any, report_only: bool = False) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        for prefix, directives in settings.CSP_LOOSER.items():
            if request.path_info.startswith(prefix):
                parts.replace = {**directives, **(parts.replace or {})}
        return parts
