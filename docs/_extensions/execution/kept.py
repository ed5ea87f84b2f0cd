"""Keep what was found in the cells of a page for later builds, and for the book's other languages.

It takes long to find, and does not depend on the language. A result stands in a file below
`kept_path`, with the digest of all that it depends on; that of another digest takes its place.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def kept(path: Path | None, depends: Iterable[str], find: Callable[[], Any]) -> Any:
    """What `find` gives, which JSON must be able to hold; from a file, if nothing has changed.

    Args:
        path: of the file, which need not be there; None to keep nothing.
        depends: all that the result depends on.
        find: is called where the file has nothing, or what was found of something else.
    """
    if path is None:
        return find()
    digest = hashlib.sha256("\0".join(depends).encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(path.read_text("utf-8"))
        if known["digest"] == digest:
            return known["found"]
    found = find()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"digest": digest, "found": found}, ensure_ascii=False)
    # Whole or not at all: processes write side by side, and a build may be interrupted.
    number, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
    return json.loads(json.dumps(found))


@cache
def text_of(*paths: Path) -> str:
    """The code on which a result depends."""
    return "\0".join(path.read_text("utf-8") for path in paths)


def file_for(app: Sphinx, name: str) -> Path | None:
    """The file for a name such as ``"needs/learn/index"``; None in a site that keeps nothing."""
    folder = app.config.kept_path
    return Path(folder, f"{name}.json") if folder else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("kept_path", "", "")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
