"""The addresses of the doors. Clients append `/v1/…` to the base URL that they are given."""

from __future__ import annotations

from django.urls import path

from agents.doors import hook_views, otlp_views

SIGNALS = ("traces", "metrics", "logs")
# LangFuse's SDK appends `/api/public/otel` to its host by itself.
PREFIXES = ("", "otlp/", "api/public/otel/")

urlpatterns = [
    *(path(f"{prefix}v1/{signal}", otlp_views.export, {"signal": signal}) for prefix in PREFIXES for signal in SIGNALS),
    *(path(f"hooks/{program}", hook_views.hook, {"program": program}) for program in hook_views.PROGRAMS),
]
