"""Follows a guide of `docs/` as its reader would: writes its files, runs its commands and compares their output.

All `sh` blocks are typed into one shell. A `text` block is expected output: its lines appear in the output in this
order, `…` stands for anything, and the command is repeated until they do. Every other block is a file whose path is the
comment in its first line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.installation import PATIENCE, ROOT, wait_until
from tests.services.site import Site, site

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"(?:#|<!--) (\S+)(?: -->)?")
# The guides' intervals are too long for a test: their agents work, and are found to hang, faster here.
TIMES = {
    "interval=30, progress_timeout=120": "interval=1, progress_timeout=5",
    "time.sleep(5)": "time.sleep(0.2)",
}


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def path(self) -> str:
        """Where the file is written."""
        found = PATH.fullmatch(self.text.partition("\n")[0])
        assert found, f"the first line has no path: {self.text}"
        return found.group(1)

    @property
    def content(self) -> str:
        """The file's content, without the comment if the format does not allow one there."""
        return self.text.partition("\n")[2] if self.language == "xml" else self.text


def sections(text: str) -> dict[str, list[Block]]:
    """The blocks under each heading of the second level, in the order of the page."""
    _, *parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return {title: _blocks(body) for title, body in zip(parts[::2], parts[1::2], strict=True)}


def _blocks(text: str) -> list[Block]:
    assert text.count("\n```") % 2 == 0, "a block is not closed"
    found = [Block(*each) for each in BLOCK.findall(text)]
    assert len(found) == text.count("\n```") // 2, "a block is not read"
    return found


class Shell:
    """The reader's shell, which keeps its state from one command to the next."""

    def __init__(self, folder: Path, prefix: Sequence[str], env: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self._folder, self._number = folder, 0
        argv = [*prefix, "env", "-i", *(f"{name}={value}" for name, value in env.items()), "sh", "-e"]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )

    def type(self, commands: str, given: str = "") -> str:
        """Run the commands and return their output. Fails if one of them fails."""
        self._number += 1
        script, said, output, done = (self._folder / f"{self._number}.{end}" for end in ("sh", "in", "out", "done"))
        script.write_text(commands)
        said.write_text(given)
        assert self._process.stdin
        self._process.stdin.write(f". {script} <{said} >{output} 2>&1; touch {done}\n")
        self._process.stdin.flush()
        why = f"{commands!r} has ended"
        wait_until(lambda: done.exists() or self._process.poll() is not None, why)
        assert done.exists(), f"{commands}\n{output.read_text()}"
        return output.read_text()

    def end(self) -> None:
        """End the shell and everything that was started in it."""
        if self._process.stdin:
            self._process.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Guide:
    """`swaps` replaces words of the page, such as the server's address; `seen` is all output so far."""

    def __init__(self, text: str, shell: Shell, swaps: Mapping[str, str]) -> None:
        self.left = sections(text)
        self.seen = ""
        self._shell, self._swaps = shell, {**TIMES, **swaps}

    def follow(self, title: str) -> str:
        """Follow the section with this heading; the last command's output."""
        output = commands = ""
        for block in self.left.pop(title):
            text = self.here(block.text)
            if block.language == "sh":
                commands, output = text, self._shell.type(text)
            elif block.language == "text":
                output = self._look(commands, output, text)
            else:
                self._write(block)
            self.seen += output
            print(text, output, sep="\n")
        return output

    def here(self, text: str) -> str:
        for theirs, ours in self._swaps.items():
            text = text.replace(theirs, ours)
        return text

    def _write(self, block: Block) -> None:
        assert block.language, f"a block without a language: {block.text}"
        path = block.path if block.path.startswith("~") else shlex.quote(block.path)
        self._shell.type(f"cat > {path}", self.here(block.content))

    def _look(self, commands: str, output: str, expected: str) -> str:
        end = time.monotonic() + PATIENCE
        while not shows(output, expected):
            assert time.monotonic() < end, f"{commands}shows\n{output}\nand not\n{expected}"
            time.sleep(0.3)
            output = self._shell.type(commands)
        return output


def shows(output: str, expected: str) -> bool:
    """Whether the output contains the lines in this order, possibly among others."""
    lines = (".*".join(map(re.escape, line.strip().split("…"))) for line in expected.splitlines() if line.strip())
    pattern = r"\n(?:.*\n)*?".join(rf"[^\S\n]*{line}[^\S\n]*" for line in lines)
    return re.search(rf"^{pattern}$", output, re.MULTILINE) is not None


def swaps(here: Site) -> dict[str, str]:
    """This server's address and keys instead of the page's; the page's agent is the first agent here."""
    return {"http://127.0.0.1:8000": here.url, "cv_full_…": here.key, "cv_…": here.running.key, "agents/17": "agents/1"}


@contextmanager
def _shell(folder: Path, prefix: Sequence[str], env: Mapping[str, str]) -> Iterator[Shell]:
    """A shell as after a new login."""
    path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    (folder / "home").mkdir()
    begin = {"PATH": path, "HOME": f"{folder}/home", "LANG": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull, **env}
    opened = Shell(folder / "typed", prefix, begin)
    try:
        opened.type("cd")
        yield opened
    finally:
        opened.end()


@contextmanager
def followed(
    page: str, folder: Path, more: Mapping[str, str], *prefix: str, **env: str
) -> Iterator[tuple[Guide, Site]]:
    """A guide after all its steps, and the reader's server.

    `more` are further replacements on this page. `prefix` precedes the shell's command, e.g. to enter a namespace.
    """
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    text = (ROOT / "docs" / page).read_text()
    assert [words for words in more if words not in text] == [], "the page has changed"
    with site(folder, RESTART_DELAYS="1,1,1") as here, _shell(folder, prefix, env) as shell:
        guide = Guide(text, shell, {**swaps(here), **more})
        while guide.left:
            guide.follow(next(iter(guide.left)))
        yield guide, here
