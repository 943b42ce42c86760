"""A person without a mouse: Tab, Enter, Space, arrows and Escape. Each stop must be seen, named and in order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.browser.tab import Tab

MAX_STEPS = 200
SKIP_LINK = "Skip to content"
# What a person sees and a screen reader says about the element with the focus. Texts hidden from screen readers do not
# count. The order is judged within a landmark: upwards and not to the right is backwards.
STOP = """() => {
  const here = document.activeElement, style = getComputedStyle(here), box = here.getClientRects()[0];
  const said = (node) => node.nodeType === Node.TEXT_NODE ? node.data
    : node.nodeType !== Node.ELEMENT_NODE || node.getAttribute("aria-hidden") === "true" || !node.checkVisibility() ? ""
    : node.tagName === "IMG" ? node.alt : [...node.childNodes].map(said).join("");
  const ids = (here.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id));
  const named = ids.filter(Boolean).map(said).join(" ") || here.getAttribute("aria-label")
    || [...(here.labels || [])].map(said).join(" ") || said(here) || here.placeholder || here.title || "";
  const parts = "main, nav, header, aside, dialog, [role=search], .w-selection, .w-pinned";
  const landmark = (node) => node && node.closest(parts);
  const before = window.lastStop, was = before && before.getClientRects()[0];
  const isNext = was && before.compareDocumentPosition(here) & Node.DOCUMENT_POSITION_FOLLOWING;
  const isBack = isNext && box && landmark(before) === landmark(here) && box.top < was.top - 48 && box.left <= was.left;
  window.lastStop = here;
  const top = box && document.elementFromPoint(box.left + box.width / 2, box.top + Math.min(box.height, 20) / 2);
  const shown = (node) => here.contains(node) || node.contains(here)
    || [...(here.labels || [])].some((label) => label.contains(node));
  return {
    name: named.replace(/\\s+/g, " ").trim(),
    tag: here.tagName.toLowerCase(),
    ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
    seen: Boolean(top && shown(top)),
    back: Boolean(isBack),
  };
}"""


@dataclass
class Keyboard:
    """The keyboard of one tab; `walked` are the names of the stops since the last page."""

    tab: Tab
    walked: list[str] = field(default_factory=list)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.page.keyboard.press(key)

    def stop(self) -> dict[str, Any]:
        """The element with the focus."""
        found: dict[str, Any] = self.tab.page.evaluate(STOP)
        return found

    @property
    def hears(self) -> str:
        """What a screen reader calls it."""
        return str(self.stop()["name"])

    def reach(self, name: str | re.Pattern[str]) -> None:
        """Press Tab until the element with this name has the focus."""
        wanted = name if isinstance(name, re.Pattern) else re.compile(re.escape(name))
        self.walked.clear()
        for _ in range(MAX_STEPS):
            stop = self.step()
            assert self.faults(stop) == []
            if wanted.fullmatch(stop["name"]):
                return
        pytest.fail(f"Tab never reaches {name}: {self.walked}")

    def step(self) -> dict[str, Any]:
        """Press Tab; where the focus is then."""
        self.press("Tab")
        stop = self.stop()
        self.walked.append(stop["name"])
        return stop

    def walk(self, *, content_only: bool = False) -> list[str]:
        """Press Tab from the first stop of the page until it comes again; what is wrong on the way.

        `content_only` leaves out what the skip link skips, which is the same on all pages.
        """
        self.walked.clear()
        first = self.step()
        if content_only and first["name"] == SKIP_LINK:
            self.press("Enter")
            first = self.step()
        found = self.faults(first)
        for _ in range(MAX_STEPS):
            stop = self.step()
            if stop["tag"] == "body" or stop["name"] == first["name"]:
                return found
            found += self.faults(stop)
        return [*found, f"it never ends: {self.walked[-5:]}"]

    def faults(self, stop: dict[str, Any]) -> list[str]:
        """What is wrong with a stop; after the last one comes the browser, as `body`."""
        if stop["tag"] == "body":
            return []
        where = " › ".join(self.walked[-3:])
        faults = {
            "has no name": not stop["name"],
            "does not show the focus": not stop["ring"],
            "is covered or off the screen": not stop["seen"],
            "is above what comes before it": stop["back"],
        }
        return [f"{where} ({stop['tag']}) {fault}" for fault, is_so in faults.items() if is_so]

    def follow(self, name: str | re.Pattern[str], to: str = "") -> None:
        """Reach a link or a button, and press Enter. `to` is the URL it leads to, or what it says afterwards."""
        self.reach(name)
        self.press("Enter")
        if to.startswith("**"):
            self.tab.page.wait_for_url(to)
        elif to:
            self.tab.sees(to)

    def fill(self, **fields: str) -> None:
        """Type into fields, in their order."""
        for label, text in fields.items():
            name = label.replace("E_", "E-").replace("_", " ")
            if self.hears != name:  # some pages put the focus there
                self.reach(name)
            self.tab.page.keyboard.type(text)

    def skip_to_content(self) -> None:
        """Follow the skip link, which is the first stop of a page."""
        self.press("Tab")
        assert self.hears == SKIP_LINK
        self.press("Enter")
