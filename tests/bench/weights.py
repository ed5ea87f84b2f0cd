"""Compressed bytes of a built page, with the files of the site that it names."""

import functools
import gzip
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

_PACKED = {".gif", ".jpg", ".png", ".webp", ".woff", ".woff2"}
_LINKED = {"stylesheet", "preload"}


class _Files(HTMLParser):
    """Collects what a browser fetches without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address that the element loads."""
        values = dict(attrs)
        if tag in ("img", "script"):
            self.found.add(values.get("src") or "")
        elif tag == "link" and _LINKED & set((values.get("rel") or "").split()):
            self.found.add(values.get("href") or "")


def weigh(page: Path) -> tuple[int, int]:
    """Bytes over the wire of a first visit, and how many files come from other hosts.

    Text counts as gzip makes it. Files of other hosts are not counted, since they are not there;
    nor are fonts that only a style sheet names.
    """
    files = _Files()
    files.feed(page.read_text("utf-8"))
    size, elsewhere = _compressed(page), 0
    paths = set()
    for address in files.found:
        parts = urlsplit(address)
        if parts.netloc:
            elsewhere += 1
        elif parts.path:
            paths.add((page.parent / parts.path).resolve())
    return size + sum(_compressed(path) for path in paths), elsewhere


@functools.cache
def _compressed(path: Path) -> int:
    content = path.read_bytes()
    return len(content) if path.suffix in _PACKED else len(gzip.compress(content))
