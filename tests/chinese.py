"""Is a message translated as the book wants it: the same code and numbers, and Taiwan's terms?

    python tests/chinese.py docs/locale/zh_TW/LC_MESSAGES

prints what is wrong in the files there, and ends with 1 if anything is.
"""

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po
from markdown_it import MarkdownIt

from pseudo import KEPT

TERMS = Path(__file__).parents[1] / "docs" / "locale" / "zh_TW" / "terms.toml"

_CJK = r"\u3400-\u9fff"
_FENCE = "\0"
_TOUCH = re.compile(rf"[{_CJK}][A-Za-z0-9]|[A-Za-z0-9%][{_CJK}]")
_TOUCH_FENCE = re.compile(rf"[{_CJK}](?={_FENCE})|{_FENCE}[{_CJK}]")
# A reference: its target stays, its words are translated.
_REFERENCE = re.compile(
    r"\{(?P<role>term|ref|doc)\}`(?:(?P<title>[^`<]+?)\s*<)?(?P<target>[^`<>]+)>?`"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Chinese has marks of its own, and no space beside them.
_HALF = re.compile(
    rf"[{_CJK}]\s*[,;:!?\"]|[{_CJK}]\(|[{_CJK}]\.(?=\s|$)|\"\s*[{_CJK}]|\([^()]*[{_CJK}][^()]*\)"
)
_SPACED = re.compile(r" [，。；：！？、）」]|[，。；：！？、（「] ")


@cache
def terms() -> dict:
    """The list of terms, the longest first."""
    listed = tomllib.loads(TERMS.read_text("utf-8"))
    listed["term"].sort(key=lambda term: -len(term["en"]))
    return listed


@cache
def _pattern(english: str) -> re.Pattern[str]:
    """Finds a term as a whole word; its plural, and the forms of a verb, too."""
    stem = re.escape(english).replace(r"\ ", r"[\s-]+")
    other = {
        "leaf": "(?:leaf|(?:(?<=the )|(?<=its )|(?<=are )|(?<=of )|(?<=two )|(?<=other ))leaves)",
        "non-leaf": "non-(?:leaf|leaves)",
        "index": "(?:index|indices|indexes)",
        "matrix": "(?:matrix|matrices)",
        "accumulate": "accumulat(?:e|es|ed|ing)",
        "memory": "memory",
    }
    forms = other.get(english, f"{stem}(?:e?s|d|ed|ing)?")
    # A name has a capital wherever it stands.
    flags = 0 if english[0].isupper() or "J" in english else re.IGNORECASE
    return re.compile(rf"(?<![\w.-]){forms}(?![\w(-])", flags)


def bare(text: str, instead: str = _FENCE) -> str:
    """A message without its code, formulas, places, targets and tags."""
    return KEPT.sub(instead, _titles(text))


def _titles(text: str) -> str:
    """A message whose references are the words that a reader sees."""
    return _REFERENCE.sub(
        lambda to: to["title"] or (to["target"] if to["role"] == "term" else _FENCE), text
    )


def faults(english: str, chinese: str, *, but: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with a translation; terms in `but` mean something else here.

    >>> list(faults("The gradient of `x` is 6.", "`x` 的梯度是 6。"))
    []
    >>> for fault in faults("The gradient of `x` is 6.", "`y`的斜率是 7."):
    ...     print(fault)
    code differs: without ['`x`'], with ['`y`']
    numbers differ: without ['6'], with ['7']
    'gradient' is not said as 梯度
    no space beside code: '`y`的斜率是 7.'
    """
    yield from _differences(english, chinese)
    plain, said = bare(english), bare(chinese)
    left = plain
    for term in terms()["term"]:
        if term["en"] in but or not _pattern(term["en"]).search(left):
            continue
        left = _pattern(term["en"]).sub(_FENCE, left)
        if not any(word in said for word in (term["zh"], *term.get("also", ()))):
            yield f"{term['en']!r} is not said as {term['zh']}"
    for name in terms()["keep"]:
        whole = rf"(?a)(?<![\w.-]){re.escape(name)}(?![\w-])"
        if name not in but and re.search(whole, plain) and not re.search(whole, said):
            yield f"{name!r} is not kept"
    yield from _signs(chinese, said)


def _differences(english: str, chinese: str) -> Iterator[str]:
    """What a translation has to leave as it is: code, places for values, numbers, emphasis."""
    for what, found in (("code", _kept), ("numbers", _numbers), ("emphasis", _emphasis)):
        ours, theirs = Counter(found(english)), Counter(found(chinese))
        if ours != theirs:
            without, extra = sorted((ours - theirs).elements()), sorted((theirs - ours).elements())
            yield f"{what} differ{'s' * (what != 'numbers')}: without {without}, with {extra}"


def _signs(chinese: str, said: str) -> Iterator[str]:
    """Words of another place, and signs as they are not set in Taiwan."""
    for wrong, right in terms()["instead"].items():
        if wrong in said:
            yield f"{wrong!r} is not said in Taiwan: {right}"
    if simplified := [sign for sign in said if _is_cjk(sign) and not _in_big5(sign)]:
        yield f"not Traditional Chinese: {''.join(simplified)}"
    if not any(map(_is_cjk, said)):
        return  # a name, or nothing but code
    if found := _TOUCH.search(said):
        yield f"no space between Chinese and Latin: {found[0]!r}"
    fenced = KEPT.sub(_fence, _titles(chinese))
    if found := _TOUCH_FENCE.search(fenced):
        near = fenced[max(0, found.start() - 12) : found.end() + 12]
        yield f"no space beside code: {near.replace(_FENCE, '')!r}"
    if found := _HALF.search(said):
        yield f"half-width mark: {found[0]!r}"
    if found := _SPACED.search(said):
        yield f"a space beside a full-width mark: {found[0]!r}"


def _fence(kept: re.Match[str]) -> str:
    """Mark where code and formulas begin and end; other kept parts may touch Chinese."""
    return kept[0] if kept[0][0] in "<]&%{" else f"{_FENCE}{kept[0]}{_FENCE}"


def _kept(text: str) -> list[str]:
    targets = [f"{{{to['role']}}}<{to['target'].lower()}>" for to in _REFERENCE.finditer(text)]
    return targets + [
        re.sub(r"\s+", " ", found[0]) for found in KEPT.finditer(_REFERENCE.sub("", text))
    ]


def _numbers(text: str) -> list[str]:
    return _NUMBER.findall(bare(text))


def _emphasis(text: str) -> list[str]:
    """The emphasis as Markdown sees it: beside Chinese a mark can stay a mark."""
    tokens = MarkdownIt().parseInline(bare(text, "x"))[0].children or []
    return [token.type for token in tokens if token.type in {"strong_open", "em_open"}]


def _is_cjk(sign: str) -> bool:
    return "\u3400" <= sign <= "\u9fff"


def _in_big5(sign: str) -> bool:
    """Whether Taiwan's own encoding has it, which has Traditional Chinese."""
    try:
        sign.encode("cp950")
    except UnicodeEncodeError:
        return False
    return True


def wrong_in(path: Path) -> Iterator[tuple[str, str]]:
    """Each fault in a file of messages, with its message.

    A comment of the translator, ``# not "pass": reason``, frees a message from a term.
    """
    with path.open("rb") as file:
        for message in read_po(file):
            if not message.id or not message.string or message.fuzzy:
                continue
            but = tuple(re.findall(r'not "([^"]+)":', " ".join(message.user_comments)))
            for fault in faults(str(message.id), str(message.string), but=but):
                yield str(message.id), fault


def main(folder: str) -> int:
    """Print what is wrong in each file below a folder."""
    count = 0
    for path in sorted(Path(folder).rglob("*.po")):
        for english, fault in wrong_in(path):
            count += 1
            print(f"{path}: {english[:60]!r}: {fault}")
    return count > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
