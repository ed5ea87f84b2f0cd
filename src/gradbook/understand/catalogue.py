"""The catalogue of autograd's messages and silent traps, and how a text is recognised.

The data is in ``catalogue.toml``, beside this module: one entry for each message or trap.
`explain`, the Clinic and the message search of the site are all fed from it.
"""

import json
import math
import re
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

BASE_URL = "https://gradbook.readthedocs.io/en/latest/"


@dataclass(frozen=True)
class Variant:
    """One of several causes of the same message.

    Attributes:
        title: what happened.
        because: why.
        cure: what to do.
        source: key of the program that raises it; empty if there is none.
        when: a regular expression that finds messages with this cause; empty if the message
            does not tell.
        tell: how to tell that it is this one.
        seen: regular expressions; a pasted text in which one is found has this cause.
        unless: regular expressions; a pasted text in which one is found has another cause.
        hints: regular expressions; each that is found in the message or in the program's own lines
            makes this cause likelier.
    """

    title: str
    because: str
    cure: str
    source: str = ""
    when: str = ""
    tell: str = ""
    seen: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Id of its heading on the page of the entry; the same in every language."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Group:
    """Entries that belong together: one file of the Clinic, and a page that lists them.

    Attributes:
        folder: "errors" (warnings too) or "traps".
        id: name of the page.
        title: its heading.
    """

    folder: str
    id: str
    title: str

    @property
    def path(self) -> str:
        """Address of the page below the address of the site."""
        return f"clinic/{self.folder}/{self.id}.html"


@dataclass(frozen=True)
class Entry:
    """One message, or one silent trap.

    Attributes:
        id: stable name; that of the entry's page.
        kind: "error", "warning" or "trap".
        group: `Group.id` of the group that lists it.
        title: what happened; code stands in backquotes.
        type: class names of the exception or warning; empty for a trap.
        patterns: regular expressions, any of which finds the message.
        context: not empty where the words are Python's own; then one of these has to occur in
            a traceback around the message.
        examples: first lines of the message, newest torch first.
        because: why; this holds whenever the message comes.
        possible: causes of which one holds, or another.
        cures: what to do, best first.
        signal: how a program can recognise the situation.
        related: ids of other entries.
        source: keys of the programs that raise the message.
        symptoms: what people type who have seen what happens, and no message.
        top: among the messages that are asked about most.
        variants: several causes of the one message.
    """

    id: str
    kind: str
    group: str
    title: str
    because: tuple[str, ...]
    cures: tuple[str, ...]
    signal: str
    source: tuple[str, ...]
    type: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    symptoms: tuple[str, ...] = ()
    top: bool = False
    variants: tuple[Variant, ...] = ()

    def variant_of(self, message: str) -> Variant | None:
        """The variant that a message tells; None if it does not.

        Args:
            message: the text of the exception, on one line.
        """
        return next(
            (one for one in self.variants if one.when and re.search(one.when, message, re.ASCII)),
            None,
        )

    @property
    def heading(self) -> str:
        """The title with a capital, as it stands on the page."""
        return self.title[0].upper() + self.title[1:]

    @property
    def folder(self) -> str:
        """Folder of its page: errors and warnings together, traps apart."""
        return "traps" if self.kind == "trap" else "errors"

    @property
    def path(self) -> str:
        """Address of its page below the address of the site."""
        return f"clinic/{self.folder}/{self.id}.html"

    @property
    def url(self) -> str:
        """Address of the entry in the Clinic."""
        return BASE_URL + self.path


@dataclass(frozen=True)
class Match:
    """An entry that was found in a text.

    Attributes:
        entry: the entry.
        message: the words that matched, on one line.
        name: class name before the message, without its module; empty if there was none.
    """

    entry: Entry
    message: str
    name: str = ""


@dataclass(frozen=True)
class Catalogue:
    """All entries, in the order of the pages.

    Attributes:
        groups: the pages.
        entries: the entries.
    """

    groups: tuple[Group, ...]
    entries: tuple[Entry, ...]

    def __getitem__(self, id: str) -> Entry:  # noqa: A002 -- the field's name
        for entry in self.entries:
            if entry.id == id:
                return entry
        raise KeyError(f"no entry {id!r} in the catalogue")

    def __repr__(self) -> str:
        kinds = Counter(entry.kind for entry in self.entries)
        return f"Catalogue({', '.join(f'{count} {kind}s' for kind, count in kinds.items())})"


@lru_cache(maxsize=1)
def load() -> Catalogue:
    """Read the catalogue; the second call returns the same object.

    >>> load()
    Catalogue(... errors, ... warnings, ... traps)
    >>> load()["graph-freed"].path
    'clinic/errors/graph-freed.html'
    """
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return Catalogue(
        groups=tuple(Group(**row) for row in data["group"]),
        entries=tuple(
            Entry(
                **{name: _frozen(value) for name, value in row.items() if name != "variants"},
                variants=tuple(
                    Variant(**{name: _frozen(value) for name, value in one.items()})
                    for one in row.get("variants", ())
                ),
            )
            for row in data["entry"]
        ),
    )


def recognise(text: str) -> Entry | None:
    """The entry of a message, of its first line, or of a whole pasted traceback.

    In a traceback the last error that is known counts; a warning only if no error is known.

    Args:
        text: as it was printed; colours, log prefixes and line breaks do no harm.

    >>> recognise("RuntimeError: grad can be implicitly created only for scalar outputs").id
    'non-scalar-backward'
    >>> recognise("something else") is None
    True
    """
    found = find(text)
    return found[0].entry if found else None


def find(text: str) -> tuple[Match, ...]:
    """All entries whose message occurs in `text`, each once, most telling first.

    Errors come before warnings, later ones before earlier ones.

    >>> [match.entry.id for match in find("UserWarning: volatile was removed")]
    ['volatile-removed']
    """
    text = without_colours(text)
    lines = _BREAK.split(text)
    heads = _heads(lines)
    surroundings = text if _TRACEBACK.search(text) else None

    found: dict[str, Match] = {}
    errors = [head for head in heads if not head[0].endswith("Warning")]
    warned = [head for head in heads if head[0].endswith("Warning")]
    for name, message in (*_distinct(errors), *_distinct(warned)):
        entry = match_message(message, name=name, surroundings=surroundings)
        if entry is not None:
            found.setdefault(entry.id, Match(entry, message, name))
    if heads:  # a line with a class name has had its chance
        surroundings = text
    if not found:
        for message in _bare(text, lines):
            entry = match_message(message, surroundings=surroundings)
            if entry is not None:
                found.setdefault(entry.id, Match(entry, message))
    if not found:
        for match in _anywhere(" ".join(text.split()), surroundings):
            found.setdefault(match.entry.id, match)
    return tuple(found.values())


def match_message(message: str, *, name: str = "", surroundings: str | None = None) -> Entry | None:
    """The entry of one message.

    Args:
        message: the text of the exception or warning, without its class name.
        name: the name of its class, if known.
        surroundings: the traceback in which it stood, if there was one. Messages in Python's
            own words are believed only if the traceback speaks of gradients too.

    >>> match_message("can't optimize a non-leaf Tensor").id
    'optimizer-non-leaf'
    """
    message = " ".join(message[:_LONGEST_MESSAGE].split())
    for entry, patterns, context in _compiled():
        if any(pattern.search(message) for pattern in patterns) and _believed(
            entry, context, name, surroundings
        ):
            return entry
    return None


def without_colours(text: str) -> str:
    r"""The end of a text, as long as it is looked at, without the codes of a terminal.

    >>> without_colours("\x1b[0;31mRuntimeError\x1b[0m: no")
    'RuntimeError: no'
    """
    return _COLOUR.sub("", text[-_LONGEST_TEXT:])


def nearest(text: str, n: int = 3) -> tuple[Entry, ...]:
    """Entries that share most words with `text`, rare words counting more; best first.

    For the honest answer to a text that is not recognised. May be empty.

    Args:
        text: any text.
        n: how many at most.

    Raises:
        ValueError: `n` is less than 1.

    >>> [entry.id for entry in nearest("the new layer is not in the optimizer", n=1)]
    ['optimizer-before-new-layer']
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}: it is the number of entries to return")
    heads = _heads(_BREAK.split(without_colours(text)))
    said = heads[-1][1] if heads else text[-_LONGEST_MESSAGE:]
    words = set(_words(said))
    pieces = _pieces(said)
    bags, weights = _bags()
    scored = [
        (
            sum(weights[word] for word in words & bag) / len(bag) ** 0.25
            + _FOR_A_SYMPTOM * _like_a_symptom(entry, words, weights)
            + _FOR_A_WORDING * _like_a_wording(wordings, pieces),
            -position,
            entry,
        )
        for position, ((entry, bag), wordings) in enumerate(zip(bags, _wordings(), strict=True))
    ]
    best = sorted((score for score in scored if score[0] > 0), key=lambda s: s[:2], reverse=True)
    return tuple(entry for _, _, entry in best[:n])


_FOR_A_SYMPTOM = 24  # more than words of a title that happen to be the same


_FOR_A_WORDING = 200  # more than all words that happen to be the same
_FEWEST_PIECES = 40  # a few words alone look like many messages


def _pieces(text: str) -> frozenset[str]:
    """What stands in a text, three letters at a time: few of them change with a wrong letter."""
    letters = " ".join(_words_of_letters(text))
    return frozenset(letters[start : start + 3] for start in range(len(letters) - 2))


def _words_of_letters(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@lru_cache(maxsize=1)
def _wordings() -> tuple[tuple[frozenset[str], ...], ...]:
    """The pieces of each entry's messages."""
    return tuple(tuple(map(_pieces, entry.examples)) for entry in load().entries)


def _like_a_wording(wordings: tuple[frozenset[str], ...], pieces: frozenset[str]) -> float:
    """How much a text reads like one of the messages: 1 is whole, 0 is three quarters or less.

    A message that was read from a picture has wrong letters in many words, but not in most places.
    """
    if len(pieces) < _FEWEST_PIECES:
        return 0.0
    return max([0.0, *(4 * len(pieces & one) / len(pieces) - 3 for one in wordings)])


def _like_a_symptom(entry: Entry, words: set[str], weights: dict[str, float]) -> float:
    """How much of one of the entry's symptoms `words` has: 1 is all, 0 is half of it or less."""
    shares = [0.0]
    stems = {_stem(word) for word in words}
    for symptom in entry.symptoms:
        wanted = dict.fromkeys(_words(symptom))
        given = sum(weights[word] for word in wanted if _stem(word) in stems)
        shares.append(given / sum(weights[word] for word in wanted))
    return max(0.0, 2 * max(shares) - 1)


def _stem(word: str) -> str:
    """One stem for `change`, `changes` and `changing`."""
    return re.sub(r"(?:ing|ed|es|s|e)$", "", word) if len(word) > 4 else word


def to_json() -> str:
    """The catalogue for the site's message search, as one JSON object.

    ``groups`` and ``entries`` have the fields of `Group` and `Entry`, with the addresses
    relative to the site in ``path``, and the ids of causes in ``anchor``. The patterns mean the
    same to JavaScript's ``RegExp``.

    >>> json.loads(to_json())["entries"][0]["id"]
    'no-graph'
    """
    catalogue = load()
    return json.dumps(
        {
            "groups": [{**asdict(group), "path": group.path} for group in catalogue.groups],
            "entries": [
                {
                    **asdict(entry),
                    "path": entry.path,
                    "variants": [{**asdict(one), "anchor": one.anchor} for one in entry.variants],
                }
                for entry in catalogue.entries
            ],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


# What is looked at: a log can be long, a message is not. The bounds keep every search linear.
_LONGEST_TEXT = 4_000_000
_LONGEST_MESSAGE = 4_000
_LONGEST_SEARCH = 200_000
_MOST_LINES = 30
_MOST_HEADS = 300

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BREAK = re.compile(r"\r\n|\r|\n")
_TRACEBACK = re.compile(r'Traceback \(most recent call last\)|^ *File "|^-+> ?\d+ ', re.MULTILINE)

# `RuntimeError: ...`, also behind a log prefix, `E   ` of pytest, `[rank0]: ` of torchrun, or the
# file and line of a warning.
_HEAD = re.compile(
    r"(?:^|[\s|:>\]])(?:[A-Za-z_]\w*\.)*"
    r"([A-Za-z_]\w*(?:Error|Exception|Warning|Failed)|Exception|Warning): ?(.*)$",
    re.ASCII,
)
_HEAD_WORDS = ("Error:", "Exception:", "Warning:", "Failed:")
_STOP = re.compile(
    r"Traceback \(most recent call last\)|^\W*File \"|^During handling of the above"
    r"|^The above exception was the direct cause"
)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@lru_cache(maxsize=1)
def _compiled() -> tuple[
    tuple[Entry, tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...]], ...
]:
    # re.ASCII: \w and \d are then those of JavaScript.
    return tuple(
        (
            entry,
            tuple(re.compile(pattern, re.ASCII) for pattern in entry.patterns),
            tuple(re.compile(pattern, re.ASCII) for pattern in entry.context),
        )
        for entry in load().entries
        if entry.patterns
    )


def _believed(
    entry: Entry, context: tuple[re.Pattern[str], ...], name: str, surroundings: str | None
) -> bool:
    if not context:
        return True
    if name and name not in entry.type:
        return False
    return surroundings is None or any(
        pattern.search(surroundings[-_LONGEST_SEARCH:]) for pattern in context
    )


def _heads(lines: list[str]) -> list[tuple[str, str]]:
    """Class name and message of every exception and warning line, with the lines that follow."""
    starts: dict[int, re.Match[str]] = {}
    for number, line in enumerate(lines):
        if any(word in line for word in _HEAD_WORDS):
            head = _HEAD.search(line[:_LONGEST_MESSAGE])
            if head is not None:
                starts[number] = head
    heads = []
    for number, head in starts.items():
        message = [head[2]]
        for following in range(number + 1, min(number + _MOST_LINES, len(lines))):
            if following in starts or _STOP.search(lines[following][:_LONGEST_MESSAGE]):
                break
            message.append(lines[following][:_LONGEST_MESSAGE])
        heads.append((head[1], " ".join(" ".join(message)[:_LONGEST_MESSAGE].split())))
    return heads


def _distinct(heads: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(reversed(heads)))[:_MOST_HEADS]


def _bare(text: str, lines: list[str]) -> list[str]:
    """A text without exception lines is itself a message, or each of its lines is."""
    if len(text) > _LONGEST_MESSAGE:
        return []
    return [text, *reversed(lines[-_MOST_LINES:])]


def _anywhere(text: str, surroundings: str | None) -> list[Match]:
    """Messages inside a text, wherever they stand; the last one first."""
    text = text[-_LONGEST_SEARCH:]
    found = []
    for entry, patterns, context in _compiled():
        for pattern in patterns:
            hit = None
            for hit in pattern.finditer(text):  # noqa: B007 -- the last one is meant
                pass
            if hit is not None and _believed(entry, context, "", surroundings):
                found.append((hit.start(), Match(entry, hit[0])))
    return [match for _, match in sorted(found, key=lambda pair: -pair[0])]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z_]{3,}", text.lower())


@lru_cache(maxsize=1)
def _bags() -> tuple[tuple[tuple[Entry, frozenset[str]], ...], dict[str, float]]:
    """The words of each entry, and how much each word counts."""
    bags = tuple(
        (
            entry,
            frozenset(
                _words(
                    " ".join(
                        (
                            *(entry.id.replace("-", " "), entry.title, entry.signal),
                            *(*entry.examples, *entry.because, *entry.cures, *entry.symptoms),
                            *(variant.title for variant in entry.variants),
                        )
                    )
                )
            ),
        )
        for entry in load().entries
    )
    counts = Counter(word for _, bag in bags for word in bag)
    return bags, {word: math.log(len(bags) / count) for word, count in counts.items()}
