"""Tests of `gradbook.understand.explanation`: how an explanation is shown."""

import re
from dataclasses import FrozenInstanceError, asdict, replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbook import Explanation, explain
from gradbook.understand.catalogue import load

PLAIN = Explanation(
    code="modified-in-place",
    title="a saved tensor was changed",
    because=("ExpBackward0 saved `y`.", "It is changed in line 3."),
    cure="Write `y = y + 1`.\nClone it first.",
    url="https://example.org/clinic.html#modified-in-place",
    subject="y",
    kind="error",
    details={"line": "a.py:3: y += 1", "node": "ExpBackward0"},
)

# What XML can hold: no control characters, no halves of pairs.
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=60)


def parsed(explanation):
    """The HTML as a tree; it is well-formed, or this fails."""
    return ElementTree.fromstring(explanation._repr_html_())


def text_of(element):
    """All the text in an element."""
    return "".join(element.itertext())


def test_the_text_is_short_and_in_order():
    """What, which variable, which line, why, what to do, where to read on."""
    assert str(PLAIN) == repr(PLAIN)
    assert str(PLAIN).splitlines() == [
        "modified-in-place: a saved tensor was changed",
        "  variable: y",
        "  where: a.py:3: y += 1",
        "  because",
        "    - ExpBackward0 saved `y`.",
        "    - It is changed in line 3.",
        "  cure",
        "    - Write `y = y + 1`.",
        "    - Clone it first.",
        "  more: https://example.org/clinic.html#modified-in-place",
    ]


def test_what_is_not_known_leaves_no_empty_line():
    """No variable, no line, no cause, no cure."""
    bare = replace(PLAIN, subject=None, because=(), cure="", details={})
    assert str(bare).splitlines() == [
        "modified-in-place: a saved tensor was changed",
        "  more: https://example.org/clinic.html#modified-in-place",
    ]
    tree = parsed(bare)
    assert tree.findall(".//ul") == []
    assert tree.findall(".//details") == []
    assert tree.findall(".//code") == []


@pytest.mark.parametrize("entry", load().entries, ids=lambda entry: entry.id)
def test_every_entry_fits_a_terminal(entry):
    """At most 20 lines for any message; a trap has none."""
    for text in entry.examples:
        lines = str(explain(text)).splitlines()
        assert len(lines) <= 20
        assert lines[-1] == f"  more: {entry.url}"


def test_html_says_the_same():
    """Title and variable, two lists, the details as a table, and the address."""
    tree = parsed(PLAIN)
    assert text_of(tree.find("p")) == "a saved tensor was changed: y"
    items = [text_of(item) for item in tree.iter("li")]
    assert items == [
        "ExpBackward0 saved y.",
        "It is changed in line 3.",
        "Write y = y + 1.",
        "Clone it first.",
    ]
    (link,) = tree.iter("a")
    assert (link.get("href"), link.text) == (PLAIN.url, PLAIN.code)
    rows = [[text_of(cell) for cell in row] for row in tree.iter("tr")]
    assert rows == [["line", "a.py:3: y += 1"], ["node", "ExpBackward0"]]


def test_html_can_be_read_aloud():
    """Each row has a header cell, and no id can occur twice, since there is none."""
    tree = parsed(PLAIN)
    for row in tree.iter("tr"):
        assert [cell.tag for cell in row] == ["th", "td"]
        assert row[0].get("scope") == "row"
    assert tree.find(".//details/summary").text == "Details"
    assert all(element.get("id") is None for element in tree.iter())


def test_colours_follow_the_theme_around():
    """Those of Sphinx, Jupyter and VS Code, else the browser's; no background of its own."""
    style = parsed(PLAIN).get("style")
    for name in ("--color-foreground-primary", "--jp-content-font-color1", "--vscode-editor"):
        assert name in style
    assert "background" not in style
    text_colour = style.rpartition(";color:")[2]
    assert text_colour.endswith(",inherit)))")
    assert "#" not in text_colour
    assert not re.search(r"color:(?!var)", style)
    colours = [element.get("style", "") for element in parsed(PLAIN)]
    assert not any("color" in one for one in colours)


def test_backquotes_are_code():
    """An odd one stays what it is."""
    tree = parsed(replace(PLAIN, because=("a `b` c `d<e`", "a lone ` mark")))
    first, second = list(tree.iter("li"))[:2]
    assert [code.text for code in first] == ["b", "d<e"]
    assert text_of(first) == "a b c d<e"
    assert (text_of(second), len(second)) == ("a lone ` mark", 0)


def test_html_of_a_page_is_escaped():
    """Names and lines come from the program, and can hold anything."""
    evil = '"><script>alert(1)</script>'
    shown = replace(
        PLAIN,
        **dict.fromkeys(("code", "title", "cure", "url", "subject"), evil),
        because=(evil,),
        details={evil: evil},
    )
    tree = parsed(shown)
    assert list(tree.iter("script")) == []
    assert text_of(tree).count("<script>") == 7
    assert next(tree.iter("a")).get("href") == evil


@given(TEXTS, TEXTS, TEXTS)
def test_any_text_gives_well_formed_html(title, fact, detail):
    """The text is there, without its backquotes where they come in pairs."""
    tree = parsed(replace(PLAIN, title=title, because=(fact,), details={detail: fact}))
    assert text_of(tree.find(".//li")) == (fact if fact.count("`") % 2 else fact.replace("`", ""))
    assert text_of(tree.find(".//th")) == detail
    assert text_of(tree.find(".//td")) == fact


def test_a_notebook_gets_both_forms():
    """It chooses; the arguments with which IPython calls do no harm."""
    assert PLAIN._repr_mimebundle_(include=None, exclude=None) == {
        "text/plain": str(PLAIN),
        "text/html": PLAIN._repr_html_(),
    }


def test_an_explanation_holds_texts_only():
    """It cannot keep a tensor alive, and it cannot be changed."""
    values = [*asdict(PLAIN).values(), *PLAIN.because, *PLAIN.details, *PLAIN.details.values()]
    assert {type(value) for value in values} == {str, tuple, dict}
    with pytest.raises(FrozenInstanceError):
        PLAIN.code = "other"
