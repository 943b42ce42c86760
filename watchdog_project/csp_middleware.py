"""The content security policy: strict, but for the pages whose scripts need more."""

from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings


class PolicyMiddleware(CSPMiddleware):
    """`settings.CSP_LOOSER` names, per start of a path, the directives that replace the strict ones there."""

    def get_policy_parts(self, request: Any, response: Any, report_only: bool = False) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        for start, directives in settings.CSP_LOOSER.items():
            if request.path_info.startswith(start):
                parts.replace = {**directives, **(parts.replace or {})}
        return parts
