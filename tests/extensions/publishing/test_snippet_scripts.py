"""Tests of publishing/snippets.py on tiny sites: what is proved is offered, and nothing else."""

import json
import re

import pytest

from publishing.snippets import read_script
from sites import mark

SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "publishing.snippets"]
snippets_path = str(here.parent / "snippets")
"""
PROVE = ("--define", "snippets_prove=1")
GOOD = """
# Good

```{code-cell} python
import math, random
x = 3
y = 4
```

```{code-cell} python
:tags: [remove-cell]
hidden = x
```

```{code-cell} python
print(math.hypot(x, y))
```

```{code-cell} python
---
no-snippet: it needs a reader
---
print("alone")
```

```{code-cell} python
:tags: [remove-input]
x + 2
```

```{code-cell} python
x + 1
```
"""
HIDDEN = """
# Hidden

```{code-cell} python
things = []
```

```{code-cell} python
:tags: [remove-cell]
things.append(1)
```

```{code-cell} python
print(things)
```
"""

CHANGES = """
# Changes

```{code-cell} python
groups = []
log = []


def enter(name):
    groups.append(name)
    return name
```

```{code-cell} python
enter("first")
log.append(1)
```

```{code-cell} python
entered = enter("second")
print(entered)
```

```{code-cell} python
log.append(2)
```
"""


def snippets(site, name: str) -> list:
    """For each cell of a page the text before it, or what stands in its place."""
    found = read_script(site.folder / "site" / "html" / "_static" / "snippets" / f"{name}.js")
    return [
        "".join(found["pieces"][n] for n in cell[1:]) if isinstance(cell, list) else cell
        for cell in found["cells"]
    ]


@pytest.fixture(scope="module")
def good(make_site):
    """A site whose snippets are proved, and the log of its build."""
    site = make_site(SETTINGS, good=GOOD)
    build = site.build(*PROVE, "--define", "snippets_report=1")
    assert build.code == 0, build.log
    return site, build.log


def test_each_cell_that_is_shown_has_what_it_needs(good):
    """Hidden cells never enter; a reason stands for a cell that has none."""
    site, _ = good
    assert snippets(site, "good") == [
        "",
        "import math\nx = 3\ny = 4\n\n",
        "it needs a reader",
        None,  # its code is not on the page
        "x = 3\n\n",
    ]


def test_what_a_cell_does_not_feel_is_left_out(make_site):
    """It says the same without it, and leaves the same in the names that it mentions."""
    site = make_site(SETTINGS, changes=CHANGES)
    build = site.build(*PROVE)
    assert build.code == 0, build.log
    *_, third, last = snippets(site, "changes")
    assert "log" not in third
    assert 'enter("first")' not in third
    assert last == "log = []\n\nlog.append(1)\n\n", (
        "the cell prints nothing, and the list is longer"
    )


def test_a_cell_on_the_page_has_the_number_of_its_snippet(good):
    """So it is found wherever the cell stands, also when others stand above it."""
    site, _ = good
    cells = re.findall(r'<div class="cell ([^"]*)', site.html("good"))
    assert [re.search(r"\bcell-\d+", names)[0] for names in cells] == [
        f"cell-{number}" for number in range(5)
    ]


def test_a_script_says_what_to_install_and_what_ran(good):
    """Of each cell."""
    site, _ = good
    found = read_script(site.folder / "site" / "html" / "_static" / "snippets" / "good.js")
    assert found["installs"] == [["", ""]]
    assert set(found["ran"]) == {"Python", "torch"}
    assert found["missing"] == 0


def test_a_page_names_its_script_and_loads_what_copies(good):
    """A page without cells loads nothing."""
    site, _ = good
    html = site.html("good")
    assert '<meta name="gradbook-snippets" content="_static/snippets/good.js" />' in html
    assert "copying/copying.js" in html
    assert "copying" not in site.html("index")


def test_the_report_counts(good):
    """How many are proved, how long they are, and which cells have none."""
    site, log = good
    line = site.line("good", 'print("alone")') - 4
    assert "3 snippets are proved, 0 are broken or not proved, 1 cells say why" in log
    assert "median" in log
    assert f"no snippet: good.md:{line}: it needs a reader" in log


def test_a_build_that_does_not_prove_offers_nothing_new(make_site):
    """And one that proves goes on from there: without reading the page again."""
    site = make_site(SETTINGS, good=GOOD)
    assert site.build().code == 0
    assert snippets(site, "good") == [None, None, "it needs a reader", None, None]
    assert site.build(*PROVE).code == 0
    assert snippets(site, "good")[1].startswith("import math")


def test_a_build_that_does_not_prove_takes_what_another_has_proved(make_site):
    """Also where it has read the page before, and nothing of the page is new."""
    site = make_site(SETTINGS, good=GOOD)
    assert site.build(*PROVE).code == 0
    (kept,) = (site.folder / "snippets").rglob("good.json")
    proved = kept.read_text("utf-8")
    kept.unlink()
    build = site.build()
    assert "3 cells have no snippet yet" in build.log
    assert snippets(site, "good")[4] is None
    kept.write_text(proved, encoding="utf-8")
    assert site.build().code == 0
    assert snippets(site, "good")[4] == "x = 3\n\n"


def test_what_is_proved_is_not_run_again(make_site):
    """Until the cell, or one above it, is another one."""
    page = f"# Page\n\n{mark('one')}\n{mark('two')}"
    site = make_site(SETTINGS, page=page)
    assert site.build(*PROVE).code == 0
    ran = [
        "one",
        "two",
        "one",
        "one",
        "two",
    ]  # the page, the first alone, the second with the first
    assert site.runs() == sorted(ran)
    site.write("page", page.replace("# Page", "# Another title"))
    assert site.build(*PROVE).code == 0
    assert site.runs() == sorted(ran)
    site.write("page", page.replace("'two'", "'three'"))
    assert site.build(*PROVE).code == 0
    assert site.runs() == sorted([*ran, "one", "three", "one", "three"])


def test_a_cell_that_says_something_else_alone_is_a_fault(make_site):
    """With page, line and difference; it has no snippet, and the build fails each time."""
    site = make_site(SETTINGS, hidden=HIDDEN)
    line = site.line("hidden", "print(things)") - 1
    for _ in range(2):
        build = site.build(*PROVE)
        assert build.code == 1
        assert f"hidden.md:{line}: WARNING: this cell does not say alone" in build.log
        assert "-[1]" in build.log
        assert "+[]" in build.log
        assert snippets(site, "hidden") == ["", None]


def test_code_that_is_not_on_the_page_enters_no_snippet(make_site):
    """A reader does not know it, and may lack the module that it needs."""
    page = "# P\n\n```{code-cell} python\n:tags: [remove-input]\nx = 3\nx\n```\n\n"
    site = make_site(SETTINGS, page=f"{page}```{{code-cell}} python\nprint(x)\n```\n")
    build = site.build(*PROVE)
    assert build.code == 1
    assert "NameError: name 'x' is not defined" in build.log


SHEET = """
```{code-cell} python
:tags: [remove-cell]
from IPython.display import Markdown, display


def tell(text, source, result=None):
    display(Markdown(text), metadata={"program": {"source": source, "result": result}})
```

```{code-cell} python
:tags: [remove-input, program]
tell("x = 2", "x = 2")
```

```{code-cell} python
:tags: [remove-input, program]
program = "from contextlib import suppress\\n\\nwith suppress(NameError):\\n    x + y\\nx + 1"
tell("x + y", program, "3")
```

```{code-cell} python
:tags: [remove-input]
display(Markdown("no code"))
```
"""


def test_a_program_that_a_cell_shows_has_what_it_needs(make_site):
    """Its lines stand whole among the pieces: on the page it may have a line that raises."""
    site = make_site(SETTINGS, page="# Page\n" + SHEET)
    build = site.build(*PROVE)
    assert build.code == 0, build.log
    first, second, none = snippets(site, "page")
    assert first == "x = 2"
    assert none is None
    assert second.startswith("x = 2\n")
    assert second.endswith("    x + y\nx + 1")
    assert "tell" not in second


def test_a_program_that_says_something_else_alone_is_a_fault(make_site):
    """Its result is that of the last line."""
    wrong = SHEET.replace('program, "3"', 'program, "4"')
    build = make_site(SETTINGS, page="# Page\n" + wrong).build(*PROVE)
    assert build.code == 1
    assert "does not say alone" in build.log


def test_what_a_page_does_not_show_is_not_compared(make_site):
    """Of a cell whose stderr is removed."""
    cell = "```{code-cell} python\n:tags: [remove-stderr]\nimport os, sys\n"
    page = f"# P\n\n{cell}print(os.getpid(), file=sys.stderr)\nprint(3)\n```\n"
    site = make_site(SETTINGS, page=page)
    assert site.build(*PROVE).code == 0
    assert snippets(site, "page") == [""]


def test_a_page_with_a_failing_cell_has_no_snippets(make_site):
    """No snippet rather than a wrong one."""
    site = make_site(SETTINGS, good=GOOD)
    assert site.build(*PROVE).code == 0
    site.write("good", GOOD.replace("x + 1", "x + nothing"))
    assert site.build(*PROVE).code == 1
    assert not (site.folder / "site" / "html" / "_static" / "snippets" / "good.js").exists()


def test_a_proof_that_was_cut_short_is_made_again(make_site):
    """A file of proofs that an interrupted build left half written counts as none."""
    site = make_site(SETTINGS, good=GOOD)
    assert site.build(*PROVE).code == 0
    (kept,) = (site.folder / "snippets").rglob("good.json")
    assert json.loads(kept.read_text("utf-8"))
    kept.write_text("{", encoding="utf-8")
    assert site.build("--fresh-env", *PROVE).code == 0
    assert snippets(site, "good")[4] == "x = 3\n\n"
