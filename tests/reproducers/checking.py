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


def e170_wrong_backward():
    """The written derivative differs from the measured one."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gradcheck(WrongSquare.apply, (x,))


def cure_e170():
    """The right derivative passes."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x * x, (x,))


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


def e172_backward_changes_from_run_to_run():
    """Two runs of backward give two answers."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gradcheck(RandomBackward.apply, (x,))


def cure_e172():
    """Say how much noise is allowed."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(RandomBackward.apply, (x,), nondet_tol=1e-7)


def e173_expanded_input():
    """The elements of an expanded tensor share memory."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True).expand(3)
    gradcheck(lambda x: x * x, (x,))


def cure_e173():
    """Give every element its own memory."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x * x, (x,))


def e174_cut_inside_the_function():
    """The function depends on its input, autograd does not see it."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    gradcheck(lambda x: (x * x).detach(), (x,))


def cure_e174():
    """Without detach()."""
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: x * x, (x,))
