"""Make styles and scripts small, once the site is finished.

What only their authors read goes: comments, indentation, and the rules of MyST-NB for the 256
colours of a terminal, which no output of the book has (a test of the site watches that). Together
it is a tenth of what a first visit brings. Nothing is renamed and nothing is rewritten.
"""

import re
from pathlib import Path

import rcssmin
import rjsmin
from sphinx.application import Sphinx

# They hold texts and are written without spaces.
_DATA = "search/places.js", "clinic-catalogue.js", "snippets/"
_TERMINAL = re.compile(r"div\.highlight \.-Color[^{}]*\{[^{}]*\}\s*")
_AFTER_ALL_WRITERS = 850  # and before the archives


def style(css: str) -> str:
    """A style sheet that does the same.

    >>> style("/* A box */ div :is(p, ul) { margin: 0 calc(1px + 2px); }")
    'div :is(p,ul){margin:0 calc(1px + 2px)}'
    """
    return str(rcssmin.cssmin(_TERMINAL.sub("", css), keep_bang_comments=True))


def script(js: str) -> str:
    """A script that does the same.

    >>> script("const twice = (x) => 2 * x; // as it says")
    'const twice=(x)=>2*x;'
    """
    return str(rjsmin.jsmin(js, keep_bang_comments=True))


def _make_way(app: Sphinx) -> None:
    """MyST-NB puts its styles where none lie, and warns where others do."""
    for path in Path(app.outdir, "_static").glob("mystnb.*.css"):
        path.unlink()


def _shorten_all(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    for path in sorted(static.rglob("*.[cj]s*")):
        shorten = {".css": style, ".js": script}.get(path.suffix)
        if shorten is None or path.relative_to(static).as_posix().startswith(_DATA):
            continue
        text = path.read_text("utf-8")
        short = shorten(text)
        if short != text:  # an archive of the site looks at the times of its files
            path.write_text(short, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _make_way)
    app.connect("build-finished", _shorten_all, priority=_AFTER_ALL_WRITERS)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
