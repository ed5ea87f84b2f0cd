"""The checks of the page *A custom Function with your own backward*."""

import pytest
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gradbook import check
from gradbook.check import WrongAnswer


@pytest.mark.parametrize("answer", ["B", "b", " B "])
def test_the_fault_of_the_report_is_accepted(answer, capsys):
    """Case and blanks do not matter."""
    check.custom_function.report(answer)
    assert "Right. Yours is the measured one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("A", "a factor would change all"),
        ("C", "a path that is cut off leaves zeros"),
        ("D", "not one of the last digits"),
        ("E", "is not one of"),
    ],
)
def test_another_fault_is_told_how_it_would_look(answer, message):
    """Each of the other letters has its reason."""
    with pytest.raises(WrongAnswer, match=message):
        check.custom_function.report(answer)


class Scale(Function):
    """The right one; the others differ from it."""

    @staticmethod
    def forward(x, factor):
        """Give a new tensor with the values of x."""
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Keep the factor."""
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx, gradient):
        """Scale."""
        return ctx.factor * gradient, None


def scale_with(name, method):
    """A Function that differs from the right one in one method."""
    return type("Other", (Scale,), {name: staticmethod(method)})


class OldStyle(Function):
    """Right, in the form without setup_context."""

    @staticmethod
    def forward(ctx, x, factor):
        """Keep the factor here."""
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        """Scale."""
        return ctx.factor * gradient, None


def test_a_scaled_gradient_is_accepted(capsys):
    """Values stay, the gradient is scaled."""
    check.custom_function.scale_gradient(Scale)
    assert "Right. The values stay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (OldStyle, "Right, but torch.func.grad raises"),
        (scale_with("forward", lambda x, factor: x * factor), "the factor is for the gradient"),
        (scale_with("forward", lambda x, factor: (x.clone(), x.clone())), "must return a tensor"),
        (scale_with("backward", lambda ctx, g: ctx.factor * g), "None for the factor"),
        (scale_with("backward", lambda ctx, g: (g, None)), "is not scaled"),
        (scale_with("backward", lambda ctx, g: (ctx.factor**2 * g, None)), "with factor 3 came as"),
        (
            scale_with("backward", lambda ctx, g: (g.mul_(ctx.factor), None)),
            "Another tensor got the scaled gradient",
        ),
    ],
)
def test_a_wrong_scale_is_told_why(answer, message):
    """The old form, a factor in forward, a missing None and an edit in place have messages."""
    with pytest.raises(WrongAnswer, match=message):
        check.custom_function.scale_gradient(answer)


class Sigmoid(Function):
    """The right one; the others differ from it."""

    @staticmethod
    def forward(x):
        """Compute."""
        return torch.sigmoid(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save the output."""
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, gradient):
        """Use the output."""
        (s,) = ctx.saved_tensors
        return gradient * s * (1 - s)


class OfInput(Sigmoid):
    """Save the input instead."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save the input."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        """Compute again."""
        s = torch.sigmoid(*ctx.saved_tensors)
        return gradient * s * (1 - s)


class Both(OfInput):
    """Save input and output."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save both."""
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx, gradient):
        """Use the output."""
        _, s = ctx.saved_tensors
        return gradient * s * (1 - s)


class Attribute(Sigmoid):
    """Keep the output as an attribute."""

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Keep it on ctx."""
        ctx.s = output

    @staticmethod
    def backward(ctx, gradient):
        """Use the attribute."""
        return gradient * ctx.s * (1 - ctx.s)


class Intermediate(Function):
    """Save something that forward computed on the way."""

    @staticmethod
    def forward(ctx, x):
        """Save the slope."""
        s = torch.sigmoid(x)
        ctx.save_for_backward(s * (1 - s))
        return s

    @staticmethod
    def backward(ctx, gradient):
        """Use the slope."""
        (slope,) = ctx.saved_tensors
        return gradient * slope


class Once(Sigmoid):
    """Differentiable once."""

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """Use the output, without a graph."""
        (s,) = ctx.saved_tensors
        return gradient * s * (1 - s)


class WrongSlope(Sigmoid):
    """Forget a factor."""

    @staticmethod
    def backward(ctx, gradient):
        """Forget 1 - s."""
        (s,) = ctx.saved_tensors
        return gradient * s


class NoChain(Sigmoid):
    """Forget the gradient that comes in."""

    @staticmethod
    def backward(ctx, gradient):
        """Give the local derivative alone."""
        (s,) = ctx.saved_tensors
        return s * (1 - s)


class Tanh(Sigmoid):
    """Another function."""

    @staticmethod
    def forward(x):
        """Compute something else."""
        return torch.tanh(x)


def test_a_saved_result_is_accepted(capsys):
    """The output, through save_for_backward."""
    check.custom_function.sigmoid(Sigmoid)
    assert "Right. The result is enough" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (OfInput, "It saves the input"),
        (Both, "It keeps 2 tensors"),
        (Attribute, "goes unnoticed"),
        (Intermediate, "The second derivative is wrong"),
        (Once, "The second derivative is wrong"),
        (WrongSlope, "The first derivative is wrong"),
        (NoChain, "The first derivative is wrong"),
        (Tanh, "The values are not those"),
    ],
)
def test_a_wrong_sigmoid_is_told_why(answer, message):
    """What it keeps, how, and each derivative have messages."""
    with pytest.raises(WrongAnswer, match=message):
        check.custom_function.sigmoid(answer)


@pytest.mark.parametrize("exercise", ["scale_gradient", "sigmoid"])
@pytest.mark.parametrize("answer", [Sigmoid.apply, 3, torch.nn.Linear])
def test_the_class_itself_is_wanted(exercise, answer):
    """Not its apply, and no other class."""
    with pytest.raises(
        TypeError, match=r"expected your class, made from torch\.autograd\.Function"
    ):
        getattr(check.custom_function, exercise)(answer)


@pytest.mark.parametrize("exercise", ["report", "scale_gradient", "sigmoid"])
def test_three_dots_are_no_answer(exercise, capsys):
    """An exercise that nobody has tried yet raises nothing."""
    getattr(check.custom_function, exercise)(...)
    assert "No answer yet" in capsys.readouterr().out
