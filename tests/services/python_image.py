"""A substitute for `python:3.12-slim` where no registry is available: this machine's Python, and busybox.

Its modules are in archives, because the tests' engine copies all files of an image for each layer.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.services.docker import Engine, busybox

IMAGE = "python:3.12-slim"
LIBRARY = re.compile(r"(/\S+) \(0x")
# Neither pip nor an agent needs these.
UNNEEDED = re.compile(
    r"(site-packages|dist-packages|ensurepip|test|idlelib|lib2to3|tkinter|pydoc_data|turtledemo|config-.*)"
    r"|_(test|xxtest|codecs_|ctypes_test|tkinter|curses|dbm|gdbm|sqlite3).*\.so"
)
# Python is in a folder of its own, and /usr/local is a virtual environment of it, so packages are found wherever this
# Python installs them.
NUMBER = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE, LIB = "opt/python", f"opt/python/lib/python{NUMBER}"
PROGRAM, STDLIB, PIP = f"{BASE}/bin/python{NUMBER}", f"{BASE}/lib/python{NUMBER.replace('.', '')}.zip", "opt/pip.zip"
RUN_PIP = f"import sys\nsys.path.insert(0, '/{PIP}')\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"
TEXTS = {
    "usr/local/pyvenv.cfg": f"home = /{BASE}/bin\n",
    "usr/local/bin/pip": f"#!/usr/local/bin/python\n{RUN_PIP}",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
LINKS = {f"usr/local/bin/{name}": f"/{PROGRAM}" for name in ("python", "python3", f"python{NUMBER}")}


def provide(engine: Engine) -> None:
    """Import the image into the engine."""
    found = ":".join(sorted({str(library.parent) for library in libraries()}))
    env = f"--change=ENV PATH=/usr/local/bin:/bin LD_LIBRARY_PATH={found}"
    engine.docker("import", env, "-", IMAGE, data=archive())


def archive() -> bytes:
    """The root file system as an archive."""
    made = io.BytesIO(busybox())
    with tarfile.open(fileobj=made, mode="a") as root, tempfile.TemporaryDirectory() as temporary:
        items = contents(Path(temporary))
        for name in sorted(
            {str(parent) for each in (*items, *LINKS, "var/run/docker.sock") for parent in Path(each).parents}
        ):
            root.addfile(_folder(name, 0o755))
        root.addfile(_folder("tmp", 0o1777))
        for name, path in items.items():
            root.add(path, name)
        for name, target in LINKS.items():
            root.addfile(_link(name, target))
    return made.getvalue()


def contents(temporary: Path) -> dict[str, Path]:
    """The files of the image, by their names in it; generated files are in the temporary folder."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    # Python finds its library by os.py.
    found = {f"{LIB}/os.py": stdlib / "os.py", PROGRAM: program()}
    found |= {f"{LIB}/lib-dynload/{path.name}": path for path in modules_in_c()}
    found |= {str(library)[1:]: library.resolve() for library in libraries()}
    made = {STDLIB: packed(temporary / "stdlib", stdlib), PIP: packed(temporary / "pip", pip())}
    for number, (name, text) in enumerate(TEXTS.items()):
        made[name] = temporary / str(number)
        made[name].write_text(text)
        made[name].chmod(0o755)
    return found | made


def packed(path: Path, folder: Path) -> Path:
    """An importable archive of the modules in a folder, or of the package that the folder is."""
    with zipfile.PyZipFile(str(path), "w") as made:
        made.writepy(str(folder))
        if not (folder / "__init__.py").exists():
            for package in sorted(folder.glob("*/__init__.py")):
                if not UNNEEDED.fullmatch(package.parent.name):
                    made.writepy(str(package.parent), filterfunc=lambda name: "/test" not in name)
        for certificates in folder.rglob("cacert.pem"):
            made.write(certificates, certificates.relative_to(folder.parent))
    return path


def program() -> Path:
    return Path(sys.executable).resolve()


def pip() -> Path:
    found = importlib.util.find_spec("pip")
    assert found
    assert found.origin
    return Path(found.origin).parent


def modules_in_c() -> list[Path]:
    folder = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    return [path for path in folder.glob("*.so") if not UNNEEDED.fullmatch(path.name)]


@functools.cache
def libraries() -> list[Path]:
    """The shared libraries of Python and of its modules in C."""
    ran = subprocess.run(["ldd", program(), *modules_in_c()], capture_output=True, text=True, check=True)
    return sorted({Path(path) for path in LIBRARY.findall(ran.stdout)})


def _folder(name: str, mode: int) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.mode = tarfile.DIRTYPE, mode
    return item


def _link(name: str, target: str) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = tarfile.SYMTYPE, target
    return item
