"""What a pasted traceback shows beside its message: frames, and which cause is likeliest.

The message search of the site does the same in JavaScript (``docs/_static/clinic-search.js``);
tests hold the two against each other.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gradbook.understand.catalogue import Entry, Variant

_LONGEST_SEARCH = 200_000
_LONGEST_LINE = 200
_BREAK = re.compile(r"\r\n|\r|\n")
# A frame as Python, also behind torchrun's `[rank0]:`, and as IPython writes it: first the file,
# then a few lines, of which an arrow points at one.
_FRAME = re.compile(r'(?:\[\w+\]:)?[^\w"]*File "([^"]+)", line (\d+), in ', re.ASCII)
_CELL = re.compile(
    r"(?:Cell (In ?\[\d+\])|(?:File )?([~/\w.<>\\:-]{1,300}?)(?::\d+,)? in )", re.ASCII
)
_ARROW = re.compile(r"-{1,6}> ?(\d+) (.*)", re.ASCII)
_RANK = re.compile(r"^\[\w+\]:", re.ASCII)
_LIBRARY = re.compile(r"(?:site|dist)-packages|(?:^|[\\/])lib[\\/]python\d|<frozen ", re.ASCII)


@dataclass(frozen=True)
class Frame:
    """A line of a traceback.

    Attributes:
        file: as it is written there.
        line: its number.
        code: what stands on it; may be empty.
    """

    file: str
    line: int
    code: str

    @property
    def is_own(self) -> bool:
        """Whether it is of the program, not of a library."""
        return _LIBRARY.search(self.file) is None


def frames(text: str) -> tuple[Frame, ...]:
    r"""The frames of a pasted text, the innermost last.

    >>> frames('  File "a.py", line 3, in step\n    loss.backward()\n')
    (Frame(file='a.py', line=3, code='loss.backward()'),)
    """
    lines = _BREAK.split(text[-_LONGEST_SEARCH:])
    found: list[Frame] = []
    cell = ""
    for number, line in enumerate(lines):
        if frame := _FRAME.match(line):
            code = _RANK.sub("", "".join(lines[number + 1 : number + 2]))
            found.append(_frame(frame[1], frame[2], "" if _FRAME.match(code) else code))
        elif header := _CELL.match(line):
            cell = header[1] or header[2]
        elif (arrow := _ARROW.match(line)) and cell:
            found.append(_frame(cell, arrow[1], arrow[2]))
    return tuple(found)


def _frame(file: str, line: str, code: str) -> Frame:
    return Frame(file, int(line[:9]), code.strip()[:_LONGEST_LINE])


def last_line(some: Iterable[Frame]) -> Frame | None:
    """The program's own last line; that of a library if no other is there, None without frames."""
    some = tuple(some)
    own = [frame for frame in some if frame.is_own]
    return (own or some)[-1] if some else None


def cause_of(entry: Entry, message: str, text: str) -> Variant | None:
    """The cause that a message tells, or the text around it; None if neither does.

    Args:
        entry: of the message.
        message: on one line.
        text: in which it stood.
    """
    around = text[-_LONGEST_SEARCH:]
    return entry.variant_of(message) or next(
        (one for one in entry.variants if _any(one.seen, around)), None
    )


def likely(entry: Entry, message: str, text: str) -> tuple[Variant, ...]:
    """The causes that are left, likeliest first.

    Those count whose message is not told apart, and that nothing in the text excludes. What the
    message and the program's own lines hint at comes first.

    Args:
        entry: of the message.
        message: on one line.
        text: in which it stood.
    """
    around = text[-_LONGEST_SEARCH:]
    own = [frame.code for frame in frames(around) if frame.is_own]
    shown = "\n".join([message, *own])
    left = [one for one in entry.variants if not one.when and not _any(one.unless, around)]
    return tuple(sorted(left, key=lambda one: -_count(one.hints, shown)))


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return _count(patterns, text) > 0


def _count(patterns: tuple[str, ...], text: str) -> int:
    return sum(re.search(pattern, text, re.ASCII) is not None for pattern in patterns)
