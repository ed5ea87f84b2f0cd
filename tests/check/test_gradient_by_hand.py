"""The exercises of the page *The gradient by hand*."""

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer, gradient_by_hand

RIGHT_TWO_POINTS = -14.0


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT_TWO_POINTS,
        int(RIGHT_TWO_POINTS),
        [RIGHT_TWO_POINTS],
        np.array(RIGHT_TWO_POINTS),
        np.float64(RIGHT_TWO_POINTS),
        torch.tensor(RIGHT_TWO_POINTS),
        torch.tensor(RIGHT_TWO_POINTS, requires_grad=True),
    ],
)
def test_two_points_takes_every_form_of_the_number(answer, capsys):
    """A float, an int, a list, an array and a tensor are all accepted."""
    gradient_by_hand.two_points(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (-28, "That is the sum over the points"),
        (-7, "The factor 2 is missing"),
        (-6, "second factor"),
        ([-4, -24], "take their mean"),
        (10, "the loss itself"),
        (14, "wrong sign"),
        (-20, "too far below 0"),
    ],
)
def test_two_points_says_what_is_wrong(answer, message):
    """Each known mistake has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        gradient_by_hand.two_points(answer)


@pytest.mark.parametrize("answer", ["-14", None])
def test_two_points_needs_numbers(answer):
    """A string or None is no number."""
    with pytest.raises(TypeError, match="expected a number"):
        gradient_by_hand.two_points(answer)


@pytest.mark.parametrize(
    "answer",
    [
        lambda w, b, x, y: (2 * (w * x + b - y)).mean(),
        lambda w, b, x, y: float(sum(2 * (w * x + b - y)) / len(x)),
        lambda w, b, x, y: [2 * np.sum(w * x + b - y) / len(x)],
        lambda w, b, x, y: torch.tensor(2 * (w * x + b - y)).mean(),
        lambda w, b, x, y: torch.tensor(2 * (w * x + b - y), requires_grad=True).mean(),
    ],
)
def test_intercept_takes_every_form_of_the_result(answer, capsys):
    """The function may return an array number, a float, a list or a tensor."""
    gradient_by_hand.intercept(answer)
    assert capsys.readouterr().out.count("Right.") == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda w, b, x, y: (2 * x * (w * x + b - y)).mean(), "That is dJ/dw"),
        (lambda w, b, x, y: (2 * (w * x + b - y)).sum(), "That is the sum"),
        (lambda w, b, x, y: np.dot(2 * np.ones_like(x), w * x + b - y).mean(), "That is the sum"),
        (lambda w, b, x, y: (w * x + b - y).mean(), "The factor 2 is missing"),
        (lambda w, b, x, y: 2 * (w * x + b - y), "returned 3 numbers for 3 points"),
        (lambda w, b, x, y: (2 * (y - w * x - b)).mean(), "wrong sign"),
        (lambda w, b, x, y: (2 * (w * x + b - y)).sum() / 3, "1 of 2 numbers"),
        (lambda w, b, x, y: None, "returned None"),
    ],
)
def test_intercept_says_what_is_wrong(answer, message):
    """Each known mistake has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        gradient_by_hand.intercept(answer)


def test_intercept_refuses_a_function_that_changes_its_data():
    """The learner's arrays would be wrong for whatever comes next."""

    def in_place(w, b, x, y):
        x *= w
        x += b - y
        return 2 * x.mean()

    with pytest.raises(WrongAnswer, match="changes the values of x"):
        gradient_by_hand.intercept(in_place)


def test_intercept_needs_a_function():
    """The result of a call is not the function."""
    with pytest.raises(TypeError, match=r"your function of \(w, b, x, y\)"):
        gradient_by_hand.intercept(3.0)


@pytest.mark.parametrize("answer", ["c", "C ", "'c'"])
def test_right_formula_takes_the_letter(answer, capsys):
    """Case, blanks and quotes do not matter."""
    gradient_by_hand.right_formula(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("a", "agrees at w = 1 and differs elsewhere"),
        ("b", "leaves out the derivative"),
        ("d", "is not one of"),
    ],
)
def test_right_formula_says_what_is_wrong(answer, message):
    """Each wrong letter has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        gradient_by_hand.right_formula(answer)


def test_right_formula_needs_a_letter():
    """A function is not the letter."""
    with pytest.raises(TypeError, match="expected one of"):
        gradient_by_hand.right_formula(len)


@pytest.mark.parametrize(
    "exercise",
    [gradient_by_hand.two_points, gradient_by_hand.intercept, gradient_by_hand.right_formula],
)
def test_three_dots_are_no_answer_yet(exercise, capsys):
    """An exercise that is still open says so, and raises nothing."""
    exercise(...)
    assert capsys.readouterr().out.startswith("No answer yet")


def test_checks_work_under_no_grad_and_leave_no_state(capsys):
    """The grad mode and the random generator are as they were."""
    state = torch.get_rng_state()
    with torch.no_grad():
        gradient_by_hand.two_points(RIGHT_TWO_POINTS)
        gradient_by_hand.intercept(lambda w, b, x, y: (2 * (w * x + b - y)).mean())
        gradient_by_hand.right_formula("c")
        assert not torch.is_grad_enabled()
    assert torch.equal(state, torch.get_rng_state())
    assert capsys.readouterr().out.count("Right.") == 3
