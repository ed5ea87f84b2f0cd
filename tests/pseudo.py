"""A language that a program writes: English with accents, so that what stays plain is seen.

    python tests/pseudo.py MESSAGES LOCALE

makes catalogues of translations in LOCALE from the message files in MESSAGES.
"""

import re
import sys
from pathlib import Path

import sphinx
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

# One for which Sphinx has no translations, and every tool has rules: those of Great Britain.
LANGUAGE = "en_GB"
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ACCENTED = "ÁƁĆĎÉƑǦĤÍĴĶŁḾŃÓṔɊŔŚŤÚṼŴẊÝŹáƀćďéƒǧĥíĵķłḿńóṕɋŕśťúṽŵẋýź"
_ACCENTS = str.maketrans(_PLAIN, _ACCENTED)
# What a translator leaves as it is.
KEPT = re.compile(
    r"""
    \{[\w:-]+\}`[^`]*` | :(?:[\w-]+:)+`[^`]*`    # a role, in Markdown and in a docstring
    | (?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)  # code
    | \$\$.+?\$\$ | \$[^$]+\$                     # mathematics
    | \]\([^)]*\) | \]\[[^]]*\] | \[\^[^]]+\]     # the targets of links and footnotes
    | <[^>]+> | &\#?\w+;                                  # HTML
    | \{[^}]*\} | %\(\w+\)\w | %\w                        # places for values
    | https?://\S+
    """,
    re.VERBOSE | re.DOTALL,
)
_TITLED = re.compile(r"(\{[\w:-]+\}`)([^`<]*)(<[^`>]*>`)")


def accent(text: str) -> str:
    """Translate a message.

    >>> accent("See [`x.grad`](grad.md#x) and {ref}`the end <end>`: $x$ of {count}")
    '⟦Śéé [`x.grad`](grad.md#x) áńď {ref}`ťĥé éńď <end>`: $x$ óƒ {count}⟧'
    """
    return f"⟦{_accent(text)}⟧"


def _accent(text: str) -> str:
    titled = _TITLED.search(text)
    if titled:
        before, after = text[: titled.start()], text[titled.end() :]
        return _accent(before) + titled[1] + _accent(titled[2]) + titled[3] + _accent(after)
    done, translated = 0, ""
    for kept in KEPT.finditer(text):
        translated += text[done : kept.start()].translate(_ACCENTS) + kept[0]
        done = kept.end()
    return translated + text[done:].translate(_ACCENTS)


def translate(messages: Path, folder: Path) -> int:
    """Write a catalogue of translations for each file of messages.

    Args:
        messages: what Sphinx's gettext builder wrote.
        folder: for ``locale_dirs``.

    Returns:
        how many messages there are.
    """
    count = 0
    own = Path(sphinx.package_dir, "locale", "sphinx.pot")
    for path in sorted(messages.rglob("*.pot")):
        catalogue = _read(path)
        if path.name == "sphinx.pot":  # what Sphinx's own translators translate
            for message in _read(own):
                if message.id:
                    catalogue.add(message.id, flags=message.flags)
        for message in catalogue:
            if not message.id:
                continue
            count += 1
            both = isinstance(message.id, tuple)
            message.string = tuple(map(accent, message.id)) if both else accent(message.id)
        target = folder / LANGUAGE / "LC_MESSAGES" / path.relative_to(messages).with_suffix(".po")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            write_po(file, catalogue)
    return count


def _read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


if __name__ == "__main__":
    print(translate(Path(sys.argv[1]), Path(sys.argv[2])), "messages")
