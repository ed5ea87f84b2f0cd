"""What a page computes is held against torch when the site is built."""

import json
import re
from html import unescape

import pytest
import torch
import torch.nn.functional as F

from gradbook import record_lines, replay
from reading import players, proof

X = (1.0, 2.0, 3.0)


def program_of(function, *values):
    """The program of a function; it has one."""
    leaves = [torch.tensor(value, requires_grad=True) for value in values]
    with record_lines():
        out = function(*leaves).sum()
    return replay(out)


FUNCTIONS = {
    "seed": (lambda x: ((x + 2) * (x + 2) * 2).mean(), X),
    "all elementwise": (
        lambda x: (-x).abs() + x.exp() / (x.sin() + 2) - x.cos() * x.tanh() + x.sigmoid().square(),
        X,
    ),
    "kinks": (lambda x: torch.relu(x) + x.clamp(-1, 0.5) + x.clamp_min(1) * x.clamp_max(2), X),
    "ties": (lambda x, y: torch.maximum(x, y) + torch.minimum(x, y) + x.max() + y.amax(), X, X),
    "where": (lambda x, y: torch.where(x >= y, x * y, y / 2), X, (0.5, 2.0, 5.0)),
    "powers": (lambda x: x**3 + 2**x + (x * x + 1) ** x + (1 - x) ** 2 + 1 / (x + 10), X),
    "root": (lambda x: (x * x + 1).sqrt().log(), X),
    "matrices": (
        lambda w, x: F.mse_loss((w @ x).relu(), torch.ones(2)) + (w @ w.T).sum(1).mean(),
        [[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]],
        X,
    ),
    "vectors": (lambda x, w: (x @ x) + (x @ w).max(0).values, X, [[1.0, 2.0]] * 3),
    "rows": (
        lambda w: w.mean(1, keepdim=True) + w.max(1).values + w.sum(0).amax(),
        [[1.0, 2.0]] * 2,
    ),
    "layer": (lambda w, b: F.linear(torch.ones(2, 3), w, b).tanh(), [X, X], (0.5, -0.5)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_true_program_is_proved(name):
    """Every operation of the list, on the grid."""
    function, *values = FUNCTIONS[name]
    program = program_of(function, *values)._program
    assert isinstance(program, dict), program
    assert proof.differs(program) is None


def test_every_operation_that_a_player_computes_can_be_run_by_torch():
    """Else the build would fail at a page with another one."""
    from gradbook.see.display.rules import RULES
    from gradbook.see.program import _MOVES

    can = {*proof._OPERATIONS, *proof._RESHAPES}
    assert {name for name, rule in RULES.items() if rule.forward} | {*_MOVES} <= can


@pytest.mark.parametrize("name", ["kinks", "ties"])
def test_a_rule_that_is_wrong_only_at_a_kink_is_found(name):
    """Or only where two numbers are equal."""
    function, *values = FUNCTIONS[name]
    program = program_of(function, *values)._program
    {"kinks": wrong_at_the_kink, "ties": wrong_where_equal}[name](program)
    assert proof.differs(program) is not None


def test_a_wrong_constant_is_found():
    """Torch and the script agree on it; the numbers that were recorded do not."""
    result = program_of(*FUNCTIONS["seed"])
    html = players.strip(result.to_html())
    assert players.prove(html) == html
    result._program["nodes"][0]["constants"]["other"] = 2.1
    assert "data-program" not in players.prove(players.strip(result.to_html()))


def wrong_at_the_kink(program):
    """As if the gradient of relu were 1 at 0."""
    (relu,) = [node for node in program["nodes"] if node["op"] == "ReluBackward0"]
    relu["gradients"][0][1] = ["*", "g", [">=", "result", 0]]


def wrong_where_equal(program):
    """As if all of the gradient went to the first of two equal numbers."""
    (node,) = [node for node in program["nodes"] if node["op"] == "MaximumBackward0"]
    node["gradients"][0][1] = ["*", "g", [">=", "self", "other"]]


def test_a_player_that_is_not_proved_keeps_its_numbers_and_says_so():
    """The program is gone, the sentence is there; one that is proved stays as it is."""
    result = program_of(*FUNCTIONS["kinks"])
    html = players.strip(result.to_html())
    assert players.prove(html) == html
    wrong_at_the_kink(result._program)
    found = players.prove(players.strip(result.to_html()))
    assert "data-program" not in found
    assert "The numbers stay as recorded: here it computes other numbers than torch." in found


def test_the_program_is_read_from_the_page_as_it_was_written():
    """Also with names and numbers that HTML has to escape."""
    result = program_of(lambda x: torch.where(x <= 2, x, x * 2).max(), X)
    found = re.search(r" data-program='([^']*)'", result.to_html())
    assert json.loads(unescape(found[1])) == json.loads(json.dumps(result._program))
