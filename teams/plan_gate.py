"""Whether a team's plan has room for one more. Plans are billing's: the question goes by a name in the settings."""

from typing import Literal

from django.conf import settings
from django.utils.module_loading import import_string


def require_room(*, team_id: int, what: Literal["members", "invitations", "projects"]) -> None:
    """Raise 403 `member_limit_reached` or `project_limit_reached` when the plan allows no more.

    Ask within the transaction that adds it.
    """
    import_string(settings.PLAN_GATE)(team_id=team_id, what=what)
