"""Tests of reading/exercises.py: the browser judges an answer as the check does."""

import base64
import io
import json
import math
import re
from contextlib import redirect_stdout

import pytest
import quickjs

from gradbook import check
from gradbook.check.answers import SENTENCES, WrongAnswer, judge_word
from pages import DOCS, PAGES, cells
from reading.exercises import rule_of, texts_of, translated
from sites import Site

SCRIPT = DOCS / "_static" / "exercises.js"
TRIED = re.findall(
    r"^check\.([a-z]\w*\.[a-z]\w*)\(\.\.\.\)",
    "\n".join(source for page in PAGES for source, _ in cells(page)),
    flags=re.MULTILINE,
)


def function(name):
    """The check of a name such as ``backward.by_hand``."""
    module, own = name.split(".")
    return getattr(getattr(check, module), own)


RULES = {name: rule for name in TRIED if (rule := rule_of(function(name)))}


@pytest.fixture(scope="module")
def browser():
    """What the script says to a text, in an engine without a page."""
    context = quickjs.Context()
    context.eval("const _ = text => text;")
    context.eval(SCRIPT.read_text("utf-8"))
    ask = context.eval(
        "(rule, text, said) => JSON.stringify("
        "gradbookAnswers.judge(JSON.parse(rule), text, JSON.parse(said)))"
    )

    def judge(rule, text, sentences=SENTENCES):
        return json.loads(ask(json.dumps(rule), text, json.dumps(sentences)))

    return judge


def python(judged, answer):
    """What the check says to an answer, and whether it is right."""
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            judged(answer)
    except WrongAnswer as wrong:
        return [False, wrong._render_traceback_()[0]]
    return [True, said.getvalue().strip()]


def numbers_near(rule):
    """The right answer, the known mistakes, and others around them."""
    right = [one * rule["unit"] for one in rule["expected"]]
    mistakes = [[one * rule["unit"] for one in values] for _, values in rule["mistakes"]]
    yield right
    yield from mistakes
    for factor in (1.0004, 1.002, 1.5, 2.5, -1, -3.7, 0, math.nan, math.inf):
        yield [one * factor for one in right]
        yield [right[0] * factor, *right[1:]]
        yield [*right[:-1], right[-1] * factor]
    yield [one + 1 for one in right]
    yield [one - 0.25 for one in right]
    yield [*right, 1.0]
    yield right[:-1] or [1.0, 2.0]


def test_exercises_with_a_literal_answer_have_a_field():
    """All kinds occur; where the answer is a function there is none."""
    assert "training_loop.fair_look" in TRIED
    assert "training_loop.fair_look" not in RULES
    assert {rule["kind"] for rule in RULES.values()} == {"numbers", "word", "flags", "letters"}
    assert len(RULES) > 25


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name]["kind"] == "numbers"])
def test_numbers_are_judged_as_in_python(browser, name):
    """Right ones, each known mistake, and others; the same sentence."""
    rule, judged = RULES[name], function(name)
    assert python(judged, [one * rule["unit"] for one in rule["expected"]])[0]
    for answer in numbers_near(rule):
        given = answer[0] if len(answer) == 1 else answer
        assert browser(rule, str(given)) == python(judged, given), given
        assert browser(rule, " ".join(map(repr, answer))) == python(judged, given), given


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name]["kind"] == "letters"])
def test_letters_are_judged_as_in_python(browser, name):
    """Every choice, and letters that are none."""
    rule, judged = RULES[name], function(name)
    options = rule["options"]
    assert browser(rule, rule["expected"] or "none")[0]
    choices = [
        "".join(letter for at, letter in enumerate(options) if number >> at & 1)
        for number in range(1, 2 ** len(options))
    ]
    for chosen in [*choices, "none", "a and b", "b, A", "abz", "é"]:
        assert browser(rule, chosen) == python(judged, chosen), chosen
    assert browser(rule, '["A", "B"]') == python(judged, ["A", "B"])


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name]["kind"] == "flags"])
def test_truth_values_are_judged_as_in_python(browser, name):
    """Right ones, one and several wrong, and too few."""
    rule, judged = RULES[name], function(name)
    right = [flag for _, flag in rule["expected"]]
    answers = [right, right[:-1], right[:1], [not one for one in right]]
    answers += [[*right[:at], not right[at], *right[at + 1 :]] for at in range(len(right))]
    for answer in answers:
        assert browser(rule, str(answer)) == python(judged, answer), answer
        words = ", ".join("yes" if one else "no" for one in answer)
        assert browser(rule, words) == python(judged, words.split(", ")), words


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name]["kind"] == "word"])
def test_words_are_judged_as_in_python(browser, name):
    """Each option, in any case, and a word that is none."""
    rule, judged = RULES[name], function(name)
    for word in [*rule["options"], rule["options"][0].upper(), "z", "it's", "C "]:
        assert browser(rule, word) == python(judged, word.strip()), word
    assert browser(rule, f'"{rule["expected"]}"')[0]


def test_yes_and_no_may_be_true_and_false(browser):
    """And a wrong one without a sentence of its own."""

    def judged(answer):
        judge_word(answer, "no", right="It does not.", options=("yes", "no"))

    rule = rule_of(judged)
    for text, answer in [("False", False), ("True", True), ("yes", "yes"), ("maybe", "maybe")]:
        assert browser(rule, text) == python(judged, answer)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("16/3", [16 / 3]),
        ("16 / 3", [16 / 3]),
        ("[18, 12]", [18, 12]),
        ("18 12", [18, 12]),
        ("(18; 12)", [18, 12]),
        ("tensor([18., 12.])", [18, 12]),
        ("\u221218,\t- 12", [-18, -12]),
        ("1e-9 0", [1e-9, 0]),
        ("65_536", [65536]),
        ("+.5", [0.5]),
    ],
)
def test_numbers_are_understood_as_people_type_them(browser, text, values):
    """Fractions, lists with and without brackets, signs of typesetters."""
    rule = {"kind": "numbers", "expected": values, "right": "Yes.", "mistakes": []}
    rule |= {"tolerance": 1e-9, "counts": False, "unit": 1}
    assert browser(rule, text) == [True, "Right. Yes."]


@pytest.mark.parametrize("text", ["", " ", "?", "1/2/3", "one", "[", "1e", "<b>", "x" * 1000])
def test_what_is_no_number_is_no_answer(browser, text):
    """The page then says what it takes."""
    assert browser(RULES["backward.by_hand"], text) is None


def test_texts_are_those_of_the_language(browser):
    """Each text that a reader may see is translated; the judgement stays."""
    for name, rule in RULES.items():
        assert all(texts_of(rule)), name
        other = translated(rule, lambda text: f"«{text}»")
        assert list(texts_of(other)) == [f"«{text}»" for text in texts_of(rule)]
        assert other["kind"] == rule["kind"]
        assert other["expected"] == rule["expected"]
    sentences = SENTENCES | {"right": "Richtig. {why}"}
    other = translated(RULES["backward.by_hand"], lambda text: text[::-1])
    found = browser(other, "42 28", sentences)
    assert found == [True, f"Richtig. {RULES['backward.by_hand']['right'][::-1]}"]


PAGE = """
# Page

:::{admonition} Exercise 1: a gradient by hand
:class: exercise

What?
:::

```{code-cell} python
from gradbook import check

check.backward.by_hand(...)
check.training_loop.fair_look(...)
```
"""


@pytest.fixture(scope="module")
def site(make_site) -> Site:
    """A page with an exercise, and one without."""
    settings = 'extensions = ["myst_nb", "execution.notebooks", "reading.exercises"]'
    made = make_site(
        f"{settings}\nhtml_static_path = [{str(DOCS / '_static')!r}]\n",
        page=PAGE,
        other="# Other\n",
    )
    done = made.build()
    assert done.code == 0, done.log
    return made


def test_a_page_has_a_field_for_what_can_be_typed(site):
    """One, named by its exercise; what takes a function has none. Other pages load nothing."""
    html = site.html("page")
    (name,) = re.findall(r'<form class="exercise-field" data-name="([^"]*)"', html)
    assert name == "backward.by_hand"
    assert 'aria-label="Exercise 1: a gradient by hand (1)"' in html
    assert "exercises.js" in html
    assert "exercises.js" not in site.html("other")
    names = site.folder / "site" / "html" / "_static" / "exercise-names.js"
    assert names.read_text("utf-8") == 'const gradbookExercises = [["page","backward.by_hand"]];\n'


def test_no_answer_stands_in_clear_text(site):
    """The rules are there, encoded."""
    html = site.html("page")
    assert "swapped" not in html
    assert "42" not in re.sub(r'class="exercise-data">[^<]*|\?v=\w+|/\*.*?\*/', "", html)
    (encoded,) = re.findall(r'class="exercise-data">([^<]*)<', html)
    data = json.loads(base64.b64decode(encoded))
    assert data["rules"]["backward.by_hand"]["expected"] == [42, 28]
    assert data["sentences"] == SENTENCES
