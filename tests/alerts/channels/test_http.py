"""The HTTP client of the channels, against real servers that misbehave in every way."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django.fixtures import Settings

from alerts import connections
from alerts.channels import http
from alerts.channels.base import ChannelError, ConfigError
from alerts.connections import Pool
from tests.alerts.receiver import Answer, Receiver, responds, stays_silent

SECRET_PATH = "/services/T0/B0/hidden?token=hidden"


def refused(url: str, seconds: float = 2.0) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        http.post(url, b"{}", {}, seconds=seconds)
    return caught.value


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    pool = Pool()
    monkeypatch.setattr(http, "POOL", pool)
    yield pool
    pool.clear()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], list[str]]:
    """`names("host", ["1.2.3.4"])` adds a name to a fake resolver. Returns the list of names it was asked for."""
    known: dict[str, list[str]] = {}
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[Any]:
        asked.append(host)
        return [socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0] for address in known[host]]

    def add(host: str, addresses: list[str]) -> list[str]:
        known[host] = addresses
        return asked

    monkeypatch.setattr(http, "resolve", resolve)
    return add


PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "100.100.100.200",
    "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2001:20::1", "2002:7f00:1::", "2002:808:808::1",
    "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1",
    "2606:4700::1111",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not http.is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert http.is_public(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com/", "start with"),
        ("file:///etc/passwd", "start with"),
        ("//example.com/", "start with"),
        ("https://", "start with"),
        ("https://:443/", "start with"),
        ("https://example.com:0/", "start with"),
        ("https://example.com:99999/", "not a valid"),
        ("https://[::1", "not a valid"),
        ("https://name@example.com/", "user name"),
        ("https://name:word@example.com/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://example.com/a b", "plain ASCII"),
        ("https://example.com/\r\nX-Header: 1", "plain ASCII"),
        ("https://example.com/ü", "plain ASCII"),
        ("https://example.com/" + "a" * 2000, "plain ASCII"),
        ("http://127.0.0.1/", "public"),
        ("http://localhost:8000/", "public"),
        ("http://api.localhost/", "public"),
        ("http://[::1]/", "public"),
        ("http://[::ffff:10.0.0.1]/", "public"),
        ("http://169.254.169.254/latest/meta-data/", "public"),
    ],
)
def test_invalid_url_is_rejected_before_sending(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        http.check_url(url)
    assert refused(url).permanent


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0"])
def test_odd_spellings_of_loopback_are_rejected(host: str, receiver: Receiver) -> None:
    assert "private address" in str(refused(receiver.url(host=host)))
    assert receiver.requests == []


def test_name_of_a_private_address_is_rejected(names: Any, receiver: Receiver) -> None:
    names("rebound.example.com", ["127.0.0.1"])
    error = refused(receiver.url(host="rebound.example.com"))
    assert "private address" in str(error)
    assert not error.permanent
    assert receiver.requests == []


def test_name_is_resolved_only_once(names: Any, receiver: Receiver, allow_private: None) -> None:
    asked = names("once.example.com", ["127.0.0.1"])
    assert http.post(receiver.url(host="once.example.com"), b"{}", {}).status == 204
    assert asked == ["once.example.com"]


def test_only_public_addresses_are_connected(names: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    names("mixed.example.com", ["127.0.0.1", "8.8.8.8"])
    called: list[str] = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        called.append(address[0])
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        assert "refused" in str(refused(receiver.url(host="mixed.example.com")))
    assert called == ["8.8.8.8"]


def test_connected_address_is_checked_again(names: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    names("moved.example.com", ["8.8.8.8"])
    connect = socket.socket.connect
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda self, _: connect(self, ("127.0.0.1", receiver.port)))
        assert "private address" in str(refused(receiver.url(host="moved.example.com")))
    assert receiver.requests == []


def test_operator_may_allow_private_addresses(receiver: Receiver, settings: Settings) -> None:
    settings.ALLOW_PRIVATE_TARGETS = True
    reply = http.post(receiver.url("/a/b?c=d"), b'{"e": 1}', {"Content-Type": "application/json"})
    assert reply.status == 204
    (request,) = receiver.requests
    assert request.line == "POST /a/b?c=d HTTP/1.1"
    assert request.body == b'{"e": 1}'
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"


def test_redirects_are_not_followed(receiver: Receiver, allow_private: None) -> None:
    receiver.answer = responds("302 Found", b"", f"Location: {receiver.url('/elsewhere')}")
    assert http.post(receiver.url(), b"{}", {}).status == 302
    assert len(receiver.requests) == 1


def test_environment_proxies_are_ignored(
    receiver: Receiver, allow_private: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert http.post(receiver.url(), b"{}", {}).status == 204


def dripping_head(over: Any) -> Answer:
    return lambda peer: _drip(peer, b"HTTP/1.1 200 OK\r\nX-Slow: ", over)


def _drip(peer: socket.socket, first: bytes, over: Any) -> None:
    peer.sendall(first)
    while not over.wait(0.05):
        peer.sendall(b"a")


def test_slow_headers_time_out(receiver: Receiver, allow_private: None) -> None:
    receiver.answer = dripping_head(receiver.over)
    started = time.monotonic()
    assert "in time" in str(refused(receiver.url(), seconds=0.5))
    assert time.monotonic() - started < 10


def test_slow_body_after_success_is_success(receiver: Receiver, allow_private: None) -> None:
    receiver.answer = lambda peer: _drip(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", receiver.over)
    started = time.monotonic()
    assert http.post(receiver.url(), b"{}", {}, seconds=1.5).status == 200
    assert time.monotonic() - started < 10


def test_silent_server_times_out(receiver: Receiver, allow_private: None) -> None:
    receiver.answer = stays_silent(receiver)
    assert "in time" in str(refused(receiver.url(), seconds=0.3))


def test_server_that_never_reads_times_out(allow_private: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(ChannelError, match="in time"):
            http.post(url, b"a" * 20_000_000, {}, seconds=0.5)


def test_at_most_64_kib_are_read(receiver: Receiver, allow_private: None) -> None:
    receiver.answer = responds("200 OK", b"a" * 3_000_000)
    assert len(http.post(receiver.url(), b"{}", {}).body) == 64 * 1024


def test_endless_headers_are_not_http(receiver: Receiver, allow_private: None) -> None:
    receiver.answer = lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"\r\n")
    assert "not HTTP" in str(refused(receiver.url()))


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_other_protocols_are_reported(words: bytes, receiver: Receiver, allow_private: None) -> None:
    receiver.answer = lambda peer: peer.sendall(words)
    assert "not HTTP" in str(refused(receiver.url()))


def test_closed_connection_is_reported(receiver: Receiver, allow_private: None) -> None:
    receiver.answer = lambda peer: None
    assert "closed the connection" in str(refused(receiver.url()))


def test_refused_connection_is_reported(allow_private: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "refused the connection" in str(refused(f"http://127.0.0.1:{port}/"))


def test_unknown_host_name_is_reported() -> None:
    assert "could not be resolved" in str(refused("https://nowhere.invalid/"))


def test_hanging_resolver_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(http, "resolve", lambda host, port: [over.wait(30)])
    started = time.monotonic()
    assert "in time" in str(refused("https://slow.example.com/", seconds=0.2))
    assert time.monotonic() - started < 10
    over.set()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120.0), ("0", 0.0), ("-5", None), ("soon", None), ("9" * 40, 999_999_999.0), ("1.5", None), ("٣", 3.0)],
)
def test_retry_after_in_seconds(header: str, seconds: float | None) -> None:
    assert http.parse_retry_after(header, dt.datetime(2026, 11, 23, tzinfo=dt.UTC)) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("Mon, 23 Nov 2026 00:02:00 GMT", 120.0), ("Sun, 22 Nov 2026 00:00:00 GMT", 0.0), ("Mon, 99 Nov", None)],
)
def test_retry_after_as_a_date(header: str, seconds: float | None) -> None:
    assert http.parse_retry_after(header, dt.datetime(2026, 11, 23, tzinfo=dt.UTC)) == seconds


def test_errors_and_logs_name_only_the_host(
    receiver: Receiver, allow_private: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers: list[Answer] = [lambda peer: None, lambda peer: peer.sendall(b"hidden\r\n"), dripping_head(receiver.over)]
    for receiver.answer in answers:
        error = refused(receiver.url(SECRET_PATH), seconds=0.3)
        assert "127.0.0.1" in str(error)
        assert "hidden" not in str(error)
        assert error.__cause__ is None
    assert "hidden" not in caplog.text


# Kept connections


@pytest.fixture
def keeping(receiver: Receiver, allow_private: None) -> Receiver:
    receiver.keeps_connections = True
    return receiver


def post(receiver: Receiver, host: str = "127.0.0.1") -> int:
    return http.post(receiver.url(host=host), b"{}", {}).status


@pytest.mark.parametrize(
    "answer",
    [
        responds("204 No Content"),
        responds("200 OK", b"ok"),
        responds("500 Oops", b"a" * 3000),
        lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ],
)
def test_connection_is_kept(keeping: Receiver, answer: Answer) -> None:
    keeping.answer = answer
    assert len({post(keeping) for _ in range(5)}) == 1
    assert (len(keeping.requests), keeping.connections) == (5, 1)


@pytest.mark.parametrize(
    "answer",
    [
        responds("200 OK", b"", "Connection: close"),
        responds("200 OK", b"a" * 100_000),  # more than is read
        lambda peer: peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        lambda peer: peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_connection_in_doubt_is_not_kept(keeping: Receiver, answer: Answer) -> None:
    """An unread rest must not become the response to the next message, which may be another team's."""
    keeping.answer = answer
    first = post(keeping)
    assert post(keeping) == first
    assert len(keeping.requests) == 2


def test_closed_connection_is_replaced(receiver: Receiver, allow_private: None) -> None:
    """The receiver closes after each response without saying so."""
    assert [post(receiver) for _ in range(20)] == [204] * 20
    assert len(receiver.requests) == receiver.connections == 20


def test_kept_connection_is_checked_again(keeping: Receiver, names: Any, settings: Settings) -> None:
    names("rebound.example.com", ["127.0.0.1"])
    assert post(keeping, host="rebound.example.com") == 204
    settings.ALLOW_PRIVATE_TARGETS = False
    assert "private address" in str(refused(keeping.url(host="rebound.example.com")))
    assert len(keeping.requests) == 1


def test_name_is_resolved_again_after_a_minute(keeping: Receiver, names: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names("moved.example.com", ["127.0.0.1"])
    assert post(keeping, host="moved.example.com") == post(keeping, host="moved.example.com") == 204
    assert len(asked) == 1
    monkeypatch.setattr(connections, "MAX_AGE_SECONDS", 0.0)
    assert post(keeping, host="moved.example.com") == 204
    assert len(asked) == 2


def test_other_name_gets_another_connection(keeping: Receiver, names: Any) -> None:
    names("one.example.com", ["127.0.0.1"])
    names("two.example.com", ["127.0.0.1"])
    assert post(keeping, host="one.example.com") == post(keeping, host="two.example.com") == 204
    assert keeping.connections == 2


def test_timeout_ends_a_kept_connection(keeping: Receiver) -> None:
    assert post(keeping) == 204
    keeping.answer = stays_silent(keeping)
    assert "in time" in str(refused(keeping.url(), seconds=0.3))
    keeping.answer = responds("204 No Content")
    assert post(keeping) == 204
    assert keeping.connections == 2


# TLS


def certificate(folder: Path, name: str, ends: dt.datetime) -> ssl.SSLContext:
    """The server side of TLS, with a self-signed certificate kept in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    cert = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "cert.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


LONG = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def secure(tmp_path: Path, allow_private: None) -> Iterator[Receiver]:
    with Receiver(context=certificate(tmp_path, "good.example.com", LONG)) as receiver:
        yield receiver


@pytest.fixture
def trusting(tmp_path: Path, secure: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    monkeypatch.setattr(http, "tls_context", lambda: context)


def test_tls_verifies_name_at_the_checked_address(names: Any, secure: Receiver, trusting: None) -> None:
    names("good.example.com", ["127.0.0.1"])
    assert http.post(secure.url(host="good.example.com"), b"{}", {}).status == 204
    assert secure.requests[0].headers["host"] == f"good.example.com:{secure.port}"


def test_tls_connection_is_kept(names: Any, secure: Receiver, trusting: None) -> None:
    secure.keeps_connections = True
    names("good.example.com", ["127.0.0.1"])
    assert post(secure, host="good.example.com") == post(secure, host="good.example.com") == 204
    assert secure.connections == 1


def test_certificate_for_another_name_is_rejected(names: Any, secure: Receiver, trusting: None) -> None:
    names("other.example.com", ["127.0.0.1"])
    assert "certificate of other.example.com is not valid" in str(refused(secure.url(host="other.example.com")))
    assert secure.requests == []


def test_untrusted_certificate_is_rejected(names: Any, secure: Receiver) -> None:
    names("good.example.com", ["127.0.0.1"])
    assert "certificate of good.example.com is not valid" in str(refused(secure.url(host="good.example.com")))


def test_expired_certificate_is_rejected(names: Any, tmp_path: Path, allow_private: None, monkeypatch: Any) -> None:
    names("good.example.com", ["127.0.0.1"])
    ended = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
    with Receiver(context=certificate(tmp_path, "good.example.com", ended)) as receiver:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        monkeypatch.setattr(http, "tls_context", lambda: context)
        assert "expired" in str(refused(receiver.url(host="good.example.com")))


def test_tls_without_an_answer_times_out(receiver: Receiver, allow_private: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert "in time" in str(refused(url, seconds=0.3))
