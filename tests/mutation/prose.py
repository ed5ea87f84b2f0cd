"""Another number in the text of a page, and whether its held lines notice.

Nothing is run: a change of the text leaves the expressions of held lines as they are, and as true
as they were. So what decides is whether the numbers of the text are still those of the expressions.
A test shows that running the page decides the same.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import held

_POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Change:
    """One number of a page changed.

    Attributes:
        page: its file, from the folder of the pages.
        number: as it was.
        instead: the other number, as it is written.
        text: of the whole page, with the other number.
        catalogue: the texts that the page shows from there, with the other number.
        reason: why no run can notice, if the page gives a reason.
    """

    page: str
    number: held.Number
    instead: str
    text: str
    catalogue: held.Texts
    reason: str | None

    @property
    def noticed(self) -> bool:
        """Whether the check of the page fails."""
        page = held.read(self.text, self.catalogue)
        try:
            for one in page.held:
                held.match(one)
        except held.HeldError:
            return True
        return bool(page.faults or page.unheld)

    def __str__(self) -> str:
        """For a person."""
        where = f"docs/{self.page}:{self.number.line}"
        return f"{where}, {self.number.text} became {self.instead}: {self.number.sentence}"


def find(folder: Path) -> list[tuple[str, int]]:
    """All numbers in the text of all pages: the page, and which of its numbers."""
    pages = sorted(path for path in folder.rglob("*.md") if "_build" not in path.parts)
    return [
        (page.relative_to(folder).as_posix(), number)
        for page in pages
        for number in range(len(held.read(page.read_text("utf-8")).numbers))
    ]


def change(folder: Path, page: str, index: int, chance: random.Random) -> Change:
    """Change one number into another of the same kind.

    Raises:
        ValueError: the number was not found where it was read.
    """
    return change_text(page, (folder / page).read_text("utf-8"), index, chance)


def change_text(page: str, text: str, index: int, chance: random.Random) -> Change:
    """As `change`, in a text."""
    read = held.read(text)
    number = read.numbers[index]
    reason = _reasons(read)[index]
    before = [one.text for one in read.numbers]
    instead = another(number.text, chance)
    for changed, catalogue in _candidates(text, number, instead):
        after = [one.text for one in held.read(changed, catalogue).numbers]
        if after == [*before[:index], instead, *before[index + 1 :]]:
            return Change(page, number, instead, changed, catalogue, reason)
    raise ValueError(f"docs/{page}:{number.line}: {number.text} is not where it was read")


def another(written: str, chance: random.Random) -> str:
    """Another number that is written alike: one digit is another one."""
    digits = [place for place, sign in enumerate(written) if sign.isdigit()]
    while True:
        place = chance.choice(digits)
        digit = chance.choice([one for one in "0123456789" if one != written[place]])
        number = written[:place] + digit + written[place + 1 :]
        if not re.match(r"0[\d,]", number):  # nobody writes 012
            return number


def _candidates(text: str, number: held.Number, instead: str) -> Iterator[tuple[str, held.Texts]]:
    """The page and its catalogue, with the other number in each place where it may stand."""
    directive = re.match(r":+\{(\w+)\} (\S+)", text.splitlines()[number.line - 1])
    if directive and directive[1] in held.FROM_CATALOGUE:
        shown = held.catalogue_texts(directive[1], directive[2])
        for place, one in enumerate(shown):
            for changed in _places(one, 1, number.text, instead):
                texts = (*shown[:place], changed, *shown[place + 1 :])
                yield text, partial(_other, directive.groups(), texts)
    else:
        for changed in _places(text, number.line, number.text, instead):
            yield changed, held.catalogue_texts


def _other(
    where: tuple[str, ...], texts: tuple[str, ...], kind: str, argument: str
) -> tuple[str, ...]:
    """A catalogue in which one directive shows other texts."""
    return texts if (kind, argument) == where else held.catalogue_texts(kind, argument)


def _places(text: str, first: int, written: str, instead: str) -> Iterator[str]:
    """The text with the other number in each place from line `first` on, one at a time.

    The number may stand below its line: a folded text has lines of its own.
    """
    lines = text.splitlines(keepends=True)
    pattern = re.compile(re.escape(written).replace(",", r"(?:,|\{,\}|\\,)"))
    for row in range(first - 1, len(lines)):
        for found in pattern.finditer(lines[row].translate(held.SUPERSCRIPT)):
            start, end = found.span()
            new = _written_as(lines[row][start:end], instead)
            line = lines[row][:start] + new + lines[row][end:]
            yield "".join([*lines[:row], line, *lines[row + 1 :]])


def _written_as(old: str, number: str) -> str:
    """The number with the signs of `old` between its digits, and as powers where those are."""
    digits = iter(sign for sign in number if sign.isdecimal())
    signs = []
    for sign in old:
        digit = next(digits) if sign.isdigit() else sign
        signs.append(digit.translate(_POWERS) if sign.isdigit() and not sign.isdecimal() else digit)
    return "".join(signs)


def _reasons(page: held.Page) -> list[str | None]:
    """For each number of a page, the reason for which no run holds it."""
    reasons = {
        id(number): claim.reason
        for one in page.held
        for number, (claim, _) in zip(one.numbers, one.written, strict=False)
    }
    return [reasons.get(id(number)) for number in page.numbers]
