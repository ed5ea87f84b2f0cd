"""The decision tree of the Clinic: its steps are short, and none is a dead end.

That its cells run and hold is tested in docs/ itself.
"""

import re

import pytest

from pages import DOCS

TEXT = (DOCS / "clinic" / "gradient-trouble.md").read_text("utf-8")
STEP = re.compile(r"^\((trouble-[\w-]+)\)=\n## ([^\n]+)\n(.*?)(?=^\(trouble-|\Z)", re.M | re.S)
STEPS = {label: (title, body) for label, title, body in STEP.findall(TEXT)}
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```", re.M | re.S)
each = pytest.mark.parametrize("step", STEPS)


def snippets(step):
    """What a reader is to run: cells that are shown and not folded, without their assertions."""
    found = CELL.findall(STEPS[step][1])
    cells = [cell for cell in found if "hide-input" not in cell and "remove-cell" not in cell]
    return [re.split(r"^assert ", cell, maxsplit=1, flags=re.M) for cell in cells]


def answers(step):
    """The items of the list under the last cell."""
    after = STEPS[step][1].rpartition("\n```\n")[2]
    return re.findall(r"^- (.*?)(?=^- |^$|\Z)", after, re.M | re.S)


@each
def test_a_step_is_three_lines_that_assert_what_they_show(step):
    """More would not be typed into a program that already has a problem."""
    assert snippets(step)
    for cell in snippets(step):
        assert len(cell) == 2, "no assertion"
        assert 1 <= len(cell[0].splitlines()) <= 3


@each
def test_a_step_has_a_program_that_has_the_trouble(step):
    """It is folded, as it is not the reader's."""
    assert "tags: [hide-input]" in STEPS[step][1]


@each
def test_every_answer_of_a_step_leads_on(step):
    """With a link, or to what no page can know: the data and the learning rate."""
    assert len(answers(step)) >= 2
    for answer in answers(step):
        assert "](" in answer or re.search(r"learning rate|the data", answer), answer


def test_the_table_leads_to_every_step_and_every_step_to_its_end():
    """In the order of the page."""
    table = re.findall(r"^\| .+ \| \[(.+)\]\(#(trouble-[\w-]+)\) \|$", TEXT, re.M)
    assert [(label, title) for title, label in table] == [
        (label, title) for label, (title, _) in STEPS.items()
    ]


def test_the_tree_covers_the_troubles_that_readers_name():
    """Loss flat, grads None, zero, exploding, NaN, memory, slow."""
    named = {"flat", "none", "zero", "exploding", "nan", "memory", "slow"}
    assert named <= {label.removeprefix("trouble-") for label in STEPS}
