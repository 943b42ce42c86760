from datetime import UTC, datetime

from teams.sorting import Sort, ordering, sorting

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SORTS = (Sort("name", "Agent", "name"), Sort("seen", "Last seen", "seen_at", newest_first=True))


def heads(value: str) -> dict[str, tuple[str, str]]:
    columns = sorting(SORTS, value, lambda changes: f"?o={changes['o']}").columns
    return {name: (column.direction, column.url) for name, column in columns.items()}


def test_third_click_restores_the_usual_order() -> None:
    assert heads("")["name"] == ("", "?o=name")
    assert heads("name")["name"] == ("ascending", "?o=-name")
    assert heads("-name")["name"] == ("descending", "?o=")


def test_times_begin_with_the_newest() -> None:
    assert heads("")["seen"] == ("", "?o=-seen")
    assert heads("-seen")["seen"] == ("descending", "?o=seen")
    assert heads("seen")["seen"] == ("ascending", "?o=")


def test_unknown_column_is_the_usual_order() -> None:
    for value in ("", "hash", "-hash", "--name", "name.seen", "0"):
        assert ordering(SORTS, value, NOW) == []
        assert sorting(SORTS, value, str).current == ""


def test_missing_values_come_last_both_ways() -> None:
    for value in ("seen", "-seen"):
        (order,) = ordering(SORTS, value, NOW)
        assert order.nulls_last
        assert order.descending == value.startswith("-")


def test_sorting_in_words() -> None:
    assert sorting(SORTS, "-seen", str).words == "Last seen, descending"
    assert sorting(SORTS, "", str).words == ""
