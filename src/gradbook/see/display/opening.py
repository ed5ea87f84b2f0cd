"""A drawing by module as HTML: a click or a key opens a module, down to single operations.

The inside of each module is a drawing of its own. Without a script they stand in a list below the
whole; with it, ``player.js`` puts one in the place of another.
"""

from collections.abc import Sequence
from html import escape

from gradbook.see.display import assets, nested
from gradbook.see.display.folding import Drawn, Sketch, plural
from gradbook.see.display.modules import Tree

_MOST_BOXES = 600  # in all drawings of insides: more make a page slow


def to_html(graph: Drawn, norms: nested.Norms | None = None, tail: str = "") -> str:
    """The drawing, the insides of its modules, and the script.

    Args:
        graph: whose modules are known.
        norms: gives each module a bar.
        tail: HTML to stand below it.
    """
    tree = Tree(graph)
    sketch = tree.sketch(graph._depth)
    roots = len(graph.roots)
    scale = None if norms is None else nested.scale_of(sketch, norms)
    insides = []
    found, left = _insides(tree, sketch)
    for path, inside in found:
        name = escape(path or "the model")
        svg = nested.svg_of(inside, roots, norms, scale)
        insides.append(
            f'<details data-module="{escape(path)}"><summary><code>{name}</code></summary>'
            f'<div class="gradbook-scroll">{svg}</div></details>'
        )
    listed = ""
    if insides:
        what = f"What is inside of {plural(len(insides), 'module')}"
        listed = (
            f'<details class="gb-insides"><summary>{what}</summary>{"".join(insides)}</details>'
        )
    if left:
        more = f"{left:,} more modules do not open here: to_svg(depth=name) draws one."
        listed += f'<p class="gb-small">{more}</p>'
    label = f"Drawing of a graph with {plural(len(graph), 'node')}"
    return (
        '<gradbook-modules class="gradbook-player gradbook-modules">'
        f'<style data-gradbook="style">{assets.style()}</style>'
        f'<div class="gradbook-scroll gb-whole-view" tabindex="0" role="group" '
        f'aria-label="{label}">{nested.svg_of(sketch, roots, norms, scale)}</div>{listed}{tail}'
        f'<script data-gradbook="script">{assets.script()}</script></gradbook-modules>'
    )


def _insides(tree: Tree, sketch: Sketch) -> tuple[list[tuple[str, Sketch]], int]:
    """The insides of the modules that are closed, and of those that are closed in these.

    And how many are left out, as far as they are met.
    """
    found: list[tuple[str, Sketch]] = []
    boxes = 0
    waiting = _closed(sketch)
    seen = {path for path, _ in waiting}
    for path, nodes in waiting:  # grows
        inside = tree.inside(path, nodes)
        boxes += len(inside.items)
        if boxes > _MOST_BOXES:
            break
        found.append((path, inside))
        for one in _closed(inside):
            if one[0] not in seen:
                seen.add(one[0])
                waiting.append(one)
    return found, len(waiting) - len(found)


def _closed(sketch: Sketch) -> list[tuple[str, Sequence[int]]]:
    """The modules that are boxes; of several calls the one that ran first."""
    found: dict[str, Sequence[int]] = {}
    for item in sketch.items:
        if item.module is not None:
            found[item.module] = item.nodes
    return [*found.items()][::-1]
