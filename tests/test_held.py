"""Each number of a page's text is held by the run."""

import subprocess
from textwrap import dedent

import pytest
from sybil import Document
from sybil.example import SybilFailure

import held
from sites import Site

HEAD = """\
```{code-cell} python
import torch

w, rate = torch.tensor([12.0]), 0.25
```
"""


def numbers(text):
    """Numbers of a text, as they are written."""
    return [number.text for number in held.read(dedent(text)).numbers]


def run(text, tmp_path, head=HEAD):
    """Run a page as pytest does; the message of each example that fails."""
    page = tmp_path / "page.md"
    page.write_text(head + "\n" + dedent(text), encoding="utf-8")
    document = Document.parse(str(page), held.parse)
    document.namespace.update(vars())
    exec(head.split("python\n")[1].split("```")[0], document.namespace)
    messages = []
    for example in document.examples():
        try:
            example.evaluate()
        except SybilFailure as error:
            messages.append(str(error))
    return messages


def test_texts_of_the_catalogue_are_text_of_the_page_that_shows_them():
    """Causes, signs, cures and variants; their numbers stand in the line of the directive."""
    page = held.read(
        "# A\n\n:::{why} non-scalar-backward\n:::\n\n:::{cure} all-targets-ignored\n:::\n"
    )
    assert [(number.text, number.line) for number in page.unheld] == [
        *[("1", 3), ("1", 3)],
        ("1", 6),
    ]
    assert numbers(":::{variant} E311d\n:::\n") == ["1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 6, then 12.", ["6", "12"]),
        ("It is -1.5e-3 or .5, not 1,000.", ["1.5e-3", ".5", "1,000"]),
        ("In torch 2.13, on 2026-11-25: 8x8 pixels.", ["2.13", "2026-11-25", "8", "8"]),
        ("float32, Conv2d, x1, v2.13 and `x.grad[0] == 6`", []),
        ("x₁ is 10⁻⁸, and 3² is more", ["10", "8", "3", "2"]),
        ("`[2, 4]`, `-1.5` and `1e-3`", ["2", "4", "1.5", "1e-3"]),
        ("# 3 ways\n\n## and `4`", ["3", "4"]),
        (r"$x_1 = \frac{4}{3} y_{12}^2 + 10{,}000$", ["4", "3", "2", "10,000"]),
        ("$$\na = 5 \\\\[8pt]\n\\mathrm{float32} + 2y\n$$", ["5", "2"]),
        ("\\begin{align}\na_{i=1} = 3\n\\end{align}", ["1", "3"]),
        ("| a 1 | b |\n|---|---|\n| 2 | 3 |", ["1", "2", "3"]),
        ("[5 of 6](http://a.b/7) and {ref}`8 <x9>`, {ref}`y10`", ["5", "6", "8"]),
        ("1. one\n2. two is 2\n", ["2"]),
        ("- in a list 3\n\n  > and 4", ["3", "4"]),
        ("term 5\n: is 6", ["5", "6"]),
        ("A note[^7] of[^8].\n\n[^7]: It is 9.\n[^8]: no", ["9"]),
        ("![a drawing of 3 boxes](a.png){width=400px}", ["3"]),
        (":::{admonition} Exercise 2: on 3 points\n:class: a4\n\nGive 5.\n:::", ["3", "5"]),
        ("::::{container} a1\n:::{note}\nGive 5.\n:::\n::::", ["5"]),
        ("```{image} a1.png\n:alt: of 8 by 9\n:width: 100\n```", ["8", "9"]),
        ("```python\nx = 5\n```\n\n(label-6)=\n", []),
        ("<a href='7'>of 8</a>\n\n<p>9</p>", ["8", "9"]),
        ("---\na: 1\n---\n# T", []),
        ('---\nmyst:\n  html_meta:\n    description: "The 3 of 4."\n---\n# T', ["3", "4"]),
    ],
)
def test_what_a_number_of_the_text_is(text, found):
    """Prose, formulas, tables, titles and numeric code count; names, addresses and options not."""
    assert numbers(text) == found


def test_the_alternative_text_of_a_figure_counts():
    """It is an option of the cell that draws the figure; the other options are no text."""
    page = held.read(
        dedent("""\
        ```{code-cell} python
        ---
        mystnb:
          image:
            alt: >-
              It falls from 3
              to 1.
            width: 400
        tags: [hide-input]
        ---
        x = 5
        ```
        """)
    )
    assert [(number.text, number.line) for number in page.numbers] == [("3", 5), ("1", 5)]


def test_a_number_knows_its_line_and_its_sentence():
    """Across softbreaks, lists and directives."""
    text = "First.\n\n- It is\n  6. Then 7.\n\n:::{note}\n:class: a\n\nOr\n8.\n:::\n"
    found = [(one.text, one.line, one.sentence) for one in held.read(text).numbers]
    assert found == [("6", 4, "It is 6."), ("7", 4, "Then 7."), ("8", 10, "Or 8.")]


def test_the_description_of_a_page_counts():
    """It is in the front matter, and is held in the first section."""
    text = '---\nmyst:\n  html_meta:\n    description: "The 3."\n---\n# T\n\n% held: x == 3\n'
    page = held.read(text)
    assert [(number.text, number.line) for number in page.numbers] == [("3", 4)]
    assert not page.unheld


def test_a_directive_that_nobody_knows_is_refused():
    """Else its text would not be held, and nobody would notice."""
    with pytest.raises(ValueError, match=r"line 3: say in .* \{unknown\}"):
        held.read("a\n\n:::{unknown}\n:::\n")


@pytest.mark.parametrize(
    "text",
    [
        "It is 12.\n\n% held: w == 12\n",
        "It is 12.\n% held: w == 12\n",
        "It is -12, or 25 %.\n\n% held: w == 12\n% held: rate == 0.25",
        "25 %\n\n% held: rate * at(100) == 25",
        "It is 12.345.\n\n% held: round(w.item() + at(0.34501), 3) == 12.345",
        r"$\frac{4}{3}$ of it is 16" + "\n\n% held: w.item() * 4 / 3 == 16\n",
        "Since 2019 it is 12.\n\n% held: 'a year', w == 12",
        "More than 10, less than 13, not 14.\n\n% held: w > 10, w < 13, w != 14",
        "One of 1.\n\n% held: len(w) == 1",
        "- It is 12.\n\n  % held: w == 12\n- It is 0.25.\n  % held: rate == 0.25\n",
        ":::{admonition} Exercise 1\nIt is 12.\n\n% held: w == 12\n:::\n",
        "| a |\n|---|\n| 12 |\n% held: w == 12\n",
        "It is 12.\n\n```python\nx = 5\n```\n\n% held: w == 12\n",
        "No number.",
    ],
)
def test_a_number_that_is_held(text, tmp_path):
    """By an expression that is true and names it."""
    assert run(text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("It is 13.\n\n% held: w == 12\n", "12 is held by `w == 12`, but the text has 13 (line 7:"),
        (
            "It is 13.\n\n% held: w == 13\n",
            "is not true: w is tensor([12.]); the text has 13 (line",
        ),
        ("So: it is 13.\n\n% held: w == 13\n", "“it is 13.”"),
        ("It is 12.\n", "line 7: no held line holds 12"),
        ("It is 12.\n\n## Title\n\n% held: w == 12\n", "line 7: no held line holds 12"),
        ("It is 12.\n\n## Title\n\n% held: w == 12\n", "which the text above does not have"),
        ("12, 12\n\n% held: w == 12\n", "no held line holds 12"),
        ("12\n\n% held: w == 12, w[0] == 12\n", "`w[0] == 12` holds 0, which the text"),
        ("12\n\n% held: 12 == 12\n", "12, which the text above does not have: it has 12"),
        ("12\n\n% held: abs(12)\n", "names nothing of the page"),
        ("12\n\n% held: at(12) == 12\n", "names nothing of the page"),
        ("12\n\n% held: w == 12 or w == w\n", "stays true with another number in place of 12"),
        ("12\n\n% held: (w > at(0), 12)[at(0)]\n", "stays true with another number"),
        ("12\n\n% held: w < 12 or w > at(1)\n", "stays true with another number"),
        ("12\n\n% held: w * 12\n", "neither true nor false"),
        ("12\n\n% held: (w, 12)\n", "neither true nor false"),
        ("12\n\n% held: torch.ones(at(2)) == 12\n", "neither true nor false"),
        ("12\n\n% held: v == 12 or w\n", "raised NameError"),
        ("12\n\n% held: w ==\n", "no Python expression"),
        ("12\n\n% hold: w == 12\n", "no held line holds 12"),
        ("12\n\n% Held: w == 12\n", "is written: % held: "),
        ("12\n% held: w == 12\nand on\n", "stands after the text, not in it"),
        ("| a |\n|---|\n| 12 |\n% held: w == 12\n| 13 |\n", "stands after the text, not in it"),
        ("12\n\n```python\n% held: w == 12\n```\n", "would be seen by readers"),
        ("12\n\n    % held: w == 12\n", "would be seen by readers"),
        (":::{note}\n12\n:::\n", "line 8: no held line holds 12"),
    ],
)
def test_a_number_that_is_not_held(text, message, tmp_path):
    """The message names page, line, number and sentence, or what was found."""
    messages = run(text, tmp_path)
    assert messages
    assert any(message in one for one in messages), messages
    assert all("page.md" in one for one in messages)


@pytest.mark.parametrize(
    ("source", "literals"),
    [
        ("x == 6", (6,)),
        ("[1, -2.5, 3e2] == x.tolist()", (1, 2.5, 300)),
        ("at(x[0].item()) == 6", (6,)),
        ("round(x, 3) == 2.667", (2.667,)),
        ("[i + 1 for i in x[:5]] == [7] * 8", (1, 5, 7, 8)),
        ("x is True and f('9', \"10\")", ()),
    ],
)
def test_the_numbers_written_in_a_held_line(source, literals):
    """In order; not those in `at`, digits of `round`, strings, True."""
    page = held.read(f"% held: {source}\n")
    assert [claim.literals for one in page.held for claim in one.claims] == [literals]


SECRET = "nobodyreadsthis"
SITE = f"""
# Changes

## 2026-02-03: The first

It is 5.

% held: {SECRET} == 5
% held: {SECRET} > 4

- It is 6.

  % held: {SECRET} == 6
- It is 7.
% held: {SECRET} == 7

:::{{note}}
It is 8.
% held: {SECRET} == 8
:::

| a |
|---|
| 9 |
% held: {SECRET} == 9

```{{code-cell}} python
w = 5
```

% held: {SECRET} == 10

:::{{glossary}}
term
  It is 11.

  % held: {SECRET} == 11

other
  It is 12.
:::
"""


def test_a_reader_never_sees_a_held_line(tmp_path):
    """Not on the page, as text, in the search, in the feed, nor as a message to translate."""
    extensions = ["myst_nb", "execution.notebooks", "reading.translation"]
    extensions += [f"publishing.{name}" for name in ("announcing", "plain_text", "search")]
    settings = f"""
extensions = {extensions}
html_baseurl = "https://example.org/"
"""
    site = Site(tmp_path, settings, leaf="# Leaf\n")
    (tmp_path / "docs" / "about").mkdir()
    site.write("about/changes", SITE)
    index = tmp_path / "docs" / "index.md"
    index.write_text(index.read_text("utf-8").replace("leaf\n", "leaf\nabout/changes\n"), "utf-8")
    messages = tmp_path / "messages" / "gettext"
    done = site.build("--doctree-dir", str(tmp_path / "doctrees"))
    assert done.code == 0, done.log
    command = [*site.command("--builder", "gettext")[:-1], str(messages)]
    subprocess.run(command, env=site.environment(), check=True, capture_output=True)

    texts = {
        path.name: path.read_text("utf-8", errors="replace")
        for folder in (tmp_path / "site" / "html", messages)
        for path in folder.rglob("*")
        if path.is_file() and ".doctrees" not in path.parts
    }
    seen = {name for name, text in texts.items() if "It is 12" in text}
    assert seen >= {"changes.html", "changes.md", "llms-full.txt", "changes.pot"}
    assert "It is 5" in texts["changes.xml"]
    assert "It is 7" in "".join(text for name, text in texts.items() if name.endswith(".js"))
    assert [name for name, text in texts.items() if SECRET in text or "held:" in text] == []
