"""Published clients of Healthchecks; only the base address differs. Arguments: base, UUID, ping key, slug."""

import sys

import httpx
from healthchecks_decorator import healthcheck
from healthchecks_io import Client
from healthchecks_wrapper import HealthCheck

base, uuid, ping_key, slug = sys.argv[1:]

# Patient, because a busy machine answers late.
patient = httpx.Client(timeout=60)
with Client(api_key="", ping_key=ping_key, ping_url=base, client=patient) as client:
    for ping in (client.start_ping, client.success_ping, client.fail_ping):
        assert ping(uuid=uuid, data="plain { text") == (True, "OK"), ping
        assert ping(slug=slug) == (True, "OK"), ping
    assert client.exit_code_ping(3, uuid=uuid) == (True, "OK")


@healthcheck(url=f"{base}/{uuid}", send_start=True, send_diagnostics=True)
def decorated():
    return {"rows": 7}


decorated()

with HealthCheck(f"{base}/{uuid}"):
    pass
with HealthCheck(f"{base}/{uuid}", suppress_exceptions=True):
    raise ValueError("disk full")
