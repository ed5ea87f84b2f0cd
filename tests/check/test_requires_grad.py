"""The exercises of the page *requires_grad*."""

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer, requires_grad

ASKING = [True, False, True, False, False, True]
LEAVES = [True, True, False, True, True, True]


def forms(flags):
    """The same flags in each form that a learner would write."""
    return [
        flags,
        tuple(flags),
        [int(flag) for flag in flags],
        [float(flag) for flag in flags],
        ["yes" if flag else "no" for flag in flags],
        [f" {flag} " for flag in flags],
        np.array(flags),
        torch.tensor(flags),
        torch.tensor(flags, dtype=torch.float32).requires_grad_(),
        [torch.tensor(flag) for flag in flags],
    ]


@pytest.mark.parametrize("answer", forms(ASKING))
def test_asking_takes_every_form(answer, capsys):
    """Words, numbers, arrays and tensors are all accepted."""
    requires_grad.asking(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize("answer", forms(LEAVES))
def test_leaves_takes_every_form(answer, capsys):
    """Words, numbers, arrays and tensors are all accepted."""
    requires_grad.leaves(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (0, "a is wrong: it was made with requires_grad=True"),
        (1, "b is wrong: the default is False"),
        (2, "c is wrong: one input"),
        (3, "d is wrong: nothing in it"),
        (4, "e is wrong: a comparison has no derivative"),
        (5, "f is wrong: a Parameter requires a gradient by default"),
    ],
)
def test_asking_says_which_one_is_wrong(position, message):
    """Each tensor has its own reason."""
    answer = list(ASKING)
    answer[position] = not answer[position]
    with pytest.raises(WrongAnswer, match=message):
        requires_grad.asking(answer)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (0, "a is wrong: no operation made it"),
        (1, "b is wrong: every tensor with requires_grad=False"),
        (2, "c is wrong: a recorded addition"),
        (3, "d is wrong: it is a result, but not a recorded one"),
        (4, "e is wrong: it is a result, but not a recorded one"),
        (5, "f is wrong: nn.Parameter makes a new tensor"),
    ],
)
def test_leaves_says_which_one_is_wrong(position, message):
    """Each tensor has its own reason."""
    answer = list(LEAVES)
    answer[position] = not answer[position]
    with pytest.raises(WrongAnswer, match=message):
        requires_grad.leaves(answer)


def test_several_wrong_flags_are_counted():
    """With more than one wrong, the message gives the count and the first."""
    with pytest.raises(WrongAnswer, match="4 are wrong; the first is b"):
        requires_grad.leaves(ASKING)


@pytest.mark.parametrize("check", [requires_grad.asking, requires_grad.leaves])
def test_a_flag_for_each_tensor_is_needed(check):
    """A list of another length is wrong, whatever is in it."""
    with pytest.raises(WrongAnswer, match="has 5 entries; 6 are asked for: a to f"):
        check([True] * 5)


@pytest.mark.parametrize("check", [requires_grad.asking, requires_grad.leaves])
@pytest.mark.parametrize("answer", [True, None, "yes", ["maybe"] * 6, [2] * 6, [None] * 6])
def test_flags_need_to_be_flags(check, answer):
    """One flag, another word or another number is a TypeError."""
    with pytest.raises(TypeError, match="expected a list of True and False"):
        check(answer)


@pytest.mark.parametrize(
    "start",
    [
        lambda values: (torch.tensor(values, dtype=torch.float64) / 10).requires_grad_(),
        lambda values: torch.nn.Parameter(torch.tensor(values, dtype=torch.float64) / 10),
        lambda values: torch.tensor(
            [value / 10 for value in values], dtype=torch.float64, requires_grad=True
        ),
        lambda values: torch.from_numpy(np.array(values) / 10).requires_grad_(),
    ],
)
def test_every_way_to_a_leaf_is_right(start, capsys):
    """In place, as a parameter, at creation, from NumPy."""
    requires_grad.leaf_from_list(start)
    assert capsys.readouterr().out.startswith("Right.")


def with_retain_grad(values):
    """Keeps the gradient of a non-leaf."""
    result = torch.tensor(values, dtype=torch.float64, requires_grad=True) / 10
    result.retain_grad()
    return result


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda values: [value / 10 for value in values], "returns list, not a tensor"),
        (
            lambda values: torch.tensor(values, dtype=torch.float64) / 10,
            "does not require a gradient",
        ),
        (
            lambda values: torch.tensor(values, requires_grad=True).double() / 10,
            "returns a non-leaf",
        ),
        (with_retain_grad, r"retain_grad\(\) keeps the gradient"),
        (lambda values: (torch.tensor(values) / 10).requires_grad_(), "returns torch.float32"),
        (
            lambda values: (torch.tensor(values).double() / 10).requires_grad_(),
            "rounded to float32",
        ),
        (
            lambda values: (torch.tensor(values) / 10).double().requires_grad_(),
            "rounded to float32",
        ),
        (
            lambda values: torch.tensor(values, dtype=torch.float64, requires_grad=True),
            "division by 10 is missing",
        ),
        (
            lambda values: torch.zeros(2, dtype=torch.float64, requires_grad=True),
            "2 numbers, the right one has 3",
        ),
    ],
)
def test_leaf_from_list_says_what_is_wrong(start, message):
    """Each known mistake has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        requires_grad.leaf_from_list(start)


@pytest.mark.parametrize(
    "trained",
    [
        lambda module: [p for p in module.parameters() if p.requires_grad],
        lambda module: (p for p in module.parameters() if p.requires_grad),
        lambda module: {p for p in module.parameters() if p.requires_grad},
        lambda module: [p for _, p in reversed([*module.named_parameters()]) if p.requires_grad],
    ],
)
def test_trained_parameters_takes_any_collection(trained, capsys):
    """A list, a generator or a set, in any order."""
    requires_grad.trained_parameters(trained)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (lambda module: list(module.parameters()), "'0.weight' is frozen"),
        (
            lambda module: [p for p in module.parameters() if not p.requires_grad],
            "'0.weight' is frozen",
        ),
        (lambda module: [p for p in module.parameters() if p.grad is not None], "list is empty"),
        (
            lambda module: [n for n, p in module.named_parameters() if p.requires_grad],
            "holds str",
        ),
        (lambda module: [*module[2].parameters()], "'1.0.weight' is missing"),
        (
            lambda module: 2 * [p for p in module.parameters() if p.requires_grad],
            "in the list twice",
        ),
        (lambda module: None, "returns NoneType, not a list"),
        (lambda module: module[2].weight, "returns Parameter, not a list"),
    ],
)
def test_trained_parameters_says_what_is_wrong(trained, message):
    """Each known mistake has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        requires_grad.trained_parameters(trained)


def test_answers_that_leave_something_changed_are_refused():
    """A list is asked for: no flag, mode or dtype of the session has to change for it."""

    def freezes(module):
        module[2].requires_grad_(False)
        return [p for p in module.parameters() if p.requires_grad]

    def default(values):
        torch.set_default_dtype(torch.float64)
        return (torch.tensor(values) / 10).requires_grad_()

    with pytest.raises(WrongAnswer, match=r"leaves requires_grad=False on module\.2\.weight"):
        requires_grad.trained_parameters(freezes)
    with pytest.raises(WrongAnswer, match="changes the default dtype"):
        requires_grad.leaf_from_list(default)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("check", "takes"),
    [
        (requires_grad.leaf_from_list, r"\(values\)"),
        (requires_grad.trained_parameters, r"\(module\)"),
    ],
)
def test_a_function_is_needed(check, takes):
    """The result of a call is not the function."""
    with pytest.raises(TypeError, match=f"your function of {takes}"):
        check(torch.ones(3))


@pytest.mark.parametrize(
    "exercise",
    [
        requires_grad.asking,
        requires_grad.leaves,
        requires_grad.leaf_from_list,
        requires_grad.trained_parameters,
    ],
)
def test_three_dots_are_no_answer_yet(exercise, capsys):
    """An exercise that is still open says so, and raises nothing."""
    exercise(...)
    assert capsys.readouterr().out.startswith("No answer yet")


def test_checks_work_under_no_grad_and_leave_no_state(capsys):
    """The grad mode and the random generator are as they were."""
    state = torch.get_rng_state()
    with torch.no_grad():
        requires_grad.asking(ASKING)
        requires_grad.leaves(LEAVES)
        requires_grad.leaf_from_list(
            lambda values: (torch.tensor(values, dtype=torch.float64) / 10).requires_grad_()
        )
        with pytest.raises(WrongAnswer, match="non-leaf"):
            requires_grad.leaf_from_list(
                lambda values: torch.tensor(values, requires_grad=True).double() / 10
            )
        requires_grad.trained_parameters(
            lambda module: [p for p in module.parameters() if p.requires_grad]
        )
        assert not torch.is_grad_enabled()
    assert torch.equal(state, torch.get_rng_state())
    assert capsys.readouterr().out.count("Right.") == 4
