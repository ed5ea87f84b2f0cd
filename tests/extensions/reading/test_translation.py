"""Tests of reading/translation.py: a tiny site with one of each thing, translated."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import pseudo
from gradbook.understand.catalogue import load
from reading import translation
from sites import DOCS, Site, mark
from translated import Page, broken, read, untranslated

ENTRY = load()["no-graph"]
VARIANT = next(one.source for entry in load().entries for one in entry.variants if one.source)
LESSON = f"""
# A lesson about gradients

```{{toctree}}
:hidden:

other
```

Words with `code`, $x^2$, and three links: [first](other.md#the-first-part),
[second](other.md#the-second-part), [all](other.md).

$$y = 2x$$

:::{{admonition}} Exercise 1: think
:class: exercise

What is the answer?
:::

| head | number |
|---|---|
| word | `1` |

{mark("lesson")}
```{{code-cell}} python
---
tags: [hide-input]
mystnb:
  code_prompt_show: Show how
---
from IPython.display import Markdown, display

display(Markdown("| table | made |\\n|---|---|\\n| by a cell | 3.5 |"))
```

```{{code-cell}} python
---
mystnb:
  image:
    alt: A line that rises & stays.
---
import matplotlib.pyplot as plt

_ = plt.plot([0, 1])
_ = plt.xlabel("time until now")
```

```{{code-cell}} python
import torch
from gradbook import explain, replay

x = torch.ones(3, requires_grad=True)
replay((x * x).sum(), params={{"x": x}})
```

```{{code-cell}} python
found = explain("element 0 of tensors does not require grad and does not have a grad_fn")
assert found.code == "no-graph"
found
```

(no-graph)=
## Of the catalogue

:::{{why}} no-graph
:::
:::{{variant}} {VARIANT}
:::
:::{{clinic-index}} top
:::
"""
RELATED = "\n\n".join(
    f"({entry.id})=\n## Entry {number}"
    for number, entry in enumerate(load().entries)
    if entry.top and entry.id != "no-graph"
)
OTHER = f"""
# Another page

Back to [](lesson.md).

## The first part

## The second part

{RELATED}
"""
SETTINGS = f"""
extensions = ["myst_nb", "sphinx_copybutton", "reading.accessible", "reading.clinic",
              "reading.mathematics", "execution.notebooks", "reading.players",
              "reading.translation"]
html_theme = "furo"
html_static_path = [{str(DOCS / "_static")!r}]
html_js_files = [("gradbook.js", {{"defer": "defer"}})]
templates_path = [{str(DOCS / "_templates")!r}]
"""


@dataclass
class Translated:
    """A site in two languages.

    Attributes:
        english: its pages, by their files.
        pages: the same in the language of `pseudo`.
        messages: what there was to translate: domain and texts.
        folder: of the translated site.
        runs: the marks that cells left.
    """

    english: dict[str, Page]
    pages: dict[str, Page]
    messages: dict[str, list[str]]
    folder: Path
    runs: list[str]


@pytest.fixture(scope="module")
def site(make_site) -> Translated:
    """Build in English, extract, translate, build again; each as `nox -s pseudo` does."""
    tiny: Site = make_site(SETTINGS, lesson=LESSON, other=OTHER)
    with (tiny.folder / "docs" / "index.md").open("a", encoding="utf-8") as index:
        index.write("\n```{toctree}\n:caption: More to read\n\nlesson\n```\n")

    def build(builder: str, folder: str, *options: str) -> Path:
        target = tiny.folder / folder / builder
        command = [*tiny.command("-b", builder, "-d", str(target.parent / "trees"), *options)[:-1]]
        done = subprocess.run(
            [*command, str(target)],
            env=tiny.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return target

    english = build("html", "english")
    messages = build("gettext", "messages")
    pseudo.translate(messages, tiny.folder / "locale")
    language = ("-D", f"language={pseudo.LANGUAGE}", "-D", f"locale_dirs={tiny.folder / 'locale'}")
    folder = build("html", "translated", *language)
    texts = {}
    for path in messages.rglob("*.pot"):
        with path.open("rb") as file:
            texts[path.stem] = [message.id for message in read_po(file) if message.id]
    return Translated(
        {path.name: read(path) for path in english.glob("*.html")},
        {path.name: read(path) for path in folder.glob("*.html")},
        texts,
        folder,
        tiny.runs(),
    )


def test_every_text_is_translated(site):
    """Prose, tables of pages and of cells, figures, players, prompts, navigation, the Clinic."""
    assert set(site.pages) == set(site.english)
    for page in site.pages.values():
        assert untranslated(page) == []


@pytest.mark.parametrize(
    "text",
    [
        "A lesson about gradients",
        "Exercise 1: think",
        "word",
        "by a cell",
        "Show how",
        "A line that rises & stays.",
        "time until now",
        "All steps as a table",
        "repeats g for every element: each counts once in the sum",
        "More to read",
        "Toggle site navigation sidebar",
        "On this page",
        "Because",
    ],
)
def test_one_of_each_thing_is_on_the_page(site, text):
    """Where a thing is missing, the test above says nothing of it."""
    assert text in " ".join(said for _, said in site.english["lesson.html"].said)
    assert pseudo.accent(text) in " ".join(said for _, said in site.pages["lesson.html"].said)


def test_code_is_the_same_and_runs_once(site):
    """Three builds run a cell once; all languages show what it gave."""
    assert site.runs == ["lesson"]
    for name, page in site.pages.items():
        assert page.code == site.english[name].code


def test_links_lead_to_the_same_places(site):
    """Also two links of a paragraph to parts of one page; anchors are those of the English page."""
    for name, page in site.pages.items():
        assert page.links == site.english[name].links
    assert {"other.html#the-first-part", "other.html#the-second-part"} <= set(
        site.pages["lesson.html"].links
    )
    files = {(site.folder / name).resolve(): page for name, page in site.pages.items()}
    assert broken(files, site.folder.resolve()) == []


def test_a_translator_gets_no_code(site):
    """Neither cells, nor what they print, nor numbers, nor formulas; and each text once."""
    lesson = site.messages["lesson"]
    for text in ("`1`", "3.5", "y = 2x", "import torch"):
        assert not any(text in message for message in lesson)
    assert ENTRY.because[0] in site.messages["catalogue"]
    assert not any(ENTRY.because[0] in message for message in lesson)


def test_scripts_know_their_words(site):
    """Each word that a script asks for is in the table that the site gives them."""
    table = (site.folder / "_static" / "texts.js").read_text("utf-8")
    for name in ("gradbook.js", "clinic-search.js"):
        words = translation.words_of(DOCS / "_static" / name)
        assert words
        assert all(f'"{pseudo.accent(word)}"' in table for word in words)
    assert pseudo.accent("step {at} of {count}") in table
    answers = (site.folder / "_static" / "clinic-catalogue.js").read_text("utf-8")
    assert pseudo.accent(ENTRY.cures[0]).replace('"', '\\"') in answers
    button = (site.folder / "_static" / "copybutton.js").read_text("utf-8")
    assert all(f'"{pseudo.accent(text)}"' in button for text in translation.COPY_BUTTON)


@pytest.mark.parametrize("text", translation.FURO)
def test_the_theme_still_says(site, text):
    """Where this fails, the theme says something else, or asks for its translation."""
    said = " ".join(said for page in site.english.values() for _, said in page.said)
    assert text.partition("{")[0] in said


def test_words_are_found_in_python_and_javascript(tmp_path):
    """Also inside of an f-string, and of a template."""
    python, script = tmp_path / "one.py", tmp_path / "two.js"
    python.write_text("""print(f"{_('in Python')}", _(variable), other("no"))""", encoding="utf-8")
    script.write_text('say(`${_("in a script")}`, _(variable), other("no"))', encoding="utf-8")
    assert translation.words_of(python) == ["in Python"]
    assert translation.words_of(script) == ["in a script"]
