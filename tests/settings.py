"""The product's settings with a separate data folder, and without features that only slow tests down."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "TEST_DATA_DIR" not in os.environ:
    # In memory if possible: synchronous=FULL stays on and costs nothing there.
    _memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    os.environ["TEST_DATA_DIR"] = tempfile.mkdtemp(prefix="watchdog-tests-", dir=_memory)
    atexit.register(shutil.rmtree, os.environ["TEST_DATA_DIR"], ignore_errors=True)
# Each worker has its own folder and so its own broker.
os.environ["DATA_DIR"] = str(Path(os.environ["TEST_DATA_DIR"]) / os.environ.get("PYTEST_XDIST_WORKER", "main"))
Path(os.environ["DATA_DIR"]).mkdir(exist_ok=True)

from watchdog_project.settings import *  # noqa: E402, F403 - they read DATA_DIR when imported
from watchdog_project.settings import CACHES, DATA_DIR, DATABASES, EMBEDDED  # noqa: E402

if EMBEDDED:
    # A file, not an in-memory database: threads need separate connections and real locks.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(DATA_DIR) / "test.sqlite3")}
else:
    # The pool's threads would outlive the test databases.
    DATABASES["default"]["OPTIONS"].pop("pool")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EDGE_PULSE_SECONDS = 0
# Finds static files when they are requested. Listing them all takes 35 ms for each of the tests' clients.
WHITENOISE_AUTOREFRESH = True
# Redis would keep counts from one test to the next, and for other test processes.
CACHES["default"] = CACHES["database"]
