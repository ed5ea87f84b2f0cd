"""Say what a page is to programs that show a link to it: tags, and a card as its picture.

The page's own description is used, so each page says once what it is. Cards are drawn here when the
page is written: no service is asked, and the same page gives the same bytes. Those in Chinese are
drawn with the letters of `publishing.letters`.
"""

import re
from functools import cache
from html import escape, unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from docutils import nodes
from PIL import Image, ImageDraw, ImageFont
from sphinx.application import Sphinx
from sphinx.util import logging

from publishing import letters

_LOGGER = logging.getLogger(__name__)

SIZE = WIDTH, HEIGHT = 1200, 630
_MARGIN, _LARGE, _SMALL = 80, 68, 36
# The height at which the drawing begins.
_DRAWN_FROM = 395
_INK, _GREY, _PAPER, _BLUE, _ORANGE = "#1c1e21", "#5a5f66", "#ffffff", "#2d6cdf", "#e8590c"
_TAG = re.compile(r"<[^>]+>")
_HAN = r"[\u2e80-\uffef]"
# A line may end after a word, and between Chinese characters, but marks stay with theirs.
_WORD = re.compile(rf"[「（『]*(?:{_HAN}|(?:(?!{_HAN})\S)+)[，。：；！？、）」』…]*\s*")


def _add_tags(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    if doctree is None or app.builder.name != "html":
        return
    title = unescape(_TAG.sub("", context["title"]))
    described = (node for node in doctree.findall(nodes.meta) if node.get("name") == "description")
    description = next((node["content"] for node in described), "")
    path = f"_static/cards/{pagename}.png"
    file = Path(app.outdir, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if lacking := _is_chinese(title + description) and letters.missing(title + description):
        _LOGGER.warning(
            "the card of this page lacks letters: %s; run nox -s letters",
            lacking,
            location=pagename,
        )
    draw_card(title, description, app.config.project).save(file)
    base = app.config.html_baseurl
    tags = {
        "og:type": "website" if pagename == app.config.root_doc else "article",
        "og:site_name": app.config.project,
        "og:title": title,
        "og:description": description,
        "og:url": urljoin(base, app.builder.get_target_uri(pagename)) if base else None,
        "og:image": urljoin(base, path) if base else None,
        "og:image:width": str(WIDTH) if base else None,
        "og:image:height": str(HEIGHT) if base else None,
        "og:image:alt": f"{title}: {description}" if base else None,
    }
    lines = [
        f'<meta property="{name}" content="{escape(content)}" />'
        for name, content in tags.items()
        if content
    ]
    lines.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] += "\n".join([*lines, ""])


def draw_card(title: str, description: str, site: str) -> Image.Image:
    """The card of a page: 1200 by 630 points, few colours.

    Args:
        title: of the page; long ones are cut after two lines.
        description: cut after three lines, or before it meets the drawing.
        site: the name that stands below.
    """
    card = _background().copy()
    draw = ImageDraw.Draw(card)
    make = _chinese_font if _is_chinese(title + description) else _font
    head, body, foot = make(_LARGE, "Bold"), make(_SMALL, "Regular"), make(_SMALL, "Bold")
    top = _MARGIN
    for line in _wrap(draw, title, head, 2):
        draw.text((_MARGIN, top), line, _INK, head)
        top += round(_LARGE * 1.25)
    top += _SMALL // 2
    height = round(_SMALL * 1.4)
    for line in _wrap(draw, description, body, min(3, (_DRAWN_FROM - top) // height)):
        draw.text((_MARGIN, top), line, _GREY, body)
        top += height
    draw.text((_MARGIN, HEIGHT - _MARGIN - _SMALL), site, _BLUE, foot)
    return card.quantize(32, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


@cache
def _background() -> Image.Image:
    """The valley of the logo, and the slope down into it; drawn large, so that edges are smooth."""
    fine = 3
    card = Image.new("RGB", (fine * WIDTH, fine * HEIGHT), _PAPER)
    draw = ImageDraw.Draw(card)
    left, bottom, width, height = fine * 820, fine * (HEIGHT - 60), fine * 300, fine * 170

    def point(x: float, y: float) -> tuple[float, float]:
        return left + width * (x + 1) / 2, bottom - height * y

    valley = [step / 50 - 1 for step in range(101)]
    draw.line([point(x, x * x) for x in valley], _BLUE, fine * 10, joint="curve")
    at = -0.62  # where the slope touches
    ends = [point(at + shift, at * at + 2 * at * shift) for shift in (-0.3, 0.3)]
    draw.line(ends, _ORANGE, fine * 12)
    (x, y), radius = point(at, at * at), fine * 18
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), _ORANGE)
    return card.resize(SIZE, Image.Resampling.LANCZOS)


def _wrap(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, most: int
) -> list[str]:
    lines = [""]
    for word in _WORD.findall(text):
        if draw.textlength((lines[-1] + word).rstrip(), font) <= WIDTH - 2 * _MARGIN:
            lines[-1] += word
        else:
            lines.append(word)
    lines = [line.rstrip() for line in lines]
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]


@cache
def _font(size: int, weight: str) -> ImageFont.FreeTypeFont:
    """A font that comes with Matplotlib, which the pages need in any case."""
    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    name = f"DejaVuSans{'-Bold' if weight == 'Bold' else ''}.ttf"
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size)


@cache
def _chinese_font(size: int, weight: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(letters.file(weight), size)


def _is_chinese(text: str) -> bool:
    return re.search(_HAN, text) is not None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", _add_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
