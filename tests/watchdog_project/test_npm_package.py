"""The TypeScript client as npm, Bun and Deno get it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import clevagent
import pytest
from django.conf import settings
from django.test import Client

from tests.client_sdk.wire import node
from watchdog_project import npm_package

CONTENTS = ["LICENSE", "README.md", "clevagent.d.ts", "clevagent.js", "package.json"]


def unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


def test_archive_has_the_package(client: Client) -> None:
    answer = client.get("/npm/clevagent.tgz")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/gzip")
    found = unpacked(answer.content)
    assert sorted(found) == [f"package/{name}" for name in CONTENTS]
    manifest = json.loads(found["package/package.json"])
    assert (manifest["name"], "dependencies" in manifest, manifest["license"]) == ("clevagent", False, "MIT")
    for place in (manifest["types"], *manifest["exports"]["."].values()):
        assert f"package/{place.removeprefix('./')}" in found


def test_versions_are_the_same() -> None:
    """One number, wherever it stands."""
    found = npm_package.files()
    version = json.loads(found["package.json"])["version"]
    assert f'VERSION = "{version}"' in found["clevagent.js"].decode()
    assert f'VERSION = "{version}"' in found["clevagent.d.ts"].decode()
    assert version == clevagent.__version__


def test_archive_is_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(settings.BASE_DIR / "client_sdk", tmp_path / "client_sdk", copy_function=shutil.copy)
    shutil.copy(settings.BASE_DIR / "LICENSE", tmp_path / "LICENSE")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    before = npm_package.files()
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
    assert npm_package.files.__wrapped__() == before


def test_deno_finds_the_types(client: Client) -> None:
    module = client.get("/npm/clevagent.js")
    assert module["Content-Type"].startswith("text/javascript")
    types = client.get(f"/npm/{module['X-TypeScript-Types'].removeprefix('./')}")
    assert "export declare function init(" in types.content.decode()


def test_unchanged_files_are_not_sent_again(client: Client) -> None:
    first = client.get("/npm/clevagent.tgz")
    again = client.get("/npm/clevagent.tgz", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, first["Cache-Control"]) == (304, "no-cache")


@pytest.mark.parametrize("name", ["clevagent.ts", "tsconfig.json", "other.tgz", "..%2Fpyproject.toml"])
def test_other_files_are_not_served(client: Client, name: str) -> None:
    answer = client.get(f"/npm/{name}")
    assert answer.status_code == 404


@pytest.mark.live
def test_npm_installs_it(live_server: Any, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-audit", "--no-fund", f"{live_server.url}/npm/clevagent.tgz"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (tmp_path / "agent.js").write_text('import { VERSION, init, ping } from "clevagent"; console.log(VERSION)')
    ran = subprocess.run([node(), "agent.js"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "1.0.0\n"
