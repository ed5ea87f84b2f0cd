"""Tests of how numbers in the text of pages are changed, and of what notices."""

import random

import pytest
from prose import another, change, change_text, find
from sybil import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.example import SybilFailure
from sybil.parsers.myst import CodeBlockParser

import held
from pages import PAGES

PAGE = r"""---
myst:
  html_meta:
    description: "What 12 is."
---

# Twelve is 12

```{code-cell} python
---
mystnb:
  image:
    alt: >-
      A line that falls
      from 3 to 1.
---
w, rate, few = 12, 0.25, [3, 1]
```

% held: w == 12, w == 12, few == [3, 1]

It is 12, or 25 % of 48, or 1.2e1; a hundred times that is $1{,}200$, and 1,200 it was
in 2019 and in 2019.

% held: w == 12, rate == 0.25, at(4) * w == 48
% held: w == 1.2e1, at(100) * w == 1200, 1200 == at(100) * w, "a year", "a year"

- It is less than 4² or 2⁴, see float32 and `w == 12`.

  % held: w < 4**2, w < 2**4

$$
\frac{w}{4} = 3
$$

% held: w / 4 == 3

| w | 4 |
|---|---|
| 12 | `[3, -1]` |

% held: rate * at(16) == 4, w == 12, few == [3, +1]

:::{admonition} Exercise 1: of 48
Give 12.

% held: w * at(4) == 48, w == 12
:::
"""
COUNT = len(held.read(PAGE).numbers)


def fails(text, folder):
    """Whether a page fails when all of it runs."""
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    cells = CodeBlockParser(language="python", evaluator=PythonEvaluator())
    try:
        for example in Document.parse(str(page), cells, held.parse).examples():
            example.evaluate()
    except SybilFailure:
        return True
    return False


def test_the_page_of_these_tests_passes(tmp_path):
    """Else nothing below would say anything."""
    assert not fails(PAGE, tmp_path)
    assert COUNT == 24


@pytest.mark.parametrize("index", range(COUNT))
def test_nothing_needs_to_run(index, tmp_path):
    """A changed number is noticed if and only if the page fails when it runs."""
    for seed in range(3):
        change = change_text("page.md", PAGE, index, random.Random(seed))
        assert change.text != PAGE
        assert change.noticed == fails(change.text, tmp_path)
        assert change.noticed == (change.reason is None)
        assert change.reason in (None, "a year")


def test_a_change_says_where_it_is():
    """And a page on which a number is held by nothing fails before any change, and after it."""
    change = change_text("page.md", "It is 12.\n", 0, random.Random(0))
    assert change.noticed
    assert str(change).startswith("docs/page.md:1, 12 became ")
    assert str(change).endswith(": It is 12.")


def test_a_number_of_the_catalogue_is_changed_there(tmp_path, monkeypatch):
    """The page shows the text; its held line notices, also when all of it runs."""
    text = (
        "```{code-cell} python\none = 1\n```\n\n"
        ":::{why} non-scalar-backward\n:::\n\n% held: one == 1, 1 == one\n"
    )
    assert not fails(text, tmp_path)
    for index in range(2):
        change = change_text("page.md", text, index, random.Random(0))
        assert change.text == text
        assert change.noticed
        monkeypatch.setattr(held, "catalogue_texts", change.catalogue)
        assert fails(text, tmp_path)
        monkeypatch.undo()


@pytest.mark.parametrize("written", ["0", "6", "12", "0.25", "1,000", "1.5e-3", "2.13.0", "10"])
def test_another_number_is_written_alike(written):
    """One digit differs, and no 0 is put in front."""
    shape = [sign.isdigit() or sign for sign in written]
    for seed in range(50):
        other = another(written, random.Random(seed))
        assert [sign.isdigit() or sign for sign in other] == shape
        assert sum(a != b for a, b in zip(written, other, strict=True)) == 1
        assert not other.startswith("0") or len(other) == 1 or other[1] == "."
        assert other == another(written, random.Random(seed))


def test_code_is_left_alone():
    """The number of the text is changed, not an equal one in code before it."""
    text = "See `x == 6` and 6.\n"
    assert change_text("page.md", text, 0, random.Random(0)).text.startswith("See `x == 6` and ")


def test_all_numbers_of_all_pages_are_found(tmp_path):
    """Not those of a build."""
    for name in ("one.md", "part/two.md", "_build/three.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1 and 2\n", encoding="utf-8")
    found = [("one.md", 0), ("one.md", 1), ("part/two.md", 0), ("part/two.md", 1)]
    assert find(tmp_path) == found


def test_no_changed_number_of_the_book_survives():
    """Fifty at random; `nox -s mutation` changes all of them."""
    chance = random.Random(0)
    numbers = find(held.DOCS)
    changes = [change(held.DOCS, *one, chance) for one in chance.sample(numbers, 50)]
    assert [str(one) for one in changes if one.reason is None and not one.noticed] == []


def test_reasons_are_few():
    """A number that no run holds is an exception: a date or a version."""
    reasons = [
        claim.reason
        for page in PAGES
        for row in held.read(page.read_text("utf-8")).held
        for claim in row.claims
        if claim.reason is not None
    ]
    assert len(reasons) <= 20
    assert set(reasons) <= {"the date of the change", "a version of torch"}
