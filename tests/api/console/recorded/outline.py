"""A page as an outline: its elements with their attributes and texts, indented by what they are in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_WIDTH = 140
_VOID = frozenset({"br", "input", "link", "meta"})
#: A new version of the assets changes no page.
_VERSION = re.compile(r"\?v=[0-9a-f]{12}")


@dataclass
class Element:
    """An element; its children are elements and texts."""

    tag: str
    attributes: str
    children: list[Element | str] = field(default_factory=list)

    def find(self, tag: str) -> Iterator[Element]:
        """Every element of a kind that is in it."""
        for child in self.children:
            if isinstance(child, Element):
                yield from (child,) if child.tag == tag else child.find(tag)

    def lines(self, indent: str = "") -> Iterator[str]:
        """The outline; what is short is on one line, with what it contains in brackets."""
        if len(indent) + len(str(self)) <= _WIDTH or all(isinstance(child, str) for child in self.children):
            yield f"{indent}{self}"
            return
        yield f"{indent}{self.tag}{self.attributes}"
        for child in self.children:
            yield from child.lines(f"{indent}  ") if isinstance(child, Element) else [f"{indent}  : {child}"]

    def __str__(self) -> str:
        inner = " ".join(f"[{child}]" if isinstance(child, Element) else child for child in self.children)
        return f"{self.tag}{self.attributes}" + (f": {inner}" if inner else "")


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open = [Element("", "")]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words = (f" {name}" if value is None else f' {name}="{" ".join(value.split())}"' for name, value in attrs)
        element = Element(tag, _VERSION.sub("?v=…", "".join(words)))
        self.open[-1].children.append(element)
        if tag not in _VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(element)

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> within <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and self.open[-1].tag == "pre":
            self.open[-1].children += data.splitlines()
        elif text:
            self.open[-1].children.append(text)


def outline_of(text: str, *, with_frame: bool) -> list[str]:
    """The outline of a page: what is its own, or with what all pages have."""
    reader = _Reader(text)
    (whole,) = reader.open
    if with_frame:
        return [line for element in whole.find("html") for line in element.lines()]
    (body,) = whole.find("body")
    parts = [each for tag in ("title", "noscript", "main") for each in whole.find(tag)]
    return [f"body{body.attributes}", *(line for element in parts for line in element.lines())]
