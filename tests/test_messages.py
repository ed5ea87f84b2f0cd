"""Tests of tests/messages.py: translations that keep up with the English."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import messages
from messages import read, report, show, update

LONG = (
    "The gradient of a sum, which is longer than a line of a file, and is told in one sentence, is "
)
BEFORE, LATER = date(2026, 1, 1), date(2026, 2, 15)


def template(folder: Path, *texts: str) -> Path:
    """What the gettext builder writes for one page."""
    path = folder / "messages" / "learn" / "page.pot"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ['msgid ""', 'msgstr "Content-Type: text/plain; charset=UTF-8\\n"', ""]
    for number, text in enumerate(texts, 1):
        lines += [f"#: ../../learn/page.md:{number}", f'msgid "{text}"', 'msgstr ""', ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return folder / "messages"


@pytest.fixture
def page(tmp_path):
    """A translated page: folder of its translations, and the file."""
    folder = tmp_path / "translations"
    path = folder / "learn" / "page.po"
    update(template(tmp_path, LONG + "one.", "A word"), folder, BEFORE)
    head, _, rest = path.read_text("utf-8").partition("\n\n")
    for chinese in ("和的梯度是一。", "一個詞"):
        rest = rest.replace('msgstr ""', f'msgstr "{chinese}"', 1)
    path.write_text(f"{head}\n\n{rest}", encoding="utf-8")
    return folder, path


def test_a_file_has_no_lines_and_no_dates(page, tmp_path):
    """So a paragraph that moves, or a new day, changes nothing in it."""
    folder, path = page
    before = path.read_text("utf-8")
    assert "page.md" not in before
    assert "2026" not in before
    moved = template(tmp_path, LONG + "one.", "A word")
    update(moved, folder, LATER)
    assert path.read_text("utf-8") == before
    assert list(report(moved, folder, LATER)) == []


def test_a_changed_sentence_keeps_its_translation_with_a_mark(page, tmp_path):
    """Page and file are named; after 30 days it counts as behind. Others stay as they were."""
    folder, path = page
    changed = template(tmp_path, LONG + "two.", "A word")
    update(changed, folder, BEFORE)
    text = path.read_text("utf-8")
    assert '# behind since 2026-01-01\n#, fuzzy\n#| msgid "' in text
    assert read(path)[LONG + "two."].string == "和的梯度是一。"
    update(changed, folder, LATER)  # the day stays
    assert path.read_text("utf-8") == text
    for today, kind in ((BEFORE, "fuzzy"), (date(2026, 1, 31), "fuzzy"), (LATER, "behind")):
        found = list(report(changed, folder, today))
        assert found == [("learn/page", kind, LONG + "two.")]
    assert list(show(found)) == [
        "learn/page: 1 behind (docs/locale/zh_TW/LC_MESSAGES/learn/page.po)",
        f"  behind: {LONG[:90]}…",
    ]


def test_the_mark_goes_when_a_translator_has_looked(page, tmp_path):
    """Who takes `fuzzy` away need not care for the day."""
    folder, path = page
    changed = template(tmp_path, LONG + "two.", "A word")
    update(changed, folder, BEFORE)
    text = path.read_text("utf-8").replace("#, fuzzy\n", "").replace("梯度是一", "梯度是二")
    path.write_text(text, encoding="utf-8")
    assert list(report(changed, folder, LATER)) == []
    update(changed, folder, LATER)
    assert "behind" not in path.read_text("utf-8")
    assert "#|" not in path.read_text("utf-8")


def test_a_new_sentence_and_a_new_page_are_missing(page, tmp_path):
    """Before the files are brought up to date, too; what is no longer said is dropped."""
    folder, path = page
    new = template(tmp_path, "Nothing like what was here before", "A word")
    expected = [("learn/page", "untranslated", "Nothing like what was here before")]
    assert list(report(new, folder, BEFORE)) == expected
    update(new, folder, BEFORE)
    assert list(report(new, folder, BEFORE)) == expected
    assert "sum" not in path.read_text("utf-8")
    (new / "learn" / "page.pot").rename(new / "learn" / "other.pot")
    assert len(list(report(new, folder, BEFORE))) == 2
    update(new, folder, BEFORE)
    assert not path.exists()


def test_what_sphinx_says_is_translated_by_sphinx(tmp_path):
    """It needs no message of ours."""
    folder = template(tmp_path, "Search")
    (folder / "learn" / "page.pot").rename(folder / "sphinx.pot")
    assert list(report(folder, tmp_path / "none", BEFORE)) == []


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--fail",), 1)])
def test_the_program_fails_where_it_is_told_to(tmp_path, options, code):
    """As in CI; it says what to do."""
    folder = template(tmp_path, "A word")
    done = subprocess.run(
        [
            sys.executable,
            messages.__file__,
            "report",
            *options,
            str(folder),
            str(tmp_path / "none"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert "  untranslated: A word\n" in done.stdout
    assert "nox -s messages" in done.stdout


def test_numbers_that_change_are_taken_over(page, tmp_path):
    """What a build computes differs from build to build; nobody has to look at the sentence."""
    folder, path = page
    update(template(tmp_path, "It has 287 entries: 173 and 84."), folder, BEFORE)
    head, _, rest = path.read_text("utf-8").rpartition('msgstr ""')
    path.write_text(f'{head}msgstr "有 287 個條目：173 與 84。"{rest}', encoding="utf-8")
    changed = template(tmp_path, "It has 300 entries: 180 and 84.")
    update(changed, folder, LATER)
    assert 'msgstr "有 300 個條目：180 與 84。"' in path.read_text("utf-8")
    assert list(report(changed, folder, LATER)) == []
