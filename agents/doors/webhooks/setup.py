"""What to paste at the sender of an incoming webhook, complete with its address and secret. Pure."""

from __future__ import annotations

import shlex
from typing import Final, NamedTuple

# Where the secret is not known any more.
PLACEHOLDER: Final = "YOUR_SECRET"
_GITHUB_EVENTS: Final = ("deployment_status", "release", "workflow_run")


class Paste(NamedTuple):
    """`where` the text goes, and what else to know."""

    text: str
    where: str
    hint: str


def paste(kind: str, url: str, secret: str) -> Paste:
    """For GitHub, GitLab, Alertmanager or Sentry."""
    return {"github": _github, "gitlab": _gitlab, "alertmanager": _alertmanager, "sentry": _sentry}[kind](url, secret)


def _github(url: str, secret: str) -> Paste:
    fields = [
        *(f"events[]={event}" for event in _GITHUB_EVENTS),
        f"config[url]={url}",
        "config[content_type]=json",
        f"config[secret]={secret}",
    ]
    told = " \\\n  ".join(f"-f {shlex.quote(field)}" for field in fields)
    text = f"gh api 'repos/{{owner}}/{{repo}}/hooks' -f name=web \\\n  {told}"
    hint = (
        "Or by hand, under Settings, Webhooks of the repository: payload URL, content type application/json, the "
        "secret, and the events Deployment statuses, Releases and Workflow runs."
    )
    return Paste(text, "a shell in the repository, with the gh command", hint)


def _gitlab(url: str, secret: str) -> Paste:
    switches = "-F deployment_events=true -F releases_events=true -F push_events=false"
    fields = f"-f {shlex.quote(f'url={url}')} \\\n  -f {shlex.quote(f'token={secret}')}"
    text = f"glab api -X POST projects/:id/hooks \\\n  {fields} \\\n  {switches}"
    hint = (
        "Or by hand, under Settings, Webhooks of the project or group: the URL, the secret as signing token or secret "
        "token, and the triggers Deployment events and Releases events."
    )
    return Paste(text, "a shell in the repository, with the glab command", hint)


def _alertmanager(url: str, secret: str) -> Paste:
    text = f"""receivers:
  - name: watchdog
    webhook_configs:
      - url: {url}
        send_resolved: true
        http_config:
          authorization:
            credentials: {secret}"""
    hint = "Then route alerts to the receiver watchdog. Basic authentication works too, with the secret as password."
    return Paste(text, "alertmanager.yml", hint)


def _sentry(url: str, secret: str) -> Paste:
    hint = (
        "In Sentry, under Settings, Custom Integrations, create an internal integration with this webhook URL, switch "
        "on Alert Rule Action, and add it as an action to your alert rules. Paste its client secret here."
    )
    return Paste(url, "the webhook URL of the integration", hint)
