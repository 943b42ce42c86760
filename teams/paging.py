"""Lists of the API: `?limit=100&offset=0`, at most 1,000."""

from rest_framework.pagination import LimitOffsetPagination


class Pages(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1000
