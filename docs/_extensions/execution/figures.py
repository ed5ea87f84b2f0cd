"""Put figures into the page: SVG that follows the theme and has an alternative text.

A page draws with plain matplotlib, as a reader would. The kernels are told to make SVG with
text left as text (`KERNEL_CONFIG`); its black lines and letters become ``currentColor``, its first
two colours those of the site, and the figure stands in the page itself, where these reach it. A
picture of the book (``examples/pictures.py``) comes as panels, which a narrow screen shows below
each other.
"""

import math
import re
from collections.abc import Callable
from html import escape

from nbformat import NotebookNode

# Settings of the kernels that draw.
KERNEL_CONFIG = """\
c.InlineBackend.figure_formats = {"svg"}
c.InlineBackend.print_figure_kwargs = {"bbox_inches": "tight", "metadata": {"Date": None}}
c.InlineBackend.rc = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 96,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.alpha": 0.25,
    "grid.color": "black",
    "legend.framealpha": 0,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "gradbook",
}
"""
_STYLE = re.compile(r"#000000|\bblack\b")
# The first two colours of matplotlib become those of the site: what is computed, and its gradient.
_OWN_COLOURS = {
    "#1f77b4": "var(--color-brand-content)",
    "#ff7f0e": "var(--gradbook-gradient)",
}
_LEAST_TEXT = 11  # CSS pixels, on a phone too
_PIXELS_A_POINT = 4 / 3
_PICTURE = re.compile(r'<svg class="(picture[ \w]*)"')
_PANEL = re.compile(r'<svg class="panel" x="[^"]*" (.*?</svg>)', re.DOTALL)


def theme_figures(notebook: NotebookNode, warn: Callable[[str, int | None], None]) -> None:
    """Put every SVG of `notebook` into the page, in the theme's colours.

    The alternative text is the cell's ``image: {alt: ...}`` under ``mystnb``; a figure without
    one is reported through `warn`.
    """
    starts = notebook.metadata.get("source_map", [])
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            svg = output.get("data", {}).get("image/svg+xml")
            if svg is None:
                continue
            options = cell.metadata.get("mystnb", {})
            alt = options.get("image", {}).get("alt")
            if not alt:
                line = starts[number] if number < len(starts) else None
                warn("this figure needs an alternative text: mystnb: image: alt", line)
            output["data"] = {
                "text/plain": alt or "",
                "text/html": inline_svg(svg, alt or "", prefix=f"fig{number}-"),
            }


def inline_svg(svg: str, alt: str, prefix: str) -> str:
    """Make an SVG document an element of a page.

    Args:
        svg: the document, with text as text.
        alt: what the figure shows, in a sentence.
        prefix: put before every id, so that two figures on a page do not share one.
    """
    picture = _PICTURE.search(svg)
    if picture:
        return _picture(picture[1], _PANEL.findall(svg), alt)
    body = svg[svg.index("<svg") :].strip()
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', body)
    body = re.sub(r'((?:xlink:)?href)="#([^"]+)"', rf'\1="#{prefix}\2"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", body)
    body = _STYLE.sub("currentColor", body)
    for colour, own in _OWN_COLOURS.items():
        body = body.replace(colour, own)
    # Text without a colour of its own is black by the rules of SVG.
    opening = (
        f'<svg class="figure" role="img" aria-label="{escape(alt, quote=True)}" fill="currentColor"'
        f"{_least_width(body)}"
    )
    return body.replace("<svg", opening, 1)


def _least_width(svg: str) -> str:
    """A style that keeps the smallest text readable: a narrow screen scrolls the figure instead."""
    width = re.search(r'<svg\b[^>]*\bwidth="([\d.]+)pt"', svg)
    sizes = {float(size) for size in re.findall(r"\bfont(?:-size)?: (?:\w+ )*?([\d.]+)px", svg)}
    exponents = {size for size in sizes if any(math.isclose(size, 0.7 * one) for one in sizes)}
    if width is None or not sizes:
        return ""
    least = float(width[1]) * min(_LEAST_TEXT / min(sizes - exponents), _PIXELS_A_POINT)
    return f' style="min-width: {math.ceil(least)}px"'


def _picture(kind: str, panels: list[str], alt: str) -> str:
    """The first panel bears the text for all: one picture is told once."""
    told = f'role="img" aria-label="{escape(alt, quote=True)}"'
    others = ['aria-hidden="true"'] * (len(panels) - 1)
    svgs = (
        f'<svg class="figure" {said} {panel}'
        for said, panel in zip([told, *others], panels, strict=True)
    )
    return f'<div class="{kind}">{"".join(svgs)}</div>'
