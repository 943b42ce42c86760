"""The documentation as HTML: Markdown in, pages with a table of contents and a search index out.

Pure: no Django and no file access. `documentation_views.py` reads the files and serves the pages.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

INDEX: Final = "README.md"
# Side bar: group -> pages in reading order. Single decisions are reachable by link and by search only.
CONTENTS: Final = (
    ("Get started", ("", "run-with-systemd", "run-in-docker-compose", "run-with-launchd", "run-bare-python")),
    ("Monitor agents", ("sdk", "typescript", "capture", "integrations", "doors", "runner", "jobs", "machines")),
    ("Alerting", ("rules", "channels")),
    ("Operating", ("deployment", "operating", "security", "keys", "pricing", "plans")),
    ("Reference", ("pages", "glossary", "architecture", "decisions")),
)
# The glossary's column for writers: it lists words the product no longer uses, so readers never see it.
WRITERS_COLUMN: Final = "instead of"
# Each row of a table whose first column has this heading gets an anchor: /docs/glossary/#grace-period.
TERM_COLUMN: Final = "term"
MAX_RESULTS: Final = 20
MAX_QUERY_WORDS: Final = 8
SNIPPET_RADIUS: Final = 90


class Size(NamedTuple):
    """Pixels of an image. The page reserves its place, so nothing moves when it arrives."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a page. `level` is 2 or 3."""

    level: int
    title: str
    anchor: str


@dataclass(slots=True)
class Section:
    """What one search result leads to: a heading or a glossary term, and the text below it."""

    title: str
    anchor: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One Markdown file. `slug` is its address below `/docs/`, empty for the index."""

    slug: str
    url: str
    title: str
    html: str
    headings: Sequence[Heading]
    sections: Sequence[Section]


@dataclass(frozen=True, slots=True)
class Result:
    """One hit. `snippet` alternates between plain and matching text, beginning with plain text."""

    page: Page
    section: Section
    snippet: Sequence[str]

    @property
    def url(self) -> str:
        """Straight to the section."""
        return f"{self.page.url}#{self.section.anchor}" if self.section.anchor else self.page.url


@dataclass(frozen=True, slots=True)
class Library:
    """All pages by slug; `contents` is the side bar."""

    pages: Mapping[str, Page]
    contents: Sequence[tuple[str, Sequence[Page]]]

    def search(self, query: str) -> list[Result]:
        """The sections that contain every word of the query, best match first."""
        words = query.casefold().split()[:MAX_QUERY_WORDS]
        if not words:
            return []
        hits = [
            (_score(words, page, section), page, section) for page in self.pages.values() for section in page.sections
        ]
        best = sorted((hit for hit in hits if hit[0]), key=lambda hit: -hit[0])[:MAX_RESULTS]
        return [Result(page, section, _snippet(words, section.text)) for _, page, section in best]


def build(texts: Mapping[str, str], images: Mapping[str, Size], base: str) -> Library:
    """Render every text. Keys are paths within `docs/`; `base` is the address that `docs/` has on the server."""
    files = _Files(texts, images, base)
    pages = {slug_of(path): _render(path, text, files) for path, text in sorted(texts.items(), key=_reading_order)}
    contents = [(title, [pages[slug] for slug in slugs if slug in pages]) for title, slugs in CONTENTS]
    return Library(pages, [group for group in contents if group[1]])


def slug_of(path: str) -> str:
    """`rules.md` -> `rules`, `README.md` -> ``, `decisions/README.md` -> `decisions`."""
    folder, name = posixpath.split(path)
    return folder if name == INDEX else path.removesuffix(".md")


def anchor_of(title: str) -> str:
    """The anchor that GitHub gives a heading, so links work in both places."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


def _reading_order(item: tuple[str, str]) -> tuple[int, str]:
    order = [slug for _, slugs in CONTENTS for slug in slugs]
    slug = slug_of(item[0])
    return (order.index(slug) if slug in order else len(order), slug)


# Rendering


@dataclass(frozen=True, slots=True)
class _Files:
    texts: Mapping[str, str]
    images: Mapping[str, Size]
    base: str

    def url(self, page: str, href: str) -> str | None:
        """Where a link on `page` leads on the server; None if its target is not served."""
        parts = urlsplit(href)
        if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/"):
            return href
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path))
        fragment = f"#{parts.fragment}" if parts.fragment else ""
        if target in self.images:
            return self.base + target
        for path in (target, f"{target}/{INDEX}"):
            if path in self.texts:
                return self.page_url(path) + fragment
        return None

    def page_url(self, path: str) -> str:
        slug = slug_of(path)
        return f"{self.base}{slug}/" if slug else self.base


@dataclass(slots=True)
class _Outline:
    """What is collected on the way through a page's tokens."""

    title: str = ""
    headings: list[Heading] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)

    def anchor(self, title: str) -> str:
        anchor = anchor_of(title)
        count = self.taken[anchor] = self.taken.get(anchor, -1) + 1
        return f"{anchor}-{count}" if count else anchor

    def begin(self, title: str, anchor: str) -> None:
        self.sections.append(Section(title, anchor))

    def add(self, text: str) -> None:
        if self.sections:
            self.sections[-1].text += text + " "


def _render(path: str, text: str, files: _Files) -> Page:
    markdown = _markdown()
    tokens = [token for token in markdown.parse(text) if not _is_comment(token)]
    tokens = _without_column(tokens, WRITERS_COLUMN)
    outline = _outline(tokens)
    for token in tokens:
        if token.children:
            token.children = _links_rewritten(token.children, path, files)
    html = markdown.renderer.render(tokens, markdown.options, {"files": files})
    return Page(slug_of(path), files.page_url(path), outline.title or path, html, outline.headings, outline.sections)


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for name, rule in _RENDER_RULES.items():
        markdown.add_render_rule(name, rule)
    return markdown


def _is_comment(token: Token) -> bool:
    return token.type == "html_block" and token.content.lstrip().startswith("<!--")


def _outline(tokens: Sequence[Token]) -> _Outline:
    """Collect headings and sections, and give headings and glossary rows their ids."""
    outline = _Outline()
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            _add_heading(outline, token, _plain(tokens[index + 1]))
        elif token.type == "table_open" and _column(tokens, index, TERM_COLUMN) == 0:
            token.meta["terms"] = True
        elif token.type == "inline" and tokens[index - 1].type != "heading_open":
            if tokens[index - 1].type == "td_open" and tokens[index - 2].type == "tr_open" and _in_terms(tokens, index):
                title = _plain(token)
                tokens[index - 2].attrSet("id", anchor := outline.anchor(title))
                outline.begin(title, anchor)
            else:
                outline.add(_plain(token))
        elif token.type == "fence":
            outline.add(token.content)
    return outline


def _add_heading(outline: _Outline, token: Token, title: str) -> None:
    level, anchor = int(token.tag[1]), outline.anchor(title)
    token.attrSet("id", anchor)
    outline.begin(title, anchor if level > 1 else "")
    if level == 1:
        outline.title = title
    elif level <= 3:
        outline.headings.append(Heading(level, title, anchor))


def _in_terms(tokens: Sequence[Token], index: int) -> bool:
    return next((bool(token.meta.get("terms")) for token in tokens[index::-1] if token.type == "table_open"), False)


def _column(tokens: Sequence[Token], table: int, name: str) -> int | None:
    """The position of a column by its heading; None if the table that opens there has none of that name."""
    position = 0
    for index in range(table, len(tokens)):
        if tokens[index].type == "th_open":
            if _plain(tokens[index + 1]).lower() == name:
                return position
            position += 1
        elif tokens[index].type == "thead_close":
            break
    return None


def _without_column(tokens: Sequence[Token], name: str) -> list[Token]:
    kept: list[Token] = []
    dropped: int | None = None
    position = 0
    skipping = False
    for index, token in enumerate(tokens):
        if token.type == "table_open":
            dropped = _column(tokens, index, name)
        elif token.type == "tr_open":
            position = -1
        elif token.type in ("th_open", "td_open"):
            position += 1
            skipping = position == dropped
        if not skipping:
            kept.append(token)
        if token.type in ("th_close", "td_close"):
            skipping = False
    return kept


def _links_rewritten(children: Sequence[Token], page: str, files: _Files) -> list[Token]:
    """Links lead to the server's pages; a link to a file that is not served becomes its text."""
    kept: list[Token] = []
    unlinked = False
    for token in children:
        if token.type == "link_open":
            url = files.url(page, str(token.attrGet("href") or ""))
            unlinked = url is None
            token.attrSet("href", url or "")
        elif token.type == "image":
            token.attrSet("src", files.url(page, str(token.attrGet("src") or "")) or "")
        if not (unlinked and token.type in ("link_open", "link_close")):
            kept.append(token)
        if token.type == "link_close":
            unlinked = False
    return kept


def _plain(token: Token) -> str:
    breaks = ("softbreak", "hardbreak")
    return "".join(" " if child.type in breaks else child.content for child in token.children or ()).strip()


def _image(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """An image that follows the reader's colour scheme where there is a dark version of it, and opens in full size."""
    files: _Files = env["files"]
    src = str(tokens[index].attrGet("src") or "")
    alt = escape(renderer.renderInlineAsText(tokens[index].children or [], options, env))
    path = src.removeprefix(files.base)
    size = files.images.get(path)
    place = f' width="{size.width}" height="{size.height}"' if size else ""
    image = f'<img src="{escape(src)}" alt="{alt}" loading="lazy"{place}>'
    dark = f"{path.removesuffix('.png')}-dark.png"
    if dark in files.images:
        source = f'<source media="(prefers-color-scheme: dark)" srcset="{escape(files.base + dark)}">'
        image = f"<picture>{source}{image}</picture>"
    return f'<a class="shot" href="{escape(src)}">{image}</a>'


def _table_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    # Wide tables scroll by themselves; the keyboard needs a stop to do so.
    return '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>\n'


def _table_close(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return "</table></div>\n"


def _fence(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    code, name = escape(tokens[index].content), f"code-{index}"
    button = f'<button class="link" type="button" data-copy="{name}" aria-label="Copy this code">Copy</button>'
    return f'<div class="code"><pre tabindex="0"><code id="{name}">{code}</code></pre>{button}</div>\n'


def _heading_close(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tag, anchor = tokens[index].tag, str(tokens[index - 2].attrGet("id"))
    if tag == "h1":
        return "</h1>\n"
    return f' <a class="anchor" href="#{anchor}" aria-label="Link to this section">#</a></{tag}>\n'


def _escaped(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """Raw HTML is shown as text: the policy of the pages allows neither scripts nor styles in them."""
    return escape(tokens[index].content)


_RENDER_RULES: Final = {
    "image": _image,
    "table_open": _table_open,
    "table_close": _table_close,
    "fence": _fence,
    "code_block": _fence,
    "heading_close": _heading_close,
    "html_inline": _escaped,
    "html_block": _escaped,
}


# Search


def _score(words: Sequence[str], page: Page, section: Section) -> int:
    """0 unless every word occurs. A match in a heading counts more than any number of matches in the text."""
    title, text = section.title.casefold(), section.text.casefold()
    if not all(word in title or word in text or word in page.title.casefold() for word in words):
        return 0
    if not any(word in title or word in text for word in words):
        return 0
    return sum(10 * (word == title) + 10 * (word in title) + min(text.count(word), 5) for word in words)


def _snippet(words: Sequence[str], text: str) -> list[str]:
    """The text around the first match. Odd positions are matches."""
    lowered = text.casefold()
    first = min((at for at in (lowered.find(word) for word in words) if at >= 0), default=0)
    # Whole words: up to the last space before, and to the first one after.
    start = text.find(" ", first - SNIPPET_RADIUS) + 1 if first > SNIPPET_RADIUS else 0
    end = text.find(" ", first + SNIPPET_RADIUS)
    shown = ("… " if start else "") + text[start : end if end >= 0 else None].strip()
    shown += " …" if 0 <= end < len(text.rstrip()) else ""
    return re.split(f"({'|'.join(map(re.escape, words))})", shown, flags=re.IGNORECASE)


def links(text: str) -> Iterator[str]:
    """Every link and image address of a Markdown text."""
    for token in _markdown().parse(text):
        for child in token.children or ():
            address = child.attrGet("href") if child.type == "link_open" else child.attrGet("src")
            if child.type in ("link_open", "image"):
                yield str(address)
