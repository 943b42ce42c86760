"""The shipped proxies pass on whole requests only, name the client, and are the only ones the server believes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from watchdog_project.forwarding import client_address, networks

ROOT = Path(__file__).resolve().parents[2]
CADDY = (ROOT / "deploy/proxy/Caddyfile").read_text()
NGINX = (ROOT / "deploy/proxy/nginx.conf").read_text()
# The largest body that any path accepts.
MAX_BODY_MIB = 1


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def default_of(text: str) -> str:
    """`${NAME:-default}`"""
    match = re.fullmatch(r"\$\{\w+:-(.*)\}", text)
    assert match, text
    return match.group(1)


def test_compose_trusts_its_proxy_and_no_other(compose: Any) -> None:
    proxy = compose["services"]["proxy"]["networks"]["default"]["ipv4_address"]
    trusted = networks(default_of(compose["services"]["web"]["environment"]["TRUSTED_PROXIES"]).split(","))
    assert client_address(proxy, "203.0.113.5", trusted) == "203.0.113.5"
    for other in ("172.31.86.1", "172.31.86.81", "127.0.0.1"):
        assert client_address(other, "203.0.113.5", trusted) == other


def test_composes_proxy_lies_in_its_network(compose: Any) -> None:
    [subnet] = networks([compose["networks"]["default"]["ipam"]["config"][0]["subnet"]])
    [proxy] = networks([compose["services"]["proxy"]["networks"]["default"]["ipv4_address"]])
    assert proxy.subnet_of(subnet)  # type: ignore[arg-type]


def test_composes_proxy_is_opt_in_and_reads_ours(compose: Any) -> None:
    proxy = compose["services"]["proxy"]
    assert proxy["profiles"] == ["tls"]
    assert "./deploy/proxy/Caddyfile:/etc/caddy/Caddyfile:ro" in proxy["volumes"]
    assert set(proxy["environment"]) == set(re.findall(r"\{\$(\w+):", CADDY))


@pytest.mark.parametrize("timeout", ["read_header", "read_body", "idle"])
def test_caddy_ends_idle_connections(timeout: str) -> None:
    assert re.search(rf"^\s*{timeout} \d+[sm]$", CADDY, re.MULTILINE)


@pytest.mark.parametrize("timeout", ["client_header_timeout", "client_body_timeout", "keepalive_timeout"])
def test_nginx_ends_idle_connections(timeout: str) -> None:
    assert re.search(rf"^\s*{timeout} \d+s;$", NGINX, re.MULTILINE)


def test_proxies_buffer_the_largest_body() -> None:
    sizes = [*re.findall(r"(?:max_size|request_buffers) (\d+)MiB", CADDY)]
    sizes += re.findall(r"client_max_body_size (\d+)m", NGINX)
    assert len(sizes) == 3
    assert all(int(size) > MAX_BODY_MIB for size in sizes)
    assert NGINX.count("proxy_request_buffering off") == 0


def test_nginx_replaces_what_clients_claim() -> None:
    locations = re.findall(r"location [^{]+\{(.*?)\n    \}", NGINX, re.DOTALL)
    assert len(locations) == 2
    for location in locations:
        assert "X-Forwarded-For $remote_addr;" in location
        assert "X-Forwarded-Proto $scheme;" in location
        assert 'Forwarded "";' in location


def test_nginx_logs_no_secret_links() -> None:
    pattern = re.search(r'"~\^\(\?<kind>(.*)\)" ', NGINX)
    assert pattern
    for path in ("/accounts/invitation/", "/accounts/sign-in/", "/accounts/password/reset/key/", "/ping/"):
        assert re.match(pattern.group(1), path + "secret")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=watchdog.example.com"
    subprocess.run([*request.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    text = NGINX.replace("/etc/ssl/watchdog", str(tmp_path)).replace("/var/log/nginx", str(tmp_path))
    whole = tmp_path / "nginx.conf"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "\n".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    whole.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{folders}\n{text}\n}}\n")
    tested = subprocess.run(["nginx", "-t", "-c", str(whole), "-p", str(tmp_path)], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
