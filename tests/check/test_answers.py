"""Tests of how answers to exercises are read and judged."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradbook.check import WrongAnswer
from gradbook.check.answers import (
    answer_function,
    judge_flags,
    judge_numbers,
    judge_word,
    read_letters,
    unanswered,
)


def judge(answer, expected=(1.0, -2.0, 3.0), **keywords):
    """An exercise whose answer is 1, -2, 3."""
    judge_numbers(answer, torch.tensor(expected), right="So it is.", **keywords)


@pytest.mark.parametrize(
    "answer",
    [
        [1, -2, 3],
        (1.0, -2.0, 3.0),
        np.array([1, -2, 3]),
        torch.tensor([1, -2, 3]),
        torch.tensor([1.0, -2.0, 3.0], requires_grad=True),
        [torch.tensor(1.0), torch.tensor(-2.0, requires_grad=True), 3],
        torch.tensor([1.0, -2.0, 3.0], dtype=torch.float16),
        [1.0004, -2.0, 3.0],
    ],
)
def test_a_right_answer_is_accepted_in_each_form(answer, capsys):
    """List, tuple, array, tensor of any dtype, with or without a gradient, rounded a little."""
    judge(answer)
    assert capsys.readouterr().out == "Right. So it is.\n"


@pytest.mark.parametrize(
    "answer", [2, 2.0, np.float32(2), torch.tensor(2.0), torch.tensor([[2]]), [2]]
)
def test_one_number_is_accepted_in_each_form(answer, capsys):
    """A number may come as a tensor with one element of any shape."""
    judge_numbers(answer, 2.0, right="")
    assert capsys.readouterr().out == "Right.\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([-1, 2, -3], "wrong sign"),
        ([2, -4, 6], "All your numbers are wrong by one common factor"),
        ([0.5, -1, 1.5], "All your numbers are wrong by one common factor"),
        ([1, -2], "has 2 numbers, the right one has 3"),
        (7.0, "has 1 number, the right one has 3"),
        ([1, -2, float("nan")], "contains nan"),
        ([1, -2, 4], r"1 of 3 numbers are wrong; the first is number 2 .*too large"),
        ([0, -3, 3], r"2 of 3 numbers are wrong; the first is number 0 .*too small"),
        ([1, -3, 3], r"the first is number 1 .*too far below 0"),
        ([1, -1, 3], r"the first is number 1 .*not far enough below 0"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(answer, message):
    """The message says how it differs, and does not give the answer away."""
    with pytest.raises(WrongAnswer, match=message):
        judge(answer)


@pytest.mark.parametrize(("answer", "message"), [(3.5, "too large"), (-5.0, "too small")])
def test_a_wrong_number_is_told_its_side(answer, message):
    """One number is too large or too small."""
    with pytest.raises(WrongAnswer, match=message):
        judge_numbers(answer, torch.tensor(0.0), right="")


@given(
    st.floats(-1e3, 1e3),
    st.floats(-1e3, 1e3),
    st.floats(0.01, 0.9) | st.floats(1.1, 100),
    st.floats(0.01, 0.9) | st.floats(1.1, 100),
)
def test_no_wrong_guess_and_a_division_give_the_number_away(guess, other, factor, second):
    """A message for one number depends on its side and sign alone: 3.571 is in none."""

    def message(answer, expected):
        try:
            judge_numbers(answer, expected, right="", tolerance=1e-9)
        except WrongAnswer as wrong:
            return str(wrong)
        return "Right"

    messages = {message(guess, guess * factor), message(other, other * second)}
    assert not any(re.search(r"\d", one.replace("0", "")) for one in messages)
    assert messages <= {
        "Right",
        "Your answer is too large.",
        "Your answer is too small.",
        "Your answer is too far below 0.",
        "Your answer is not far enough below 0.",
    }


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.571])
def test_a_common_factor_is_mentioned_but_not_its_size(factor):
    """One wrong guess of several numbers must not give all of them away."""
    with pytest.raises(WrongAnswer) as caught:
        judge([factor, -2 * factor, 3 * factor])
    assert str(caught.value) == "All your numbers are wrong by one common factor."


@pytest.mark.parametrize("answer", [104, 104.0, torch.tensor(104), np.int64(104)])
def test_a_count_is_right_as_an_integer(answer, capsys):
    """Of any type."""
    judge_numbers(answer, 104, right="", counts=True)
    assert capsys.readouterr().out == "Right.\n"


def test_a_known_mistake_in_counting_need_not_be_an_integer():
    """Rows divided by the size of a window, say: the mistake is named first."""
    with pytest.raises(WrongAnswer, match="part of a step"):
        judge_numbers(7.8125, 8, right="", counts=True, mistakes={"part of a step": 7.8125})


@pytest.mark.parametrize(
    ("answer", "message"),
    [(104.1, "whole number"), (104.0004, "whole number"), (105, "too large"), (103, "too small")],
)
def test_a_count_that_is_close_is_wrong(answer, message):
    """5.004 nodes are not 5."""
    with pytest.raises(WrongAnswer, match=message):
        judge_numbers(answer, 104, right="", counts=True)


def test_a_known_mistake_has_its_own_message():
    """It comes before the general ones."""
    with pytest.raises(WrongAnswer, match=r"^You forgot to clear\.$"):
        judge([2, -4, 6], mistakes={"You forgot to clear.": torch.tensor([2.0, -4.0, 6.0])})


def test_a_matrix_must_have_its_shape():
    """The numbers in another arrangement are not the answer; a flat list of one row is fine."""
    with pytest.raises(WrongAnswer, match=r"shape \(3, 2\), the right one \(2, 3\)"):
        judge(torch.arange(6.0).reshape(3, 2), expected=[[0.0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "answer", ["2", b"2", None, True, print, {"a": 1}, object(), [1, "x", 3], [[1], [1, 2]]]
)
def test_something_without_numbers_is_a_type_error(answer):
    """The message shows what came."""
    with pytest.raises(TypeError, match="expected a number, a list or a tensor, got"):
        judge(answer)


def test_none_is_asked_about_backward():
    """The usual cause of a gradient that is None."""
    with pytest.raises(TypeError, match=r"None \(was backward\(\) called\?\)"):
        judge(torch.ones(3, requires_grad=True).grad)


def test_complex_numbers_are_refused():
    """No exercise has a complex answer."""
    with pytest.raises(TypeError, match="real numbers"):
        judge(torch.ones(3, dtype=torch.cfloat))


def test_no_answer_yet_is_no_error(capsys):
    """The exercise as it stands on the page runs."""
    judge(...)
    judge_word(..., "a", right="", options=("a", "b"))
    judge_flags(..., {"a": True}, right="", reasons={})
    assert answer_function(..., "(x)") is None
    assert unanswered(...)
    assert not unanswered(None)
    assert capsys.readouterr().out.count("No answer yet") == 5


@given(
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=5),
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=5),
    st.sampled_from([1e-3, 1e-9, 1e-12]),
)
def test_every_pair_of_lists_is_judged(answer, expected, tolerance):
    """Right or a WrongAnswer with a message, never another error."""
    wanted = torch.tensor(expected, dtype=torch.float64)
    message = None
    try:
        judge_numbers(answer, wanted, right="", tolerance=tolerance)
    except WrongAnswer as wrong:
        message = str(wrong)
    assert message != ""
    if message is None:
        given_ = torch.tensor(answer, dtype=torch.float64)
        assert torch.allclose(given_, wanted, rtol=2 * tolerance, atol=2e-3 * tolerance)


def word(answer):
    """An exercise whose answer is a word."""
    judge_word(
        answer,
        "view",
        right="It shares memory.",
        options=("view", "copy", "error"),
        mistakes={"copy": "Look at data_ptr()."},
    )


@pytest.mark.parametrize("answer", ["view", " View ", "'view'"])
def test_a_word_is_accepted_without_regard_to_its_form(answer, capsys):
    """Case, blanks and quotes do not matter."""
    word(answer)
    assert capsys.readouterr().out == "Right. It shares memory.\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [("copy", "Look at data_ptr"), ("error", "is not it"), ("tree", "is not one of 'view'")],
)
def test_a_wrong_word_is_told_why(answer, message):
    """A known mistake, another option, and no option at all."""
    with pytest.raises(WrongAnswer, match=message):
        word(answer)


YES = ["yes", "YES ", "'yes'", True, "True", "true", 1, 1.0, np.True_, torch.tensor(True)]
NO = ["no", " No", False, "False", "false", 0, 0.0, np.False_, torch.tensor(0)]


@pytest.mark.parametrize(
    ("answer", "word", "flag"),
    [(yes, "yes", True) for yes in YES] + [(no, "no", False) for no in NO],
)
def test_yes_and_true_are_taken_alike(answer, word, flag, capsys):
    """Alone where a word is asked for, and in a list where several flags are."""
    judge_word(answer, word, right="", options=("yes", "no"))
    judge_flags([answer, answer], {"a": flag, "b": flag}, right="", reasons={})
    assert capsys.readouterr().out == "Right.\nRight.\n"
    with pytest.raises(WrongAnswer):
        judge_word(answer, "no" if flag else "yes", right="", options=("yes", "no"))


def test_a_wrong_flag_is_named_with_its_reason():
    """One wrong flag has its reason; of several the first has, and they are counted."""
    reasons = {"a": "it was asked", "b": "it is a constant", "c": "it is a sum"}

    def flags(*answer):
        judge_flags(answer, {"a": True, "b": False, "c": True}, right="", reasons=reasons)

    with pytest.raises(WrongAnswer, match=r"^b is wrong: it is a constant\.$"):
        flags(True, True, True)
    with pytest.raises(WrongAnswer, match=r"^2 are wrong; the first is b: it is a constant\.$"):
        flags(True, True, False)
    with pytest.raises(WrongAnswer, match="has 1 entry; 3 are asked for: a to c"):
        flags(True)
    for bad in ((None, True, True), ("maybe", True, True), (2, True, True)):
        with pytest.raises(TypeError, match="expected a list of True and False"):
            flags(*bad)


@pytest.mark.parametrize(
    "answer",
    ["AC", "ca", "A, C", "A and C", "a AND c", "A & C", "A, and C.", ["A", "C"], {"a", "C"}, "AAC"],
)
def test_letters_are_read_in_each_form(answer):
    """Case, order, "and", commas and the container do not matter."""
    assert read_letters(answer, "ABCD") == {"A", "C"}


@pytest.mark.parametrize("answer", ["", "none", [], " "])
def test_no_letter_is_an_answer(answer):
    """None of them is a possible answer."""
    assert read_letters(answer, "ABCD") == set()


def test_letters_are_returned_as_the_exercise_writes_them():
    """A small letter for small options."""
    assert read_letters("A and D", ["a", "b", "d"]) == {"a", "d"}
    with pytest.raises(WrongAnswer, match="'C' is not one of a, b, d"):
        read_letters("a c", ["a", "b", "d"])


@pytest.mark.parametrize("answer", [3, None, [1, 2], True, torch.ones(2)])
def test_letters_must_be_letters(answer):
    """A number or a tensor is none."""
    with pytest.raises(TypeError, match="expected letters"):
        read_letters(answer, "AB")


def test_a_word_must_be_a_string():
    """A number is no word."""
    with pytest.raises(TypeError, match="expected one of 'view', 'copy', 'error', got int"):
        word(3)


def test_a_function_is_returned_and_its_result_is_refused():
    """Learners call it by mistake: the message says to give its name."""
    assert answer_function(print, "(x)") is print
    with pytest.raises(TypeError, match="without calling it"):
        answer_function(3.0, "(x)")


def test_a_notebook_shows_the_message_alone():
    """IPython prints what _render_traceback_ returns: a learner needs no stack."""
    with pytest.raises(WrongAnswer) as caught:
        judge([0, 0, 0])
    (line,) = caught.value._render_traceback_()
    assert line == f"Not yet. {caught.value}"
