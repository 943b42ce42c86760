"""Whether a team's plan allows one more of something.

Plans belong to `billing`, which imports `teams`; so the check is looked up by a name in the settings.
"""

from typing import Literal

from django.conf import settings
from django.utils.module_loading import import_string


def require_room(*, team_id: int, what: Literal["members", "invitations", "projects"]) -> None:
    """Raise 403 `member_limit_reached` or `project_limit_reached` if the plan's limit is reached.

    Call in the transaction that adds the row.
    """
    import_string(settings.PLAN_GATE)(team_id=team_id, what=what)
