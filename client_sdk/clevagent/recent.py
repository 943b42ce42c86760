"""A bounded set of recent names."""

from __future__ import annotations

from collections import OrderedDict


class Recent:
    """A set that drops its oldest names beyond `most`. Fast enough for every chunk of a stream."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._names: OrderedDict[object, None] = OrderedDict()

    def add(self, name: object) -> None:
        if name in self._names:
            return
        self._names[name] = None
        if len(self._names) > self._most:
            self._names.popitem(last=False)

    def __contains__(self, name: object) -> bool:
        return name in self._names
