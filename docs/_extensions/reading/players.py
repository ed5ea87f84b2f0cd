"""Load the player's style and script once a page, from a file of the site; prove what it computes.

In a notebook each player carries both, so that its output works alone. A page of the site may have
several players: they share one file, and pages without a player load nothing. A player whose script
does not compute what torch computes (see `reading.proof`) keeps its recorded numbers.
"""

import json
import re
from html import unescape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from execution.kept import file_for, kept, text_of
from gradbook.see.display import assets

_LOGGER = logging.getLogger(__name__)

_CARRIED = re.compile(r'<(style|script) data-gradbook="(?:style|script)">.*?</\1>', flags=re.DOTALL)
_PROGRAM = re.compile(r" data-program='([^']*)'")
_SHOWN = re.compile(r'<data value="([vged][\d.]+)">([^<]*)</data>')
_NUMBER = re.compile(r"-?(?:\d[\d.]*(?:e[-+]?\d+)?|inf|nan)")
# What a proof depends on beside the player, and what all its numbers depend on.
_OURS = [Path(__file__).with_name(name) for name in ("players.py", "proof.py")]
_STYLE, _SCRIPT = "gradbook-player.css", "gradbook-player.js"


def strip(html: str) -> str:
    """Take the style and the script out of a player's HTML.

    >>> strip('<b><style data-gradbook="style">b{}</style>x</b>')
    '<b>x</b>'
    """
    return _CARRIED.sub("", html)


def prove(html: str) -> str:
    """Take a program away whose script differs from torch, and say so.

    Args:
        html: a player.
    """
    found = _PROGRAM.search(html)
    if found is None:
        return html
    from reading import proof  # with torch: only where a page with a player is read anew

    shown = {
        name: [float(one) for one in _NUMBER.findall(unescape(text))]
        for name, text in _SHOWN.findall(html)
        if "‖" not in text
    }
    difference = proof.differs(json.loads(unescape(found[1])), shown)
    if difference is None:
        return html
    _LOGGER.info("a player stays as recorded: %s", difference)
    why = assets.stays("here it computes other numbers than torch")
    return _PROGRAM.sub("", html).replace(
        '<details class="gb-steps">', f'{why}<details class="gb-steps">', 1
    )


def _take_out(app: Sphinx, doctree: nodes.document) -> None:
    raws = [raw for raw in doctree.findall(nodes.raw) if 'data-gradbook="' in raw.astext()]
    if not raws:
        return
    app.env.metadata[app.env.docname]["player"] = True
    texts = [strip(raw.astext()) for raw in raws]
    store = file_for(app, f"players/{app.env.docname}")
    proved = kept(store, [*texts, text_of(*_OURS)], lambda: [*map(prove, texts)])
    for raw, text in zip(raws, proved, strict=True):
        raw.children = [nodes.Text(text)]
        raw.rawsource = ""


def _load(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, object], doctree: object
) -> None:
    if app.env.metadata.get(pagename, {}).get("player"):
        app.add_css_file(_STYLE)
        app.add_js_file(_SCRIPT, loading_method="defer")


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    (static / _STYLE).write_text(assets.style(), encoding="utf-8")
    (static / _SCRIPT).write_text(assets.script(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("execution.kept")
    app.connect("doctree-read", _take_out)
    app.connect("html-page-context", _load)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
