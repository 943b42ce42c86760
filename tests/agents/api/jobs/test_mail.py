"""What a mail to a ping address means, and what of it is kept."""

from __future__ import annotations

import random

import pytest

from agents.api.jobs import mail, pings

UUID = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"
KEY = "a1B2" * 5 + "xy"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (f"{UUID}@pings.example.com", (UUID, "", "", "")),
        (f"{UUID.upper()}@x", (UUID.upper(), "", "", "")),
        (f"{UUID.replace('-', '')}@x", (UUID.replace("-", ""), "", "", "")),
        (f"{UUID}+fail@x", (UUID, "", "", "fail")),
        (f"{UUID}+START@x", (UUID, "", "", "start")),
        (f"{KEY}-nightly-backup@x", ("", KEY, "nightly-backup", "")),
        (f"{KEY}-a_b-1+log@x", ("", KEY, "a_b-1", "log")),
    ],
)
def test_addresses_of_pings(address: str, found: tuple[str, ...]) -> None:
    recipient = mail.recipient(address)
    assert recipient is not None
    assert (recipient.uuid, recipient.key, recipient.slug, recipient.action) == found


@pytest.mark.parametrize(
    "address",
    ["", "@", "root@x", "postmaster@x", f"{UUID}+stop@x", f"{UUID}x@x", f"{KEY}@x", f"{KEY[:-1]}-a@x", f"{KEY}-a b@x"],
)
def test_other_addresses_are_none(address: str) -> None:
    assert mail.recipient(address) is None


@pytest.mark.parametrize(
    ("subject", "text", "event"),
    [
        ("Backup of db1", "", "success"),
        ("Backup FAILED on db1", "", "fail"),
        ("[db1] Error: disk full", "all ok", "fail"),
        ("backup started", "", "start"),
        ("Started and failed", "", "fail"),
        ("Job started successfully", "", "success"),
        ("Backup: 0 error, no failure", "", "success"),
        ("finished without error", "", "success"),
        ("errorless restarted", "", "success"),
        ("", "\n\nFAIL: disk full", "fail"),
        ("nightly", "start\nthis did not fail", "start"),
        ("nightly", "42 tables\nno failed ones, error", "success"),
        ("=?utf-8?b?RkFJTEVE?=", "", "fail"),
    ],
)
def test_words_decide(subject: str, text: str, event: str) -> None:
    raw = f"Subject: {subject}\nContent-Type: text/plain; charset=utf-8\n\n{text}".encode()
    recipient = mail.recipient(f"{UUID}@x")
    assert recipient is not None
    assert mail.read(raw).event(recipient).event == event


def test_address_decides_before_words() -> None:
    recipient = mail.recipient(f"{UUID}+log@x")
    assert recipient is not None
    assert mail.read(b"Subject: FAILED\n\n").event(recipient).event == "log"


def test_plain_part_is_kept_without_secrets() -> None:
    parts = (
        b"Subject: done\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n"
        b"--b\nContent-Type: text/html\n\n<p>html</p>\n--b\nContent-Type: text/plain\n\nrows=7 "
        b"key cv_" + b"a" * 40 + b"\n--b--\n"
    )
    body = mail.read(parts).body
    assert "rows=7" in body
    assert "html" not in body
    assert "cv_" + "a" * 40 not in body


def test_copies_have_one_id_each_recipient() -> None:
    read = mail.read(b"Message-ID: <1@x>\nSubject: a\n\n")
    assert read.beat_id("a@x") == read.beat_id("A@X") != read.beat_id("b@x")
    assert mail.read(b"Subject: a\n\n").beat_id("a@x") is None


def test_broken_mails_are_pings() -> None:
    random.seed(7)
    good = b"Subject: =?utf-8?q?a?=\nContent-Type: multipart/mixed; boundary=b\nMessage-ID: <\xff>\n\n--b\n\n\0x\n--b--"
    recipient = mail.recipient(f"{UUID}@x")
    assert recipient is not None
    for _ in range(500):
        broken = bytearray(good)
        for _ in range(random.randint(1, 8)):
            broken[random.randrange(len(broken))] = random.randrange(256)
        read = mail.read(bytes(broken))
        assert read.event(recipient).event in mail.ACTIONS
        assert "\0" not in read.body
        assert len(read.body.encode()) <= pings.BODY_LIMIT * 3
        read.beat_id("a@x")
