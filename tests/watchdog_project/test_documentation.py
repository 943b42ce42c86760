"""The documentation: rendering, the pages under `/docs/`, and search."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from watchdog_project.documentation import CONTENTS, Library, Size, anchor_of, build, slug_of
from watchdog_project.documentation_views import images, library

BASE = "/docs/"
FOLDER = settings.BASE_DIR / "docs"


def built(images: dict[str, Size] | None = None, **texts: str) -> Library:
    return build({f"{name}.md": text for name, text in texts.items()}, images or {}, BASE)


def html(text: str, **others: Any) -> str:
    return built(rules=text, **others).pages["rules"].html


# Rendering


@pytest.mark.parametrize(
    ("title", "anchor"),
    [
        ("Grace period", "grace-period"),
        ("missed_heartbeat", "missed_heartbeat"),
        ("When it doesn't work", "when-it-doesnt-work"),
        ("`loop`: again", "loop-again"),
    ],
)
def test_anchors_are_those_of_github(title: str, anchor: str) -> None:
    assert anchor_of(title) == anchor


@pytest.mark.parametrize(
    ("path", "slug"), [("README.md", ""), ("rules.md", "rules"), ("decisions/README.md", "decisions")]
)
def test_slugs(path: str, slug: str) -> None:
    assert slug_of(path) == slug


def test_headings_have_unique_anchors() -> None:
    page = built(rules="# Rules\n\n## Same\n\n### Same\n\n#### Same\n").pages["rules"]
    assert (page.title, page.url) == ("Rules", "/docs/rules/")
    assert [(one.level, one.anchor) for one in page.headings] == [(2, "same"), (3, "same-1")]
    assert '<h4 id="same-2">' in page.html


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("channels.md", "/docs/channels/"),
        ("channels.md#slack", "/docs/channels/#slack"),
        ("README.md", "/docs/"),
        ("#here", "#here"),
        ("https://example.com/a.md", "https://example.com/a.md"),
    ],
)
def test_links_lead_to_pages(link: str, url: str) -> None:
    assert f'<a href="{url}">x</a>' in html(f"[x]({link})", channels="# C", README="# R")


@pytest.mark.parametrize("link", ["../README.md", "../agents/review", "gone.md", "../../etc/passwd"])
def test_links_to_other_files_become_text(link: str) -> None:
    assert "<p>See <code>this</code> now</p>" in html(f"See [`this`]({link}) now")


def test_images_have_a_size_and_a_dark_version() -> None:
    sizes = {"screenshots/a.png": Size(1280, 800), "screenshots/a-dark.png": Size(1280, 800)}
    shown = html("![A <b>](screenshots/a.png)", images=sizes)
    assert 'src="/docs/screenshots/a.png" alt="A &lt;b&gt;" loading="lazy" width="1280" height="800"' in shown
    assert 'media="(prefers-color-scheme: dark)" srcset="/docs/screenshots/a-dark.png"' in shown


def test_raw_html_is_shown_as_text() -> None:
    shown = html("<script>alert(1)</script>\n\nA <b>bold</b> word\n\n<!-- for writers -->\n")
    assert "<script>" not in shown
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown
    assert "for writers" not in shown


def test_the_writers_column_is_left_out() -> None:
    table = "| term | meaning | instead of |\n| --- | --- | --- |\n| Grace period | Extra time. | slack |\n"
    page = built(rules=f"# Glossary\n\n{table}").pages["rules"]
    assert '<tr id="grace-period">' in page.html
    assert "slack" not in page.html + page.sections[-1].text
    assert "Extra time." in page.html


# Search


SEARCHED = built(
    rules="# Rules\n\n## stalled\n\nHeartbeats come, progress does not.\n\n## loop\n\nThe same call.\n",
    channels="# Channels\n\nThe loop of alerts <&>.\n",
)


def test_a_match_in_a_heading_comes_first() -> None:
    found = SEARCHED.search("LOOP")
    assert [(one.url, one.section.title) for one in found] == [
        ("/docs/rules/#loop", "loop"),
        ("/docs/channels/", "Channels"),
    ]
    assert found[1].snippet == ["The ", "loop", " of alerts <&>."]


@pytest.mark.parametrize(("query", "count"), [("", 0), ("progress heartbeats", 1), ("progress call", 0), ("rules", 1)])
def test_every_word_must_match(query: str, count: int) -> None:
    assert len(SEARCHED.search(query)) == count


def test_long_text_is_cut_around_the_match() -> None:
    text = f"# P\n\n{'before ' * 50}needle{' after' * 50}\n"
    (result,) = built(rules=text).search("needle")
    shown = "".join(result.snippet)
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    assert len(shown) < 200


# The pages


def test_every_file_is_in_the_contents() -> None:
    listed = [slug for _, slugs in CONTENTS for slug in slugs]
    assert sorted(listed) == sorted(["decisions", *(slug_of(path.name) for path in FOLDER.glob("*.md"))])


@pytest.mark.parametrize("slug", sorted(library().pages))
def test_pages_open_without_signing_in(client: Client, db: None, slug: str) -> None:
    page = library().pages[slug]
    answer = client.get(page.url)
    body = answer.content.decode()
    assert answer.status_code == 200
    assert page.html in body
    assert body.count("<h1") == 1
    assert "style=" not in page.html, "the policy of the pages forbids it"
    assert 'src=""' not in page.html
    assert page.sections


def test_the_side_bar_marks_the_page(client: Client, db: None) -> None:
    body = client.get("/docs/rules/").content.decode()
    assert re.search(r'<a href="/docs/rules/" aria-current="page">', body)
    assert body.count('aria-current="page"') == 1
    for title, _ in CONTENTS:
        assert f"<h2>{title}</h2>" in body


def test_images_are_served(client: Client) -> None:
    name = sorted(images())[0]
    answer = client.get(f"/docs/{name}")
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
    assert b"".join(answer) == (FOLDER / name).read_bytes()


@pytest.mark.parametrize(
    "path",
    ["nope/", "../README/", "%2e%2e/CHANGELOG/", "README.md/", "screenshots/nope.png", "screenshots/../../x.png"],
)
def test_other_files_are_not_served(client: Client, db: None, path: str) -> None:
    assert client.get(f"/docs/{path}").status_code == 404


def test_addresses_without_a_slash_are_redirected(client: Client, db: None) -> None:
    assert client.get("/docs/glossary")["Location"] == "/docs/glossary/"


def test_search_page(client: Client, db: None) -> None:
    body = client.get("/docs/", {"q": "grace period"}).content.decode()
    assert '<a href="/docs/glossary/#grace-period">' in body
    assert 'value="grace period"' in body
    body = client.get("/docs/", {"q": "<b>zzz"}).content.decode()
    assert "No results for “&lt;b&gt;zzz”" in body


def test_the_image_contains_the_documentation() -> None:
    ignored = (settings.BASE_DIR / ".dockerignore").read_text().split()
    assert [line for line in ignored if "docs" in line or line in ("*", "*.md", "**/*.md")] == []


def test_only_reading_is_allowed(client: Client, db: None) -> None:
    assert client.post("/docs/").status_code == 405
