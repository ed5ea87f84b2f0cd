"""The exercises of the page *backward()* accept what is right, and name what is wrong."""

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer, backward


@pytest.mark.parametrize(
    ("check", "right"), [(backward.by_hand, [42, 28]), (backward.second_row, [0, 1])]
)
@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda numbers: [float(number) for number in numbers],
        lambda numbers: [torch.tensor(float(number)) for number in numbers],
        lambda numbers: torch.tensor(numbers, dtype=torch.float32, requires_grad=True),
    ],
)
def test_the_right_numbers_are_accepted_in_each_form(check, right, form, capsys):
    """Lists, tuples, arrays and tensors count the same."""
    check(form(right))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize("check", [backward.by_hand, backward.second_row, backward.works_twice])
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("check", [backward.by_hand, backward.second_row])
@pytest.mark.parametrize("wrong", ["42", None, len])
def test_what_holds_no_numbers_is_a_type_error(check, wrong):
    """A string, None and a function are not gradients."""
    with pytest.raises(TypeError, match="expected a number"):
        check(wrong)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([28, 42], "swapped"),
        ([14, 14], "derivative of the square alone"),
        ([3, 2], r"derivative of a \* b \+ 1"),
        ([21, 14], "factor 2 is missing"),
        (42, "Give both"),
        ([84, 56], "one common factor"),
    ],
)
def test_a_wrong_gradient_is_explained(numbers, message):
    """Each known slip of the chain rule has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        backward.by_hand(numbers)


@pytest.mark.parametrize(
    ("v", "message"),
    [
        ([0, 1, 0], "not for each element of x"),
        ([1, 1, 1], "two, not three"),
        ([1, 1], "sum of both rows"),
        ([1, 0], "gives the first row"),
        ([0, 3, 2], "the second row itself"),
        ([0.5, 1], "1 of 2 numbers are wrong"),
    ],
)
def test_a_wrong_v_is_explained(v, message):
    """Each known misunderstanding of v has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        backward.second_row(v)


def test_the_accepted_v_gives_the_second_row():
    """What the check calls right does what the exercise asks."""
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = torch.tensor([0.0, 1.0])
    torch.stack([x[0] * x[1], x[1] * x[2]]).backward(gradient=v)
    assert x.grad.tolist() == [0, 3, 2]
    backward.second_row(v)


@pytest.mark.parametrize(
    "answer", ["AC", "ca", "A, C", "A and C", ["A", "C"], ("C", "A"), {"A", "C"}]
)
def test_letters_are_accepted_in_each_form_and_order(answer, capsys):
    """Case, order, commas and the container do not matter."""
    backward.works_twice(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("ABC", "B fails: DivBackward0 saved"),
        ("ACD", "D fails: SinBackward0 saved"),
        ("ACE", "E fails: MulBackward0 saved"),
        ("A", "1 more can be called twice"),
        ("", "2 more can be called twice"),
        ("ACF", "'F' is not one of A, B, C, D, E"),
    ],
)
def test_wrong_letters_are_explained(answer, message):
    """A letter too many is named with its node; letters too few are counted."""
    with pytest.raises(WrongAnswer, match=message):
        backward.works_twice(answer)


@pytest.mark.parametrize("wrong", [3, None, [1, 2], True, torch.ones(2)])
def test_letters_of_another_type_are_a_type_error(wrong):
    """Numbers and tensors are not letters."""
    with pytest.raises(TypeError, match="expected letters"):
        backward.works_twice(wrong)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        before = torch.get_rng_state()
        backward.by_hand([42, 28])
        backward.second_row([0, 1])
        backward.works_twice("AC")
        assert not torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out.count("Right.") == 3
