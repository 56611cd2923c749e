"""Follows every link of the console's pages, as a user with some roles would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

from flask.testing import FlaskClient
from werkzeug.routing import Rule

#: What the tests' storage system has, and what of it is visited: one object of each kind.
_OBJECTS = {"subsystem": {"filer"}, "volume": {"db01", "db02"}, "policy": {"default"}}


class _Page(HTMLParser):
    """The addresses that a page links to, and those to which its forms are sent."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("method") == "post":
            self.forms.append(values["action"])
        elif tag in ("a", "link", "script") and (values.get("href") or values.get("src")):
            self.links.append(values.get("href") or values["src"])


@dataclass
class Crawl:
    """What was reached: addresses by what is to be seen there; the rules; and forms by rule and action."""

    client: FlaskClient
    addresses: dict[tuple[str, ...], str] = field(default_factory=dict)
    rules: set[str] = field(default_factory=set)
    forms: set[tuple[str, str]] = field(default_factory=set)
    #: The pages of the console, by address.
    texts: dict[str, str] = field(default_factory=dict)
    #: Addresses that did not answer with what was promised, and the pages that link there.
    broken: list[tuple[str, int, str]] = field(default_factory=list)

    def follow(self, start: str) -> Crawl:
        """Follow every link from a page on."""
        waiting = [(start, "")]
        while waiting:
            address, linked_on = waiting.pop(0)
            waiting += [(link, address) for link in self._visit(address, linked_on)]
        return self

    def _visit(self, address: str, linked_on: str) -> Iterator[str]:
        seen = self._place(address)
        if seen is None or seen in self.addresses:
            return
        self.addresses[seen] = address
        with self.client.get(address) as answer:
            if answer.status_code not in (200, 201, 303):
                self.broken.append((address, answer.status_code, linked_on))
            if answer.mimetype != "text/html" or not address.startswith("/console"):
                return
            self.texts[address] = answer.get_data(as_text=True)
        page = _Page(self.texts[address])
        for action in page.forms:
            if action.startswith("/console"):
                rule, arguments = self._match(urljoin(address, action), "POST")
                self.forms.add((rule.rule, str(arguments.get("action", ""))))
        yield from (urljoin(address, link) for link in page.links)

    def _match(self, address: str, method: str = "GET") -> tuple[Rule, dict[str, str]]:
        adapter = self.client.application.url_map.bind("localhost")
        rule, arguments = adapter.match(urlsplit(address).path, method, return_rule=True)
        return rule, dict(arguments)

    def _place(self, address: str) -> tuple[str, ...] | None:
        """What is to be seen at an address; None where it is not looked at.

        Sorted and filtered tables are as one, but for the states of jobs, which have different actions.
        """
        parts = urlsplit(address)
        if parts.netloc or parts.path.startswith(("/login", "/logout")) or parts.scheme not in ("", "http"):
            return None
        rule, arguments = self._match(address)
        if any(name in _OBJECTS and value not in _OBJECTS[name] for name, value in arguments.items()):
            return None
        if parts.path.startswith("/console"):
            action = f"/{arguments['action']}/" if "volume-actions" in rule.rule else "/<action>/"
            self.rules.add(rule.rule.replace("/<action>/", action))
        query = dict(parse_qsl(parts.query))
        names = sorted(query.keys() - {"v", "refresh", "sort", "columns", "rows"})
        return (rule.rule, *arguments.values(), *names, query.get("state", ""))
