"""Messages of torch.utils.checkpoint."""

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)


def w40_use_reentrant_not_given():
    """There are two variants; which one is meant has to be said."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(torch.exp, x)


def cure_w40():
    """Say it."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(torch.exp, x, use_reentrant=False).sum().backward()
    assert x.grad.equal(x.exp())


def w41_reentrant_without_inputs_in_the_graph():
    """The input requires no gradient: the parameters inside will get none."""
    block = nn.Linear(3, 3)
    checkpoint(block, torch.ones(1, 3), use_reentrant=True)


def cure_w41():
    """The other variant looks at the parameters too."""
    block = nn.Linear(3, 3)
    checkpoint(block, torch.ones(1, 3), use_reentrant=False).sum().backward()
    assert block.bias.grad.tolist() == [1, 1, 1]


def e180_autograd_grad_through_a_reentrant_checkpoint():
    """The reentrant variant only works with a plain backward()."""
    x = torch.ones(3, requires_grad=True)
    out = checkpoint(torch.exp, x, use_reentrant=True)
    torch.autograd.grad(out.sum(), x)


def cure_e180():
    """The other variant works with both."""
    x = torch.ones(3, requires_grad=True)
    out = checkpoint(torch.exp, x, use_reentrant=False)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.equal(x.exp())


def e181_recomputed_tensors_differ():
    """The block depends on something that changed between forward and backward."""
    sizes = iter([3, 2])

    def block(x):
        return x[: next(sizes)].exp()

    x = torch.ones(3, requires_grad=True)
    out = checkpoint(block, x, use_reentrant=False)
    out.sum().backward()


def cure_e181():
    """Pass it in."""

    def block(x, size):
        return x[:size].exp()

    x = torch.ones(3, requires_grad=True)
    checkpoint(block, x, 2, use_reentrant=False).sum().backward()
    assert x.grad[2] == 0


def e182_recomputation_takes_another_path():
    """The recomputation runs other operations."""
    first = iter([True, False])

    def block(x):
        return x.exp().exp() if next(first) else x.exp()

    x = torch.ones(3, requires_grad=True)
    checkpoint(block, x, use_reentrant=False).sum().backward()


def cure_e182():
    """Decide outside."""

    def block(x, twice):
        return x.exp().exp() if twice else x.exp()

    x = torch.ones(3, requires_grad=True)
    checkpoint(block, x, True, use_reentrant=False).sum().backward()
    assert x.grad.allclose(x.exp().exp() * x.exp())


def e184_nothing_inside_requires_grad():
    """The recomputed block has no graph."""
    x = torch.ones(3, requires_grad=True)
    out = checkpoint(lambda x: x.detach() * 2, x, use_reentrant=True)
    out.sum().backward()


def cure_e184():
    """A block without graph needs no checkpoint."""
    x = torch.ones(3, requires_grad=True)
    assert not (x.detach() * 2).requires_grad


def e185_debug_with_the_reentrant_variant():
    """The argument debug belongs to the other variant."""
    checkpoint(torch.exp, torch.ones(3), use_reentrant=True, debug=True)


def cure_e185():
    """Choose the other variant."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(torch.exp, x, use_reentrant=False, debug=True).sum().backward()
    assert x.grad.equal(x.exp())


class ReadsTwice(torch.autograd.Function):
    """Reads ctx.saved_tensors twice."""

    @staticmethod
    def forward(ctx, x):
        """Square."""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        """Read it twice."""
        return gradient * ctx.saved_tensors[0] + gradient * ctx.saved_tensors[0]


def e186_saved_tensors_read_twice():
    """Each read would recompute the block."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(ReadsTwice.apply, x, use_reentrant=False).sum().backward()


class ReadsOnce(ReadsTwice):
    """Reads ctx.saved_tensors once."""

    @staticmethod
    def backward(ctx, gradient):
        """Read it once."""
        (x,) = ctx.saved_tensors
        return 2 * gradient * x


def cure_e186():
    """Read them once."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(ReadsOnce.apply, x, use_reentrant=False).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def e187_keyword_for_the_reentrant_variant():
    """The reentrant variant passes no keywords on."""
    checkpoint(lambda x, k: x * k, torch.ones(3, requires_grad=True), use_reentrant=True, k=2)


def cure_e187():
    """The other variant does."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(lambda x, k: x * k, x, use_reentrant=False, k=2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def contexts():
    """Keep the result of every exp()."""

    def policy(context, operation, *arguments, **keywords):
        keep = operation is torch.ops.aten.exp.default
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)


def e188_second_backward_of_a_selective_checkpoint():
    """What it kept is used up by the first backward."""
    x = torch.ones(3, requires_grad=True)
    out = checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False, context_fn=contexts)
    out.sum().backward(retain_graph=True)
    out.sum().backward()


def cure_e188():
    """One backward."""
    x = torch.ones(3, requires_grad=True)
    out = checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False, context_fn=contexts)
    (2 * out.sum()).backward()
    assert x.grad.allclose(2 * x.exp().cos() * x.exp())


def keep_all():
    """A policy that keeps every result."""
    return create_selective_checkpoint_contexts(lambda *_, **__: CheckpointPolicy.MUST_SAVE)


def e367_kept_tensor_is_changed():
    """The kept sine is changed in place."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(
        lambda x: x.sin().add_(1).exp(), x, use_reentrant=False, context_fn=keep_all
    ).sum().backward()


def cure_e367():
    """A new tensor."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(
        lambda x: x.sin().add(1).exp(), x, use_reentrant=False, context_fn=keep_all
    ).sum().backward()
    point = x.detach()
    torch.testing.assert_close(x.grad, point.cos() * (point.sin() + 1).exp())


class RoundsTheSecondTime:
    """A counter decides what is computed."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        """Round, from the second call on."""
        self.calls += 1
        y = x.sin()
        return (y.floor() if self.calls > 1 else y).exp()


def keep_floor():
    """A policy that keeps what `floor` gives."""
    return create_selective_checkpoint_contexts([torch.ops.aten.floor.default])


def e377_selective_checkpoint_meets_a_new_operation():
    """The recomputation asks for a kept result that the forward pass never had."""
    x = torch.ones(3, requires_grad=True)
    block = RoundsTheSecondTime()
    checkpoint(block, x, use_reentrant=False, context_fn=keep_floor).sum().backward()


def cure_e377():
    """The same path both times."""
    x = torch.ones(3, requires_grad=True)
    checkpoint(
        lambda x: x.sin().floor().exp(), x, use_reentrant=False, context_fn=keep_floor
    ).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
