"""The letters of cards in Chinese: parts of Noto Sans CJK, with the characters that the book uses.

    python docs/_extensions/publishing/letters.py

cuts them anew from the fonts of the system (Debian: ``fonts-noto-cjk``); `nox -s letters` does it.
The parts stand beside this file: a build needs no fonts of its machine, and draws the same
everywhere. They are needed for pictures alone; a page is shown in the fonts of its reader.
"""

import string
import sys
from functools import cache
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

WEIGHTS = ("Regular", "Bold")
_FOLDER = Path(__file__).parent / "letters"
_SYSTEM = Path("/usr/share/fonts/opentype/noto")
_FACE = "Noto Sans CJK TC"


def file(weight: str) -> Path:
    """The font with one of `WEIGHTS`."""
    return _FOLDER / f"NotoSansTC-{weight}.otf"


@cache
def _known(weight: str) -> frozenset[str]:
    return frozenset(map(chr, TTFont(file(weight)).getBestCmap()))


def missing(text: str, weight: str = "Regular") -> str:
    """The characters of a text for which the font has no letter.

    >>> missing("backward() 的梯度"), missing("龘")
    ('', '龘')
    """
    known = _known(weight)
    return "".join(dict.fromkeys(one for one in text if one not in known and one != "\n"))


def used(folder: Path) -> str:
    """Every character of the translations, and those of English.

    Args:
        folder: of the files of translations.
    """
    texts = "".join(path.read_text("utf-8") for path in sorted(folder.rglob("*.po")))
    return "".join(sorted({*texts, *string.printable} - set(string.whitespace) | {" "}))


def cut(text: str, source: Path, target: Path) -> None:
    """Write a font that has the letters of a text.

    Args:
        text: the characters.
        source: a collection of fonts.
        target: the new file; the same text gives the same bytes.
    """
    faces = TTCollection(source, lazy=True).fonts
    font = next(one for one in faces if one["name"].getDebugName(1) == _FACE)
    font.recalcTimestamp = False
    options = subset.Options(layout_features=[], hinting=False, notdef_outline=True)
    cutter = subset.Subsetter(options)
    cutter.populate(text=text)
    cutter.subset(font)
    font.save(target)


def main() -> None:
    """Cut both weights for the translations of the book."""
    translations = Path(__file__).parents[2] / "locale"
    for weight in WEIGHTS:
        source = _SYSTEM / f"NotoSansCJK-{weight}.ttc"
        if not source.exists():
            sys.exit(f"{source} is not there: apt-get install fonts-noto-cjk")
        cut(used(translations), source, file(weight))
        print(f"{file(weight).name}: {file(weight).stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
