"""The snippets of docs/jobs.md for machines without a client, in the shells that are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import settings

from agents.ingest import committer
from agents.models import Heartbeat
from teams.models import Project

PAGE: Final = (settings.BASE_DIR / "docs" / "jobs.md").read_text()
SHELL: Final = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", PAGE, re.DOTALL)[0]
POWERSHELL: Final = re.findall(r"```powershell\n(.*?)```", PAGE, re.DOTALL)[0]
SHELLS: Final = {"sh": ["sh"], "dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
BASE: Final = "https://watchdog.example.com/ping/PING_KEY"

pytestmark = pytest.mark.live


@pytest.fixture
def project_here(transactional_db: None, project: Project) -> Iterator[Project]:
    yield project
    committer.close()


def received(project: Project) -> list[tuple[str, int | None, str]]:
    rows = Heartbeat.objects.filter(agent__project=project).order_by("id").values_list("content", flat=True)
    jobs = [(content["job"], (content.get("custom") or "").strip()) for content in rows if content]
    return [(job["event"], job.get("exit_status"), output) for job, output in jobs]


def run(command: list[str], script: str, base: str, folder: Path, suffix: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    assert BASE in script
    file = folder / f"job{suffix}"
    file.write_text(script.replace(BASE, base))
    return subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=120, check=False)


def in_shell(shell: str, job: str, base: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (folder / "backup").write_text(job)
    script = SHELL.replace("/usr/local/bin/backup --all", f"sh {folder}/backup")
    return run(SHELLS[shell], script, base, folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_reports_and_keeps_the_status(
    shell: str, project_here: Project, live_server: Any, tmp_path: Path
) -> None:
    base = f"{live_server.url}/ping/{project_here.ping_key}"
    done = in_shell(shell, "echo 42 tables; echo disk full >&2; exit 3", base, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "42 tables\ndisk full\n", "")
    done = in_shell(shell, "printf '%020000d\\n' 7", base, tmp_path)
    assert (done.returncode, len(done.stdout)) == (0, 20_001)
    first, failed, second, succeeded = received(project_here)
    assert (first, second) == (("start", None, ""),) * 2
    assert failed == ("fail", 3, "42 tables\ndisk full")
    assert succeeded[:2] == ("success", 0)
    assert succeeded[2].endswith("07")


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_works_without_the_server(shell: str, tmp_path: Path) -> None:
    done = in_shell(shell, "echo done; exit 4", "http://127.0.0.1:9/ping/k", tmp_path)
    assert (done.returncode, done.stdout) == (4, "done\n")


@pytest.mark.parametrize(
    ("program", "status", "event"),
    [("cmd.ps1", 3, ("fail", 3)), ("none.ps1", 127, ("fail", 127))],
)
def test_powershell_reports_and_keeps_the_status(
    program: str, status: int, event: tuple[str, int], project_here: Project, live_server: Any, tmp_path: Path
) -> None:
    (tmp_path / "cmd.ps1").write_text('"42 tables"; Write-Error "disk full"; exit 3')
    script = POWERSHELL.replace("backup.exe --all", str(tmp_path / program))
    base = f"{live_server.url}/ping/{project_here.ping_key}"
    done = run(["pwsh", "-NoProfile", "-File"], script, base, tmp_path, ".ps1")
    assert done.returncode == status
    start, end = received(project_here)
    assert (start[:2], end[:2]) == (("start", None), event)
    assert status == 127 or "42 tables" in end[2]
    assert run(["pwsh", "-NoProfile", "-File"], script, "http://127.0.0.1:9", tmp_path, ".ps1").returncode == status


def test_powershell_brackets_match() -> None:
    """All that can be checked where PowerShell is missing."""
    code = re.sub(r'"[^"]*"|#.*', "", POWERSHELL)
    opened: list[str] = []
    for sign in re.findall(r"[(){}\[\]]", code):
        if sign in "({[":
            opened.append(sign)
        else:
            assert opened.pop() + sign in ("()", "{}", "[]")
    assert opened == []
    assert POWERSHELL.count('"') % 2 == 0
