"""A graph as SVG, drawn without any other program.

Colours are CSS variables: those of Furo, JupyterLab or VS Code where they are set, else our own for
light and dark. There are no ids, so any number of drawings can stand on a page.
"""

import unicodedata
from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from gradbook.display.folding import Item, Sketch, plural, sketch_of
from gradbook.display.layout import Layout, lay_out, room_for
from gradbook.display.text import output_words

if TYPE_CHECKING:
    from gradbook.graph import BackwardGraph

STYLE = """\
.gradbook-graph{
--gb-own-ink:#1b1d20;--gb-own-muted:#54585f;--gb-own-paper:#fff;--gb-own-line:#7a7f87;
--gb-own-leaf:#1f5fd0;--gb-own-root:#b8470b;
--gb-ink:var(--color-foreground-primary,var(--jp-content-font-color1,\
var(--vscode-editor-foreground,var(--gb-own-ink))));
--gb-muted:var(--color-foreground-secondary,var(--jp-content-font-color1,\
var(--vscode-editor-foreground,var(--gb-own-muted))));
--gb-paper:var(--color-background-primary,var(--jp-layout-color1,\
var(--vscode-editor-background,var(--gb-own-paper))));
--gb-line:var(--color-foreground-border,var(--jp-content-font-color2,\
var(--vscode-editor-foreground,var(--gb-own-line))));
--gb-leaf:var(--color-brand-content,var(--jp-brand-color1,\
var(--vscode-textLink-foreground,var(--gb-own-leaf))));
--gb-root:var(--color-problematic,var(--jp-error-color1,\
var(--vscode-errorForeground,var(--gb-own-root))));
--gb-mono:var(--font-stack--monospace,var(--jp-code-font-family,\
ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace));
display:block;margin-inline:auto;max-width:100%;height:auto;font-family:var(--gb-mono)}
@media(prefers-color-scheme:dark){.gradbook-graph{
--gb-own-ink:#e4e6e9;--gb-own-muted:#a9aeb6;--gb-own-paper:#15171a;--gb-own-line:#7d838c;
--gb-own-leaf:#6ba6ff;--gb-own-root:#ff9a62}}
.gradbook-graph:root{background:var(--gb-paper)}
.gradbook-scroll{overflow-x:auto;max-width:100%}
.gradbook-scroll>.gradbook-graph{max-width:none}
.gradbook-graph text{fill:var(--gb-ink);font-size:11px;text-anchor:middle;white-space:pre}
.gradbook-graph .gb-name{font-size:13px;font-weight:600}
.gradbook-graph .gb-shape{font-size:12px}
.gradbook-graph .gb-small{fill:var(--gb-muted)}
.gradbook-graph .gb-code{fill:var(--gb-muted);font-style:italic}
.gradbook-graph .gb-box{fill:var(--gb-paper);stroke:var(--gb-line);stroke-width:1.2}
.gradbook-graph .gb-tint{fill:none;stroke:none}
.gradbook-graph .gb-leaf .gb-box{stroke:var(--gb-leaf);stroke-width:1.6}
.gradbook-graph .gb-leaf .gb-tint{fill:var(--gb-leaf);fill-opacity:.1}
.gradbook-graph .gb-root .gb-box{stroke:var(--gb-root);stroke-width:2.4}
.gradbook-graph .gb-fold .gb-box{stroke-dasharray:5 3}
.gradbook-graph .gb-edge{fill:none;stroke:var(--gb-line);stroke-width:1.5;stroke-linecap:round;\
stroke-linejoin:round}
"""
"""The rules that all drawings of a page share; it may stand there any number of times."""

_SIZES = {"name": 13, "shape": 12, "small": 11, "code": 11}  # font sizes in px, as in STYLE
_ADVANCE = 0.61  # width of a letter of a monospace font, in its size; the widest usual ones
_LEADING = 1.36
_PADDING = 12
_LONGEST = 36  # letters in a line
_MOST_SAVED = 4
_SEPARATE = 3  # parallel edges that are drawn one by one
_WIDE = 480  # px that still can be read when a phone makes it narrower
_SPOKEN = 60  # edges


def to_svg(graph: "BackwardGraph", *, fold: bool | None = None) -> str:
    """A drawing that can stand in a page, or in a file of its own; see `BackwardGraph.to_svg`.

    Args:
        graph: of any size.
        fold: draw runs of nodes as one; by default if there are more than 150 nodes.
    """
    return _svg(sketch_of(graph, fold), len(graph.roots), style=True)


def to_html(graph: "BackwardGraph", *, fold: bool | None = None) -> str:
    """The drawing as part of a page: one that is wider than a phone can be scrolled sideways."""
    svg = to_svg(graph, fold=fold)
    width = int(svg.split('width="', 1)[1].split('"', 1)[0])
    if width <= _WIDE:
        return svg
    label = f"Drawing of a graph with {plural(len(graph), 'node')}"
    return f'<div class="gradbook-scroll" tabindex="0" role="group" aria-label="{label}">{svg}</div>'


def svg_of(sketch: Sketch, *, outputs: int = 1) -> str:
    """The drawing of `sketch` without `STYLE`, for a page that has it already.

    Each box is a ``<g class="gb-node" data-node="...">`` with the id of its (first) node; each
    edge a ``<path class="gb-edge">`` with ``data-src``, ``data-dst`` (ids of nodes as in `Edge`,
    so it is drawn from dst to src), ``data-input`` (`Edge.input_nr`) and ``data-edge`` (its
    position in `BackwardGraph.edges`).

    Args:
        sketch: of any size.
        outputs: how many outputs the graph has.
    """
    return _svg(sketch, outputs, style=False)
