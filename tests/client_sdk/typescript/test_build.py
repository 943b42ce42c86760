"""`clevagent.js` and `clevagent.d.ts` are what the compiler makes of `clevagent.ts`, and programs can use the types."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.client_sdk.typescript import npm
from tests.client_sdk.typescript.conftest import CLIENT
from tests.client_sdk.wire import node

pytestmark = pytest.mark.live

PROGRAM = """
import * as clevagent from "./clevagent.js";
clevagent.init({ agent: "bot", onLoop: (reason) => console.log(reason.text), labels: { version: "1" } });
const many: number = clevagent.iteration(() => 7);
const later: Promise<string> = clevagent.tool("search", { many }, async () => "found", { timeout: 5 });
const call = clevagent.tool("fetch");
call.end(await later);
clevagent.waiting("approval", new Date()).end();
const same: (by: number) => string = clevagent.monitor((by: number) => String(by));
clevagent.ping("ok", same(1), { costUsd: 0.1 });
// @ts-expect-error: not a status
clevagent.ping("done");
// @ts-expect-error: not an option
clevagent.init({ key: "cv_" });
// @ts-expect-error: internals are not for programs
clevagent.internals;
"""


def compiled(folder: Path, *options: str) -> None:
    tsc = npm.modules(*npm.TYPESCRIPT) / "typescript" / "bin" / "tsc"
    types = npm.modules(*npm.TYPESCRIPT) / "@types"
    run = [node(), str(tsc), "--typeRoots", str(types), *options]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compiled_files_are_up_to_date(tmp_path: Path) -> None:
    for name in ("clevagent.ts", "tsconfig.json", "package.json"):
        shutil.copy(CLIENT / name, tmp_path)
    compiled(tmp_path, "--project", "tsconfig.json")
    for name in ("clevagent.js", "clevagent.d.ts"):
        assert (tmp_path / name).read_text() == (CLIENT / name).read_text(), f"run `npm run build` for {name}"


def test_types_fit_programs(tmp_path: Path) -> None:
    for name in ("clevagent.d.ts", "package.json"):
        shutil.copy(CLIENT / name, tmp_path)
    (tmp_path / "program.ts").write_text(PROGRAM)
    compiled(tmp_path, "--strict", "--noEmit", "--module", "NodeNext", "--target", "ES2022", "program.ts")
