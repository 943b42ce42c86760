"""How a finding's evidence is shown, and what to set if the finding is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# Where a page shows it: beside the reason, behind "Details", as a text to copy, or nowhere, because the reason already
# says it.
OPEN, DETAIL, TEXT, NOWHERE = "open", "detail", "text", "nowhere"
# The unit of a duration.
SECONDS: Final = "s"


class EvidenceLabel(NamedTuple):
    """How one name in a finding's evidence is shown.

    `unit` follows a number; `values` are words for particular values; `is_code` marks names taken from programs.
    """

    label: str
    place: str = OPEN
    unit: str = ""
    values: Mapping[Any, str] = {}
    is_code: bool = False


EvidenceLabels = Mapping[str, EvidenceLabel]


class Setting(NamedTuple):
    """What to set if a finding is expected: a sentence, and the threshold it is about.

    Without a threshold it is the rule's switch; with `of_project` it is a setting of the project.
    """

    text: str
    threshold: str = ""
    of_project: bool = False
