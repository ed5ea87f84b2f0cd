"""The first cure of every cause works when it is applied word for word.

A program of tests/reproducers raises the message, `explain` finds this very cause of it, and the
first cure is what the cured program was given. That the cured program does what it should (the
gradient is right, say) is asserted in it.
"""

import ast
import inspect
import re
import sys
import textwrap
import tomllib
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch

from gradbook import explain
from gradbook.understand.catalogue import load, match_message
from reproducers import CURED, RAISING

WITH_MESSAGE = [entry for entry in load().entries if entry.kind != "trap"]
CAUSES = {variant.source: variant for entry in WITH_MESSAGE for variant in entry.variants}
ENTRY = {source: entry for entry in WITH_MESSAGE for source in entry.source}
TABLE = tomllib.loads(Path(__file__).with_name("first_cures.toml").read_text("utf-8"))

# Only tells where to read on; there is nothing to apply.
HINTS = {"W11"}


@cache
def answer(source):
    """What `explain` says of the program: of its exception, or of the text of its warning."""
    torch.manual_seed(0)
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            RAISING[source]()
    except Exception as error:  # any kind may come
        return explain(error)
    finally:
        torch.set_warn_always(before)
    entry = ENTRY[source]
    texts = [str(one.message) for one in recorded]
    mine = [text for text in texts if match_message(text) is entry]
    return explain(mine[0] if mine else entry.examples[0])  # one is a line of the C++ log


@cache
def code_of(function):
    """The body of a program, without docstring, and the classes and functions that it names."""
    body = _tree(function)
    names = sorted({one.id for one in ast.walk(body) if isinstance(one, ast.Name)})
    found = [body]
    for name in names:
        one = getattr(sys.modules[function.__module__], name, None)
        known = inspect.isclass(one) or inspect.isfunction(one)
        if known and one.__module__ == function.__module__ and name != "one_process":
            found.append(_tree(one))
    return "\n".join(ast.unparse(one) for one in found)


def _tree(one):
    body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
    if ast.get_docstring(body) is not None:
        body.body = body.body[1:] or [ast.Pass()]
    return body


def applied(source, change):
    """Whether a piece of code came, or went."""
    sign, _, piece = change.partition(" ")
    before, after = piece in code_of(RAISING[source]), piece in code_of(CURED[source])
    return (before, after) == {"+": (False, True), "-": (True, False)}[sign]


def test_every_cause_has_a_program_and_its_first_cure():
    """Those of entries with one cause too; a new one is missing here until it has both."""
    assert set(CAUSES) <= set(RAISING)
    assert set(ENTRY) - HINTS == set(TABLE)
    assert set(TABLE) <= set(CURED)


@pytest.mark.parametrize("source", sorted(CAUSES))
def test_the_cause_is_chosen(source):
    """Of the causes of the message `explain` names the one that this program has."""
    found = answer(source)
    assert (found.code, found.details.get("cause")) == (ENTRY[source].id, CAUSES[source].title)


@pytest.mark.parametrize("source", sorted(TABLE))
def test_the_first_cure_is_what_was_applied(source):
    """The cure comes first, and the program differs by what it says."""
    cure, change = TABLE[source]
    assert answer(source).cure.splitlines()[0].startswith(cure)
    assert applied(source, change)


def test_every_cured_program_states_what_it_does():
    """It runs in test_catalogue.py, without a warning."""
    silent = [
        source
        for source in TABLE
        if not re.search(r"\bassert\b|assert_close\(", code_of(CURED[source]))
    ]
    assert silent == []


def test_a_cure_that_was_not_applied_is_seen():
    """A piece that was there before, one that never came, one that stayed."""
    assert applied("E01", "+ requires_grad=True")
    for change in ("+ torch.ones(3", "+ detach", "- torch.ones(3"):
        assert not applied("E01", change)
