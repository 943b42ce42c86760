"""Switches, lists and the database's URL in the environment: what cannot work is refused with its cure."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from watchdog_project import environment


@pytest.mark.parametrize(
    ("text", "is_on"),
    [("true", True), ("Yes", True), (" on ", True), ("1", True), ("false", False), ("NO", False), ("0", False)],
)
def test_switch_is_read(text: str, is_on: bool) -> None:
    assert environment.flag("SIGNUP_OPEN", not is_on, environment={"SIGNUP_OPEN": text}) is is_on


@pytest.mark.parametrize("given", [{}, {"SIGNUP_OPEN": ""}, {"SIGNUP_OPEN": " "}])
@pytest.mark.parametrize("default", [True, False])
def test_empty_switch_is_the_default(given: dict[str, str], default: bool) -> None:
    assert environment.flag("SIGNUP_OPEN", default, environment=given) is default


@pytest.mark.parametrize("text", ["ture", "enabled", "2"])
def test_misspelled_switch_is_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"SIGNUP_OPEN is .*Write true or false"):
        environment.flag("SIGNUP_OPEN", True, environment={"SIGNUP_OPEN": text})


@pytest.mark.parametrize("text", ["a.example,b.example", " a.example , b.example ", "a.example, b.example,"])
def test_list_may_have_spaces(text: str) -> None:
    assert environment.words("ALLOWED_HOSTS", environment={"ALLOWED_HOSTS": text}) == ["a.example", "b.example"]


@pytest.mark.parametrize("given", [{}, {"ALLOWED_HOSTS": " , "}])
def test_empty_list_is_the_default(given: dict[str, str]) -> None:
    assert environment.words("ALLOWED_HOSTS", ["here"], environment=given) == ["here"]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter22@db/watchdog",
        "sqlite:///watchdog.sqlite3",
        "db:5432/watchdog",
        "postgres://user:hunter22@db",
        "postgres://user:hunter22@db/",
        "postgres://user:hunter22@db:99999/watchdog",
        "postgres://user:hunter22#3@db/watchdog",
    ],
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="postgres://USER:PASSWORD@HOST:5432/NAME") as refused:
        environment.require_postgresql(url)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgres://user:pw@db/watchdog", "postgresql://db:5432/watchdog?sslmode=require", "postgres:///watchdog"]
)
def test_postgresql_is_accepted(url: str) -> None:
    environment.require_postgresql(url)
