"""`docs/capture.md` names the tested releases, and its code runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.capture.test_sdks import RELEASES
from tests.client_sdk.environments import CLIENT, asked_for

TEXT = (Path(__file__).parents[2] / "docs/capture.md").read_text()
ROWS = dict(re.findall(r"^\| `([a-z-]+)` \| ([0-9., ]+) \|", TEXT, re.MULTILINE))


def test_documented_releases_are_tested() -> None:
    tested: dict[str, set[str]] = {sdk: set() for sdk in ROWS}
    for environment in {environment for environment, _, _ in RELEASES}:
        for requirement in asked_for(environment):
            sdk, _, release = requirement.partition("==")
            if sdk in tested:
                tested[sdk].add(release)
    assert {sdk: set(releases.split(", ")) for sdk, releases in ROWS.items()} == tested


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_documented_code_runs(code: str) -> None:
    with FakeServer() as server:
        variables = {"PYTHONPATH": str(CLIENT), "CLEVAGENT_API_KEY": server.key, "CLEVAGENT_ENDPOINT": server.url}
        begun = "import clevagent\nclevagent.init()\n"
        ended = "\nclevagent.shutdown()"
        subprocess.run(
            [sys.executable, "-W", "error", "-c", begun + code + ended], env={**os.environ, **variables}, check=True
        )
        said = {use["model"] for use in server.usage()}
    assert said == ({"gpt-4o-transcribe"} if "log_usage" in code else set())
