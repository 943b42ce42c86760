"""Tables as CSV files, sent while they are read, so that their size does not matter."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.text import slugify

Columns = Mapping[str, Callable[[Any], object]]
# Rows per query.
CHUNK: Final = 500
# A cell that begins with one of these is a formula to a spreadsheet, which may send the table elsewhere. The wide ones
# count in East Asian versions. See https://owasp.org/www-community/attacks/CSV_Injection.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Characters that spreadsheets skip at the start of a cell.
SKIPPED: Final = " \u00a0\ufeff\u200b"
MICROS: Final = 1_000_000


def cell(value: object) -> str:
    """Numbers as they are, times in UTC, text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | date):
        return str(value)
    text = str(value).replace("\0", "")
    return f"'{text}" if text.lstrip(SKIPPED).startswith(FORMULA) else text


def dollars(micros: int) -> float:
    return micros / MICROS


def response(name: str, columns: Columns, rows: Iterable[Any], now: datetime) -> StreamingHttpResponse:
    """A download named after the table and the day."""
    answer = StreamingHttpResponse(lines(columns, rows), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{slugify(name)}-{now.astimezone(UTC):%Y-%m-%d}.csv"'
    answer["Cache-Control"] = "no-store"
    return answer


def lines(columns: Columns, rows: Iterable[Any]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(columns)
    for row in rows:
        yield writer.writerow([cell(value(row)) for value in columns.values()])


def in_chunks(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    """All rows in their order, some at a time. Needs no cursor that stays open, so it works behind PgBouncer."""
    keys = list(rows.values_list("pk", flat=True))
    for start in range(0, len(keys), CHUNK):
        some = keys[start : start + CHUNK]
        found = {row.pk: row for row in rows.order_by().filter(pk__in=some)}
        yield [found[key] for key in some if key in found]


class _Echo:
    """A file that returns what is written."""

    def write(self, line: str) -> str:
        return line
