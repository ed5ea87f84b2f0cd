"""What all players share, and what one of them says: read by the site without torch."""

import re
from functools import cache
from html import escape
from importlib import resources

from gradbook.see.display import drawing


def stays(reason: str) -> str:
    """What a player says that plays the recorded numbers only."""
    return f'<p class="gb-why">The numbers stay as recorded: {escape(reason)}.</p>'


def style() -> str:
    """The rules of the player and of its drawing."""
    return drawing.STYLE + _file("player.css")


def script() -> str:
    """What makes all players of a page play; it may stand there any number of times."""
    # In a block: what they declare is nobody else's.
    return f"{{\n{engine()}\n{_file('player.js')}{_file('modules.js')}}}\n"


def engine() -> str:
    """The part of it that computes."""
    return _file("engine.js")


@cache
def _file(name: str) -> str:
    """A file of this folder, without comments and indentation: it goes into every notebook."""
    text = resources.files("gradbook.see.display").joinpath(name).read_text(encoding="utf-8")
    lines = [line.strip() for line in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines()]
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))
