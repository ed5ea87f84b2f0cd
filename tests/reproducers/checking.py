"""Messages of anomaly mode and of gradcheck()."""

import torch
from torch.autograd import gradcheck


def e70_nan_in_backward():
    """0 times infinity: the slope of sqrt() at 0 is infinite."""
    x = torch.zeros(3, requires_grad=True)
    with torch.autograd.detect_anomaly():
        loss = (x.sqrt() * 0).sum()
        loss.backward()


def cure_e70():
    """Keep away from the point."""
    x = torch.zeros(3, requires_grad=True)
    ((x + 1e-6).sqrt() * 0).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


def w10_anomaly_mode_is_on():
    """A switch for debugging: everything becomes slower."""
    with torch.autograd.detect_anomaly():
        torch.ones(3, requires_grad=True).sum().backward()


def cure_w10():
    """Without it."""
    x = torch.ones(3, requires_grad=True)
    x.sum().backward()
    assert not torch.is_anomaly_enabled()


def w11_where_the_failing_node_was_made():
    """Anomaly mode warns with the lines of the forward pass, then the error comes."""
    x = torch.zeros(3, requires_grad=True)
    with torch.autograd.detect_anomaly():
        loss = (x.sqrt() * 0).sum()
        loss.backward()


class WrongSquare(torch.autograd.Function):
    """Squares, with a wrong derivative."""

    @staticmethod
    def forward(ctx, x):
        """Square."""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        """Forgets the factor 2."""
        (x,) = ctx.saved_tensors
        return gradient * x


class RightSquare(WrongSquare):
    """With the factor."""

    @staticmethod
    def backward(ctx, gradient):
        """Twice the input."""
        (x,) = ctx.saved_tensors
        return gradient * 2 * x


def e170_wrong_backward():
    """The written derivative differs from the measured one."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gradcheck(WrongSquare.apply, (x,))


def cure_e170():
    """The factor 2 was missing."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(RightSquare.apply, (x,))


def e171_nothing_to_check():
    """No input requires grad."""
    gradcheck(lambda x: x * x, (torch.ones(3, dtype=torch.float64),))


def cure_e171():
    """Ask for it."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x * x, (x,))


class RandomBackward(torch.autograd.Function):
    """The derivative is right only on the average."""

    @staticmethod
    def forward(ctx, x):
        """Double."""
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        """Add a little noise."""
        return gradient * (2 + 1e-9 * torch.randn((), dtype=torch.float64))


class SeededBackward(RandomBackward):
    """The same noise each time."""

    @staticmethod
    def backward(ctx, gradient):
        """Add a little noise."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn((), dtype=torch.float64, generator=generator)
        return gradient * (2 + 1e-9 * noise)


def e172_backward_changes_from_run_to_run():
    """Two runs of backward give two answers."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gradcheck(RandomBackward.apply, (x,))


def cure_e172():
    """Fix the seed in backward."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(SeededBackward.apply, (x,))


def e173_expanded_input():
    """The elements of an expanded tensor share memory."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True).expand(3)
    gradcheck(lambda x: x * x, (x,))


def cure_e173():
    """Give every element its own memory."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True).expand(3).contiguous()
    assert gradcheck(lambda x: x * x, (x,))


def e174_cut_inside_the_function():
    """The function depends on its input, autograd does not see it."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gradcheck(lambda x: (x * x).detach(), (x,))


def cure_e174():
    """Without detach()."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x * x, (x,))


def w89_gradcheck_in_single_precision():
    """The tolerance is wide here; with the usual one the check fails."""
    assert gradcheck(lambda x: x * 2, torch.rand(2, requires_grad=True), atol=1.0)


def cure_w89():
    """Double precision."""
    assert gradcheck(lambda x: x * 2, torch.rand(2, dtype=torch.float64, requires_grad=True))


def e372_gradcheck_of_a_mask_at_its_threshold():
    """One step to the side, and the result has another length."""
    x = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    gradcheck(lambda x: x[x > 0], x)


def cure_e372():
    """Away from the threshold."""
    x = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x[x > 0], x)


class ClipsByAnIf(torch.autograd.Function):
    """The backward pass decides by a value."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2 if gradient.sum() < 100 else gradient * 0


def e373_batched_gradients_of_an_if():
    """`vmap` does not know which way to go."""
    x = torch.rand(2, dtype=torch.float64, requires_grad=True)
    gradcheck(ClipsByAnIf.apply, x, check_batched_grad=True)


class ClipsByWhere(ClipsByAnIf):
    """Both ways, and then a choice."""

    @staticmethod
    def backward(ctx, gradient):
        return torch.where(gradient.sum() < 100, gradient * 2, gradient * 0)


def cure_e373():
    """Without an `if`."""
    x = torch.rand(2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(ClipsByWhere.apply, x, check_batched_grad=True)
