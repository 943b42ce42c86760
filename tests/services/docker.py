"""A real Docker Engine with a busybox image that is built here."""

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
    """`env` points `docker` and the runner to it."""

    folder: Path

    @property
    def socket(self) -> str:
        return f"{self.folder}/d.sock"

    @property
    def env(self) -> dict[str, str]:
        # A separate settings folder, so that nobody's log-ins or contexts are used.
        return {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.folder)}

    def docker(self, *words: str, data: bytes | None = None) -> str:
        """Run the `docker` command and return its output. Fails with its error output."""
        env = {**os.environ, **self.env}
        done = subprocess.run(["docker", *words], env=env, input=data, capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def run(self, name: str, script: str, *options: str) -> str:
        """Start a container that runs a shell script; the container's id."""
        # A shell as the first process ignores SIGTERM, and every stop would take ten seconds.
        traps = "trap 'exit 143' TERM; "
        return self.docker(
            "run", "-d", "--network", "none", "--name", name, *options, IMAGE, "sh", "-c", traps + script
        )

    def remove(self, *names: str) -> None:
        self.docker("rm", "-f", *names)

    def state(self, name: str, what: str = "Status") -> str:
        return self.docker("inspect", "-f", f"{{{{.State.{what}}}}}", name)


def busybox() -> bytes:
    """A root file system as an archive: busybox, and a link to it for each of its commands."""
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
    """An engine without a network that has the image IMAGE."""
    required("dockerd", "docker", "busybox")
    with service("docker", _script, _answers) as folder:
        started = Engine(folder)
        started.docker("import", "-", IMAGE, data=busybox())
        yield started
