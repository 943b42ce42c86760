"""The package index: one project with one wheel, in both formats that installers request."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from watchdog_project import package_index

PIP = f"{package_index.JSON}, {package_index.HTML}; q=0.1, text/html; q=0.01"


def get(client: Client, path: str = "/simple/clevagent/", accept: str | None = None) -> Any:
    return client.get(path, headers={"Accept": accept} if accept else {})


def test_json_for_pip(client: Client) -> None:
    answer = get(client, accept=PIP)
    [file] = answer.json()["files"]
    assert (answer.headers["Content-Type"], answer.json()["name"]) == (package_index.JSON, "clevagent")
    assert (file["filename"], file["requires-python"]) == ("clevagent-1.0.0-py3-none-any.whl", ">=3.9")
    wheel = client.get(f"/simple/clevagent/{file['url']}")
    assert hashlib.sha256(wheel.content).hexdigest() == file["hashes"]["sha256"]
    assert "immutable" in wheel.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("accept", "kind"), [(None, "text/html"), ("text/html", "text/html"), (package_index.HTML, package_index.HTML)]
)
def test_links_for_other_clients(client: Client, accept: str | None, kind: str) -> None:
    answer = get(client, accept=accept)
    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    found = re.search(r'<a href="(\S+)#sha256=(\w+)" data-requires-python="&gt;=3.9">', answer.content.decode())
    assert found
    wheel = client.get(f"/simple/clevagent/{found[1]}").content
    assert hashlib.sha256(wheel).hexdigest() == found[2]


def test_project_list_has_the_client(client: Client) -> None:
    assert get(client, "/simple/", PIP).json()["projects"] == [{"name": "clevagent"}]
    assert '<a href="clevagent/">' in get(client, "/simple/").content.decode()


def test_pages_are_revalidated(client: Client) -> None:
    first = get(client, accept=PIP)
    assert (first.headers["Cache-Control"], first.headers["Vary"]) == ("no-cache", "Accept")
    again = client.get("/simple/clevagent/", headers={"Accept": PIP, "If-None-Match": first.headers["ETag"]})
    other = client.get("/simple/clevagent/", headers={"Accept": "text/html", "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, other.status_code) == (304, 200)


def test_other_spelling_redirects(client: Client) -> None:
    answer = get(client, "/simple/ClevAgent/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/simple/clevagent/")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/simple/requests/", "only has clevagent"),
        ("/simple/clevagent/0123abc/clevagent-0.4.0-py3-none-any.whl", "Query the index again"),
    ],
)
def test_not_found_is_explained(client: Client, path: str, says: str) -> None:
    answer = get(client, path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
    assert says in answer.content.decode()


def test_unavailable_format_is_refused(client: Client) -> None:
    assert get(client, accept="image/png").status_code == 406


def test_wheel_contents() -> None:
    with zipfile.ZipFile(io.BytesIO(package_index.wheel().content)) as wheel:
        names = wheel.namelist()
        commands = wheel.read("clevagent-1.0.0.dist-info/entry_points.txt").decode()
    assert {"clevagent/__init__.py", "clevagent/py.typed"} < set(names)
    assert "clevagent-runner=clevagent.runner.cli:main" in commands
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_wheel_is_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(settings.BASE_DIR / "client_sdk", tmp_path / "client_sdk", copy_function=shutil.copy)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
    made, before = package_index.wheel.__wrapped__(), set(tmp_path.rglob("*"))
    assert made == package_index.wheel.__wrapped__()
    assert set(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    assert made == package_index.wheel.__wrapped__()
