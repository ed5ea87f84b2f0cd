"""Write mathematics as MathML when the site is built.

Browsers draw it and screen readers read it without a script; Temml, run by QuickJS, turns TeX into
it. What TeX cannot parse is a warning at its page and line.

``temml/temml.min.js`` is the file of Temml 0.13.5 on npm, unchanged: a newer one takes its place
whole.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import quickjs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

_LOGGER = logging.getLogger(__name__)
_SCRIPT = Path(__file__).parent / "temml" / "temml.min.js"
_CALL = """(tex, display) => temml.renderToString(tex, {
  displayMode: display, throwOnError: true, trust: ({command}) => command === "\\\\class",
})"""
# The derivative of a loss or an output; it has the colour that a gradient has in all pictures.
_GRADIENT = re.compile(
    r"\\frac\{(?:d|\\partial) ?(?:\\,)?(?:J|L|\\mathrm\{(?:out|loss)\})\}"
    r"\{(?:d|\\partial) ?(?:[^{}]|\{[^{}]*\})+\}"
)


@cache
def _engine() -> Any:
    context = quickjs.Context()
    context.eval(_SCRIPT.read_text(encoding="utf-8"))
    return context.eval(_CALL)


def to_mathml(tex: str, *, display: bool = False) -> str:
    r"""MathML of a formula.

    Args:
        tex: the formula, without dollars.
        display: as a block of its own, with limits above and below.

    Raises:
        ValueError: `tex` is not well formed; the message says where.

    >>> to_mathml("w")
    '<math><mi>w</mi></math>'
    """
    try:
        tex = _GRADIENT.sub(lambda found: rf"\class{{gradient}}{{{found[0]}}}", tex)
        return str(_engine()(tex, display))
    except quickjs.JSException as error:
        reason = str(error).splitlines()[0].removeprefix("ParseError:").strip()
        raise ValueError(reason) from None


def _render(translator: HTML5Translator, node: nodes.Element, tex: str, *, display: bool) -> None:
    try:
        translator.body.append(to_mathml(tex, display=display))
    except ValueError as error:
        _LOGGER.warning("this formula is not well formed: %s", error, location=node, type="math")
        translator.body.append(f"<code>{translator.encode(tex)}</code>")


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(translator.starttag(node, "span", "", CLASS="math notranslate"))
    _render(translator, node, node.astext(), display=False)
    translator.body.append("</span>")
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate"))
    if node.get("number"):
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    tex = node.astext()
    if not node.get("no-wrap", node.get("nowrap", False)):
        tex = _aligned(tex)
    _render(translator, node, tex, display=True)
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def _aligned(tex: str) -> str:
    r"""Lay out several formulas (apart by an empty line) or lines (by ``\\``), as Sphinx does."""
    parts = [part.strip() for part in tex.split("\n\n") if part.strip()]
    if len(parts) == 1:
        return rf"\begin{{split}}{parts[0]}\end{{split}}" if r"\\" in tex else parts[0]
    return r"\begin{aligned}" + r"\\".join(parts) + r"\end{aligned}"


def _add_style_and_font(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if context.get("has_maths_elements"):
        app.add_css_file("temml/temml.css")
        font = context["pathto"]("_static/fonts/math.woff2", resource=True)
        context["metatags"] += (
            f'<link rel="preload" href="{font}" as="font" type="font/woff2" crossorigin />\n'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("html-page-context", _add_style_and_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
