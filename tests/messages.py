"""Translations beside the texts of the book: bring the files up to date, and say what is missing.

    python tests/messages.py update MESSAGES FOLDER
    python tests/messages.py report [--fail] MESSAGES FOLDER

MESSAGES has what Sphinx's gettext builder wrote; FOLDER has the translations of one language, a
file for each page. `nox -s messages` and `nox -s translation` run it.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import sphinx
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, unescape, write_po

LANGUAGE = "zh_TW"
MOST_DAYS = 30  # a page may show the old translation of a sentence that changed for so long
# Nothing in it says when or by whom: a change of one message is a difference of one message.
HEADER = """\
msgid ""
msgstr ""
"Language: zh_TW\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SINCE = re.compile(r"behind since (\d{4}-\d{2}-\d{2})")


def read(path: Path) -> Catalog:
    """The messages of a file; none if it is not there."""
    if not path.exists():
        return Catalog(locale=LANGUAGE)
    with path.open("rb") as file:
        catalogue = read_po(file, locale=LANGUAGE)
    for message in catalogue:  # Babel takes the sentence that was there before for a comment
        lines = [line[2:] for line in message.user_comments if line.startswith("| ")]
        if lines:
            message.previous_id = ["".join(map(unescape, _QUOTED.findall(" ".join(lines))))]
            message.user_comments = [one for one in message.user_comments if one[:2] != "| "]
    return catalogue


def write(catalogue: Catalog, path: Path) -> None:
    """Write a file so that the same messages give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(HEADER.encode())
        form = {"width": 100, "no_location": True, "omit_header": True}
        write_po(file, catalogue, ignore_obsolete=True, include_previous=True, **form)


def renumbered(before: str, now: str, translation: str) -> str | None:
    """The translation of a sentence in which nothing but numbers has changed; None if more has.

    >>> renumbered("3 of 10 pages", "4 of 12 pages", "10 頁中的 3 頁")
    '12 頁中的 4 頁'
    >>> renumbered("3 pages", "3 leaves", "3 頁")
    """
    olds, news = _NUMBER.findall(before), _NUMBER.findall(now)
    if _NUMBER.sub("#", before) != _NUMBER.sub("#", now):
        return None
    for number in _NUMBER.findall(translation):
        if number not in olds:
            return None  # it says the number in another way
    pairs = list(zip(olds, news, strict=True))

    def new(found: re.Match[str]) -> str:
        pair = next((pair for pair in pairs if pair[0] == found[0]), None)
        if pair is None:
            return found[0]
        pairs.remove(pair)
        return pair[1]

    return _NUMBER.sub(new, translation)


def behind_since(message: Message) -> date | None:
    """The day on which the English sentence was found changed; None if it is not."""
    found = _SINCE.search(" ".join(message.user_comments)) if message.fuzzy else None
    return date.fromisoformat(found[1]) if found else None


def update(messages: Path, folder: Path, today: date) -> None:
    """Bring the files in `folder` up to date.

    A new sentence comes without a translation. One that is like a sentence that has gone gets its
    translation, marked as fuzzy and with the day: the page shows the English until somebody
    looks at it and takes the mark away. Where nothing but numbers has changed, as in a sentence
    that the build computes, the translation gets the new ones. What is no longer said is dropped.

    Args:
        messages: folder of the texts of the book.
        folder: of the translations.
        today: for the mark.
    """
    for path in folder.rglob("*.po"):
        if not (messages / path.relative_to(folder)).with_suffix(".pot").exists():
            path.unlink()
    for template in sorted(messages.rglob("*.pot")):
        path = (folder / template.relative_to(messages)).with_suffix(".po")
        catalogue = read(path)
        before = {str(message.id): message.previous_id for message in catalogue}
        catalogue.update(read(template), update_creation_date=False)
        for message in catalogue:
            since = behind_since(message) or today
            comments = [one for one in message.user_comments if not _SINCE.search(one)]
            past = message.previous_id or before.get(str(message.id), [])
            if message.fuzzy and past:
                same = renumbered(str(past[0]), str(message.id), str(message.string))
                if same is not None:
                    message.string = same
                    message.flags.discard("fuzzy")
            if message.id and message.fuzzy:
                comments.append(f"behind since {since}")
                message.previous_id = past
            else:
                message.previous_id = []
            message.user_comments = comments
        write(catalogue, path)


def report(messages: Path, folder: Path, today: date) -> Iterator[tuple[str, str, str]]:
    """What is missing: page, "untranslated", "fuzzy" or "behind", and the message.

    Args:
        messages: folder of the texts of the book.
        folder: of the translations.
        today: from which it is counted how far a sentence is behind.
    """
    # What Sphinx says has translations of its own.
    own = read(Path(sphinx.package_dir, "locale", LANGUAGE, "LC_MESSAGES", "sphinx.po"))
    for template in sorted(messages.rglob("*.pot")):
        name = template.relative_to(messages).with_suffix("")
        translated = read(folder / f"{name}.po")
        for message in read(template):
            if not message.id:
                continue
            found = translated.get(message.id)
            known = own.get(message.id) if str(name) == "sphinx" else None
            text = str(message.id if isinstance(message.id, str) else message.id[0])
            if found is not None and found.fuzzy:
                since = behind_since(found) or date.min
                late = (today - since).days > MOST_DAYS
                yield str(name), "behind" if late else "fuzzy", text
            elif not any(one is not None and one.string for one in (found, known)):
                yield str(name), "untranslated", text


def show(found: list[tuple[str, str, str]]) -> Iterator[str]:
    """Lines that say by page what is missing, and where."""
    for page in dict.fromkeys(page for page, _, _ in found):
        its = [(kind, text) for name, kind, text in found if name == page]
        kinds = [kind for kind, _ in its]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        yield f"{page}: {counts} (docs/locale/{LANGUAGE}/LC_MESSAGES/{page}.po)"
        for kind, text in its:
            short = " ".join(text.split())
            yield f"  {kind}: {short[:90]}{'…' if len(short) > 90 else ''}"


def main() -> int:
    """Do what the command line says; 1 if it is to fail and something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["update", "report"])
    parser.add_argument("--fail", action="store_true", help="where a page lacks a translation")
    parser.add_argument("messages", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    # As a build that gives the same bytes every day would take it.
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    today = date.fromtimestamp(int(epoch)) if epoch else date.today()
    if options.what == "update":
        update(options.messages, options.folder, today)
    found = list(report(options.messages, options.folder, today))
    print("\n".join(show(found)) or "Every message is translated.")
    missing = any(kind != "fuzzy" for _, kind, _ in found)
    if missing and options.what == "report":
        print("To change a translation: nox -s messages, then the file that is named.")
    return int(missing and options.fail)


if __name__ == "__main__":
    sys.exit(main())
