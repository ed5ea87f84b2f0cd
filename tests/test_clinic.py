"""Tests that the Clinic and the catalogue match: the sections of its pages, and its search.

That every cell runs and holds is tested in docs/ itself; here the form of a section is tested: what
a reader finds in it, and in which order.
"""

import ast
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import quickjs

from gradbook import explain
from gradbook.understand.catalogue import find, load, nearest, recognise, to_json
from pages import LEARN

CLINIC = Path(__file__).parents[1] / "docs" / "clinic"
ENTRIES = {entry.id: entry for entry in load().entries}
PART = re.compile(
    r"^\((?P<label>[\w-]+)\)=\n## (?P<title>[^\n]+)$"
    r"|^:::\{(?P<kind>why|cure|variant)\} (?P<argument>\S+)$"
    r"|^```\{code-cell\} python\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
CLAIM = re.compile(r"\bassert\b|\bassert_close\(|\bexpect_error\(")
LIVE = re.compile(r"\bexpect_error\(|\bsubprocess\.run\(|\blogged_with\(")


@dataclass
class Section:
    """One entry on a page: its cells and directives in their order."""

    page: Path
    label: str
    title: str
    parts: list[tuple[str, str]] = field(default_factory=list)

    def cells(self, after: tuple[str, str] | None = None, before: str = "variant") -> list[str]:
        """Cells after a directive, up to the next one of the kind `before`."""
        start = 0 if after is None else self.parts.index(after) + 1
        cells = []
        for kind, text in self.parts[start:]:
            if kind == before:
                break
            if kind == "code":
                cells.append(text)
        return cells

    def directives(self, kind: str) -> list[str]:
        """Arguments of the directives of a kind."""
        return [argument for one, argument in self.parts if one == kind]


def read(page):
    """The sections of a page, without what stands before the first one."""
    sections = []
    for found in PART.finditer(page.read_text("utf-8")):
        if found["label"]:
            sections.append(Section(page, found["label"], found["title"]))
        elif sections:
            kind = found["kind"] or "code"
            sections[-1].parts.append((kind, found["argument"] or found["code"]))
    return sections


PAGES = sorted(CLINIC.glob("*/*.md"))
SECTIONS = [section for page in PAGES for section in read(page)]
BY_LABEL = {section.label: section for section in SECTIONS}


def claims(cells):
    """Whether a cell states something; that `explain` knows the message does not count."""
    lines = [line for cell in cells for line in cell.splitlines() if "explain(" not in line]
    return bool(CLAIM.search("\n".join(lines)))


def shows(cell):
    """Whether a cell shows a drawing, a figure or a table."""
    last = ast.parse(re.sub(r"^:tags:.*$", "", cell, flags=re.MULTILINE)).body[-1]
    drawn = isinstance(last, ast.Expr) and re.search(r"\bgraph\(|\bplt\.|\breplay\(", cell)
    return "display(Markdown(" in cell or bool(drawn)


MESSAGES = [section for section in SECTIONS if section.page.parent.name == "errors"]
TRAPS = [section for section in SECTIONS if section.page.parent.name == "traps"]
TOP = [section for section in SECTIONS if ENTRIES[section.label].top]


def each(some):
    """One test for each section of a list."""
    return pytest.mark.parametrize("section", some, ids=[section.label for section in some])


# ------------------------------------------------------------------------------------ one to one


def test_every_entry_has_one_section_and_every_section_one_entry():
    """In the order of the catalogue, which is that of the index on the front page."""
    for group in load().groups:
        sections = read(CLINIC / group.folder / f"{group.id}.md")
        expected = [
            entry.id
            for entry in ENTRIES.values()
            if (entry.folder, entry.group) == (group.folder, group.id)
        ]
        assert [section.label for section in sections] == expected
    assert len(SECTIONS) == len(ENTRIES)
    assert len(PAGES) == len(load().groups)


def test_pages_have_no_other_labels_and_no_other_sections():
    """A label without an entry would be an address that nobody maintains."""
    for page in PAGES:
        text = page.read_text("utf-8")
        assert len(re.findall(r"^\(.+\)=$", text, re.MULTILINE)) == len(read(page))
        assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(read(page))


def test_pages_are_in_the_table_of_contents_in_the_order_of_the_catalogue():
    """And under the title that the index gives them."""
    listed = re.findall(r"^((?:errors|traps)/\S+)$", (CLINIC / "index.md").read_text("utf-8"), re.M)
    assert listed == [f"{group.folder}/{group.id}" for group in load().groups]
    for group in load().groups:
        text = (CLINIC / group.folder / f"{group.id}.md").read_text("utf-8")
        assert f"\n# {group.title}\n" in text


def test_the_front_page_lists_all_entries():
    """The most asked first; this is the whole page for a reader without JavaScript."""
    text = (CLINIC / "index.md").read_text("utf-8")
    assert re.findall(r":::\{clinic-index\} (\w+)", text) == ["top", "errors", "traps"]


# -------------------------------------------------------------------------------- the form of each


@each(SECTIONS)
def test_the_heading_is_the_title(section):
    """What happened, with a capital."""
    assert section.title == ENTRIES[section.label].heading


@each(SECTIONS)
def test_a_section_says_why_and_then_how_to_cure_it(section):
    """Each once, from its own entry, with an asserting cell after the cure."""
    assert section.directives("why") == [section.label]
    assert section.directives("cure") == [section.label]
    kinds = [kind for kind, _ in section.parts]
    assert kinds.index("why") < kinds.index("cure")
    assert claims(section.cells(after=("cure", section.label)))


@each(SECTIONS)
def test_every_variant_is_shown(section):
    """The first one is the section itself; each other one has its own cells after the cure."""
    variants = [variant.source for variant in ENTRIES[section.label].variants]
    assert section.directives("variant") == variants[1:]
    kinds = [kind for kind, _ in section.parts]
    assert not variants or kinds.index("cure") < kinds.index("variant")


@each(MESSAGES)
def test_a_message_is_raised_before_it_is_explained(section):
    """The first thing that a reader sees is the error that brought them; and explain knows it."""
    cells = section.cells(before="why")
    assert any(LIVE.search(cell) for cell in cells)
    assert any("explain(" in cell and f'"{section.label}"' in cell for cell in cells)


@each([section for section in MESSAGES if section.directives("variant")])
def test_a_variant_is_raised_and_cured(section):
    """Live, recognised as the same entry, and repaired."""
    for argument in section.directives("variant"):
        cells = section.cells(after=("variant", argument))
        raised = next(n for n, cell in enumerate(cells) if LIVE.search(cell))
        assert any("explain(" in cell and f'"{section.label}"' in cell for cell in cells)
        assert claims(cells[raised + 1 :]), argument


@each(TRAPS)
def test_a_trap_is_measured_before_it_is_explained(section):
    """The wrong effect is asserted; nothing is raised that would have warned."""
    assert claims(section.cells(before="why"))


@each(TOP)
def test_the_most_asked_have_a_drawing_or_a_table(section):
    """And advice for a program that is larger than the example."""
    assert any(shows(cell) for cell in section.cells(before="end"))
    assert "**In a large program**" in section_text(section)


def section_text(section):
    """The source of a section."""
    text = section.page.read_text("utf-8")
    start = text.index(f"({section.label})=\n")
    following = re.search(r"^\([\w-]+\)=\n", text[start + 1 :], re.MULTILINE)
    return text[start : start + 1 + following.start()] if following else text[start:]


def test_the_checks_can_fail():
    """On a section that has nothing, and on cells that only look as if."""
    empty = Section(CLINIC, "no-graph", "`backward()` on a loss that has no graph")
    for check in (
        test_a_section_says_why_and_then_how_to_cure_it,
        test_every_variant_is_shown,
        test_a_message_is_raised_before_it_is_explained,
        test_a_trap_is_measured_before_it_is_explained,
    ):
        with pytest.raises((AssertionError, ValueError)):
            check(empty)
    assert not claims(['assert explain(caught.error).code == "no-graph"'])
    assert not shows("picture = graph(loss)\nassert len(picture) == 2")
    assert shows(":tags: [hide-input]\n\npicture = graph(loss)\npicture")


# -------------------------------------------------------------------------------- links from Learn


@pytest.mark.parametrize("page", LEARN, ids=[page.stem for page in LEARN])
def test_what_goes_wrong_on_a_learn_page_leads_to_the_clinic(page):
    """By label, and each label is an entry."""
    text = page.read_text("utf-8")
    part = text[text.index("## What goes wrong here") : text.index("## In one breath")]
    linked = re.findall(r"(?:\]\(#|\{ref\}`[^`<]+<)([\w-]+)", part)
    assert linked
    assert set(linked) <= set(ENTRIES)
    # A message that begins an item leads to its own entry.
    for item in re.split(r"^- ", part, flags=re.MULTILINE)[1:]:
        message = re.match(r"\*\*`([^`]+)`", item)
        entry = recognise(message[1].split(" ... ")[-1]) if message else None
        assert entry is None or re.search(rf"[#<]{entry.id}\b", item), item


# ------------------------------------------------------------------------------ the message search


SCRIPT = CLINIC.parent / "_static" / "clinic-search.js"
ASK = """
const search = new ClinicSearch(CATALOGUE);
const ask = text => JSON.stringify(search.find(text).map(f => [f.entry.id, f.message]));
const near = text => JSON.stringify(search.nearest(text).map(entry => entry.id));
const entry = id => search.entries.find(one => one.id === id);
const told = (id, message) => search.cause(entry(id), message)?.source;
const read = text => {
  const [found] = search.find(text);
  if (!found) return "null";
  const cause = search.cause(found.entry, found.message, text);
  const left = search.likely(found.entry, found.message, text).map(([, one]) => one.source);
  const own = ClinicSearch.ownFrame(text) ?? null;
  return JSON.stringify([found.entry.id, cause?.source ?? null, left, own]);
};
"""
FRAME = '  File "train.py", line 3, in step\n    w = w - lr * w.grad\n'


@pytest.fixture(scope="module")
def browser():
    """The script of the front page, in an engine without a page."""
    context = quickjs.Context()
    context.eval(SCRIPT.read_text("utf-8"))
    context.eval(ASK.replace("CATALOGUE", to_json()))
    return lambda function, *texts: context.eval(function)(*texts)


def pasted(name, message):
    """A message as people paste it."""
    trace = f"Traceback (most recent call last):\n{FRAME}{name}: {message}\n"
    return {
        "the message alone": message,
        "a traceback": trace,
        "of one process of several": "".join(f"[rank1]: {line}\n" for line in trace.splitlines()),
        "with colours": f"\x1b[0;31m{name}\x1b[0m: {message}",
        "a log of Windows": f"09:00:01 | ERROR | {name}: {message}\r\n09:00:02 | INFO | bye\r\n",
        "by pytest": f">       f(x)\n\nE       {name}: {message}\n\ntrain.py:3: {name}\n",
        "in a question": f"Hi, {'word ' * 900} I get {message} when I read x.grad. Why?",
        "between others": f"{name}: {message}\n{trace}ValueError: optimizer got an empty parameter"
        f" list\na.py:3: UserWarning: volatile was removed and now has no effect.\n",
    }


@pytest.mark.parametrize("kind", pasted("", ""))
def test_the_browser_finds_what_python_finds(browser, kind):
    """Each known wording: the same entries, in the same order, with the same message."""
    some = 8 if kind == "in a question" else 1  # this engine, unlike V8, is slow on long texts
    for entry in list(ENTRIES.values())[::some]:
        for example in entry.examples:
            text = pasted(entry.type[0], example)[kind]
            here = [[match.entry.id, match.message] for match in find(text)]
            assert json.loads(browser("ask", text)) == here, text


@pytest.mark.parametrize(
    "text",
    ["", " ", "\x00\ufffd", "é ß 😀", "Error:", "E" * 10_000, "RuntimeError: unknown\n" * 400],
)
def test_the_browser_finds_nothing_in_junk(browser, text):
    """As Python does."""
    assert json.loads(browser("ask", text)) == []
    assert find(text) == ()


def test_the_browser_tells_the_cause_that_python_tells(browser):
    """Where the message has several."""
    for entry in ENTRIES.values():
        for example in entry.examples:
            variant = entry.variant_of(" ".join(example.split()))
            assert browser("told", entry.id, example) == (variant.source if variant else None)


# What may stand around a message: the program's own line, a frame of torch, another message.
OWN = [
    *("loss.backward()", "g_loss.backward(retain_graph=True)", "loss_d.backward()", ""),
    *("w = w - lr * w.grad", "hidden = cell(x, hidden)", "labels = logits.argmax(1)"),
    *("x = torch.tensor([1, 2], requires_grad=True)", "x.requires_grad_()", "h += residual"),
    *("penalty.backward()", "with torch.no_grad(): out = net(x)", "emb = embedding(tokens)"),
]
OF_TORCH = [
    *("", "torch/_functorch/vmap.py", "torch/utils/checkpoint.py", "torch/nn/parameter.py"),
    *("torch/_functorch/eager_transforms.py", "torch/optim/sgd.py"),
    *("torch/autograd/function.py", "torch/_library/autograd.py"),
]
WARNED = [
    "",
    "UserWarning: None of the inputs have requires_grad=True. Gradients will be None\n",
    "UserWarning: The .grad attribute of a Tensor that is not a leaf Tensor is being accessed.\n",
]


def tracebacks(entry):
    """Tracebacks of each wording of a message, in which other things stand as well."""
    for example in entry.examples:
        for own in OWN:
            yield traceback_of(entry, example, own)
        for path in OF_TORCH:
            yield traceback_of(entry, example, OWN[0], path)
            yield traceback_of(entry, example, OWN[0], path.replace("/", "\\"), ipython=True)
        for warned in WARNED:
            yield warned + traceback_of(entry, example, OWN[1])


def traceback_of(entry, example, own, path="", *, ipython=False):
    """As Python prints it, or as a notebook does."""
    message = f"{entry.type[0]}: {example}\n"
    library = f'  File "/v/lib/python3.11/site-packages/{path}", line 90, in f\n    g(x)\n' * bool(
        path
    )
    if ipython:
        return f"Cell In[7], line 2\n      1 x = 1\n----> 2 {own}\n\n{library}\n{message}"
    first = 'Traceback (most recent call last):\n  File "/home/me/train.py", line 131, in step\n'
    return f"{first}    {own}\n{library}{message}" if own else f"{first}{library}{message}"


SEVERAL = [entry for entry in ENTRIES.values() if entry.variants and entry.examples]


@pytest.mark.parametrize("entry", SEVERAL, ids=lambda entry: entry.id)
def test_the_browser_ranks_causes_as_explain_does(browser, entry):
    """From the whole traceback: the same entry, cause, order of what is left, and line."""
    for text in tracebacks(entry):
        answer = explain(text)
        if answer.code == "not-recognised":  # words of Python's own, and no word of gradients
            assert browser("read", text) == "null"
            continue
        code, cause, left, own = json.loads(browser("read", text))
        assert code == answer.code, text
        by_source = {one.source: one for one in ENTRIES[code].variants}
        assert answer.details.get("cause") == (by_source[cause].title if cause else None), text
        told = [f"{by_source[source].title}: " for source in left]
        if cause is None and left:
            assert len(answer.possible) == len(told), text
            for said, start in zip(answer.possible, told, strict=True):
                assert said.startswith(start), text
        assert answer.details["line"] == f"{own['file']}:{own['line']}: {own['code']}", text


@pytest.mark.parametrize(
    ("id_", "source", "own", "path", "warned"),
    [
        ("no-graph", "E154b", "loss.backward()", "torch/_functorch/vmap.py", ""),
        ("no-graph", "E01d", "loss.backward()", "", WARNED[1]),
        ("no-graph", "E01c", "labels = logits.argmax(1)", "", ""),
        ("graph-freed", "E07e", "loss.backward()", "torch/utils/checkpoint.py", ""),
        ("graph-freed", "E07d", "g_loss.backward()", "", ""),
        ("graph-freed", "E07b", "hidden = cell(x, hidden)", "", ""),
        ("grad-is-none", "E16b", "w = w - lr * w.grad", "", ""),
        ("grad-is-none", "E16b", "w = w - 0.1 * w.grad", "", WARNED[2]),
        ("integer-requires-grad", "E20c", "self.k = nn.Parameter(k)", "torch/nn/parameter.py", ""),
        ("integer-requires-grad", "E20b", "x.requires_grad_()", "", ""),
        ("leaf-in-place", "E109", "y = Double.apply(x)", "torch/autograd/function.py", ""),
    ],
)
def test_the_traceback_tells_the_likeliest_cause(browser, id_, source, own, path, warned):
    """By a frame of torch, a warning before it, or the program's own line."""
    entry = ENTRIES[id_]
    text = warned + traceback_of(entry, entry.examples[0], own, path)
    _, cause, left, _ = json.loads(browser("read", text))
    assert source == (cause or left[0])


def test_a_gan_is_told_by_its_message_and_its_line(browser):
    """The weight of a Linear layer, turned around, and a loss of the generator."""
    text = (
        'Traceback (most recent call last):\n  File "trainer.py", line 131, in step\n'
        "    g_loss.backward()\nRuntimeError: one of the variables needed for gradient computation "
        "has been modified by an inplace operation: [torch.cuda.FloatTensor [512, 128]], which is "
        "output 0 of AsStridedBackward0, is at version 2; expected version 1 instead.\n"
    )
    code, _, left, own = json.loads(browser("read", text))
    assert (code, left[0]) == ("modified-in-place", "E40b")
    assert own == {"file": "trainer.py", "line": 131, "code": "g_loss.backward()", "own": True}


@pytest.mark.parametrize(
    "text",
    [
        "<pre>RuntimeError: grad can be implicitly created only for scalar outputs</pre>",
        "ValueError: can&#39;t optimize a non-leaf Tensor",
        "ValueError: can&#x27;t optimize a non-leaf&nbsp;Tensor",
    ],
)
def test_a_message_from_the_source_of_a_page_is_found(browser, text):
    """Its marks and its escaped letters do no harm."""
    assert json.loads(browser("read", text))[0] == explain(text).code


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (
            "RuntirneError: elernent 0 of tensors does not requlre grad and does not have",
            "no-graph",
        ),
        ("Trying to backward through the graph a seccnd tirne (or directly", "graph-freed"),
        (
            "a leaf Variabie that requires grad is beinq used in an in-piace operation",
            "leaf-in-place",
        ),
    ],
)
def test_the_spelling_of_a_read_picture_is_near_to_its_entry(browser, text, meant):
    """Not recognised, and among the first two that are offered."""
    assert meant in json.loads(browser("near", text))[:2]
    assert meant in [entry.id for entry in nearest(text, n=2)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("batch norm frozen", "frozen-batch-norm-still-learns"),
        ("gradient clipping nan", "clip-with-nan"),
        ("retain_graph hab", "retain-graph-as-a-habit"),
        ("new layer optimizer", "optimizer-before-new-layer"),
        ("zero_grad forgotten", "zero-grad-forgotten"),
        ("vmap random", "vmap-random"),
    ],
)
def test_typed_words_find_titles_and_causes(browser, typed, meant):
    """Among the first three; the last word may be in the making."""
    assert meant in json.loads(browser("near", typed))[:3]


def test_the_nearest_entries_are_near_to_the_message(browser):
    """Not to the frames around it: as in Python."""
    text = f"Traceback (most recent call last):\n{FRAME * 50}RuntimeError: the optimizer is lazy\n"
    assert browser("near", text) == browser("near", "the optimizer is lazy")
    assert nearest(text) == nearest("the optimizer is lazy")


SYMPTOMS = [(symptom, entry.id) for entry in load().entries for symptom in entry.symptoms]


@pytest.mark.parametrize(("symptom", "meant"), SYMPTOMS, ids=[one[0] for one in SYMPTOMS])
def test_a_symptom_finds_its_entry(browser, symptom, meant):
    """In words that people type: among the first two, in Python and in the browser."""
    assert meant in [entry.id for entry in nearest(symptom, n=2)]
    assert meant in json.loads(browser("near", symptom))[:2]


@pytest.mark.parametrize(
    ("words", "meant"),
    tomllib.loads((Path(__file__).parent / "search_queries.toml").read_text("utf-8"))[
        "symptoms"
    ].items(),
)
def test_other_words_for_a_symptom_find_its_entry(browser, words, meant):
    """As people type them; a message that is known comes first."""
    here = [match.entry for match in find(words)] or nearest(words, n=2)
    assert meant in [entry.id for entry in here[:2]]
    assert meant in json.loads(browser("near", words))[:2] or meant in browser("ask", words)


def test_a_symptom_is_found_in_other_forms_of_its_words(browser):
    """`changes`, `changing` and `change` are one word there, in Python and in the browser."""
    for words in ("frozen layers are changing", "the frozen layer changes"):
        assert nearest(words)[0].id == "frozen-parameter-still-moves"
        assert json.loads(browser("near", words))[0] == "frozen-parameter-still-moves"
