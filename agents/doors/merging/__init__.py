"""From facts to what counts: each model call, tool call and sum once, whoever tells it and however often. Pure.

Two observations are of one model call if they share the provider's id and the time; if one lies inside of the other; or
if two instrumentations of one sender tell the same counts at the same time and one of them knows no id. What counts is
the innermost observation, the SDK's own before an instrumentation's. A better one that comes later replaces what was
booked: the correction is an entry of its own, because heartbeats are never changed.
"""

from agents.doors.merging.entries import Entry as Entry
from agents.doors.merging.entries import Merged as Merged
from agents.doors.merging.entries import Rename as Rename
from agents.doors.merging.keys import Wanted as Wanted
from agents.doors.merging.keys import wanted as wanted
from agents.doors.merging.request import merge as merge
