"""Django's cache in Redis, for what several web processes count together: attempts to sign in, to sign up, to reset.

While Redis is away the database counts, so that nobody is locked out and nothing is unlimited.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

FALLBACK: Final = "database"
log = logging.getLogger(__name__)


class SharedCache(RedisCache):
    """Redis, else the cache named `FALLBACK`."""

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(super(), method)(*args, **kwargs)
        except (RedisError, OSError) as error:
            log.warning("Redis did not answer, the database counts instead: %s", type(error).__name__)
            return getattr(caches[FALLBACK], method)(*args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("add", *args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("get", *args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("set", *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("delete", *args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("incr", *args, **kwargs)
