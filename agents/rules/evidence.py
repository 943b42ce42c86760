"""What people read for the names in a finding's evidence, and what to set if the finding is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# Where a page says it: beside the reason, behind a disclosure, as a text of its own to be copied, or nowhere, for the
# reason says it already.
OPEN, DETAIL, TEXT, NOWHERE = "open", "detail", "text", "nowhere"
# The unit of a duration.
SECONDS: Final = "s"


class EvidenceLabel(NamedTuple):
    """What people read for a name of a finding's evidence.

    `unit` stands behind a number; `values` are the words for values of which there are few; `is_code` is for names
    that programs gave.
    """

    label: str
    place: str = OPEN
    unit: str = ""
    values: Mapping[Any, str] = {}
    is_code: bool = False


EvidenceLabels = Mapping[str, EvidenceLabel]


class Setting(NamedTuple):
    """What a person sets if something may be as it is: a sentence, and the threshold that it speaks of; of the
    project where it is no threshold of the rule. Empty: the rule's switch."""

    text: str
    threshold: str = ""
    of_project: bool = False
