"""A real Docker Engine, and an image of busybox, made here."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.flows.installation import PATIENCE
from tests.services.namespaces import required, service

IMAGE = "busybox:here"
OPTIONS = (
    "--iptables=false --ip6tables=false --ip-masq=false --bridge=none --storage-driver=vfs "
    "--exec-opt native.cgroupdriver=cgroupfs"
)


@dataclass(frozen=True)
class Engine:
    """`env` makes `docker` and the runner speak to it."""

    folder: Path

    @property
    def socket(self) -> str:
        return f"{self.folder}/d.sock"

    @property
    def env(self) -> dict[str, str]:
        # The folder for its settings is its own, so that nobody's log-ins or contexts are read.
        return {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.folder)}

    def docker(self, *words: str, data: bytes | None = None) -> str:
        """Run the `docker` command; its output. Fails with what it said."""
        env = {**os.environ, **self.env}
        done = subprocess.run(["docker", *words], env=env, input=data, capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def run(self, name: str, script: str, *options: str) -> str:
        """Start a container whose program is a shell script; the container's id."""
        # A shell as the first process would not pass SIGTERM on, and every stop would take its ten seconds.
        traps = "trap 'exit 143' TERM; "
        return self.docker(
            "run", "-d", "--network", "none", "--name", name, *options, IMAGE, "sh", "-c", traps + script
        )

    def remove(self, *names: str) -> None:
        self.docker("rm", "-f", *names)

    def state(self, name: str, what: str = "Status") -> str:
        return self.docker("inspect", "-f", f"{{{{.State.{what}}}}}", name)


def busybox() -> bytes:
    """An archive of a root folder: busybox, and a link to it for each thing it can do."""
    program = shutil.which("busybox") or ""
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(program, "bin/busybox")
        for name in names:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if name != "busybox":
                archive.addfile(link)
    return made.getvalue()


def _script(folder: Path) -> str:
    own = "mkdir /sys/fs/cgroup/init && echo $$ > /sys/fs/cgroup/init/cgroup.procs"
    where = (
        f"--host unix://{folder}/d.sock --data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}/d.pid"
    )
    return f"{own}\nexec dockerd {where} {OPTIONS}"


def _answers(folder: Path) -> bool:
    env = {**os.environ, **Engine(folder).env}
    return subprocess.run(["docker", "version"], env=env, capture_output=True).returncode == 0


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine with the image IMAGE and no network."""
    required("dockerd", "docker", "busybox")
    with service("docker", _script, _answers) as folder:
        started = Engine(folder)
        started.docker("import", "-", IMAGE, data=busybox())
        yield started
