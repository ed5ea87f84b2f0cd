"""Messages of autograd, raised by other calls than those of tests/reproducers."""

import copy
import linecache
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradbook import explain

# The entry was written down before `explain` was asked. `x` is a leaf of three ones, `y` a result
# of it, `w` a leaf of shape (2, 3).

FORMS = {
    # backward() and autograd.grad()
    "torch.autograd.backward((torch.ones(()),))": "no-graph",
    "torch.autograd.grad(torch.ones(()) * 2, x)": "no-graph",
    "torch.autograd.functional.vjp(lambda t: t.detach(), x, torch.ones(3), strict=True)": (
        "strict-independent"
    ),
    "torch.autograd.grad(outputs=y, inputs=x)": "non-scalar-backward",
    "F.mse_loss(y, torch.zeros(3), reduction='none').backward()": "non-scalar-backward",
    "loss = y.exp().sum(); torch.autograd.grad(loss, x); loss.backward()": "graph-freed",
    "z = y.exp(); z.sum().backward(); z.grad_fn.saved_tensors if 0 else z.grad_fn._saved_result": (
        "graph-freed"
    ),
    "torch.autograd.grad([y.sum(), y.prod()], (x, w))": "input-unused",
    "y.sum().backward(inputs=[torch.ones(3)])": "retain-grad-without-graph",
    "torch.autograd.grad(y, x, grad_outputs=torch.ones(4))": "grad-output-shape",
    "torch.autograd.backward(y, torch.ones(3, 1))": "grad-output-shape",
    "torch.autograd.grad(y.sum(), x, grad_outputs=[1.0])": "grad-output-type",
    "torch.autograd.backward([y.sum(), y.prod()], [torch.ones(())])": "grad-outputs-count",
    "(y * 1j).sum().backward()": "complex-backward",
    "{'loss': y.sum()}.backward()": "loss-not-a-tensor",
    "(y.sum() if False else None).backward()": "loss-not-a-tensor",
    "next(iter(x.grad))": "grad-is-none",
    "x.grad.data.norm()": "grad-is-none",
    # tensors
    "torch.arange(3, requires_grad=True)": "integer-requires-grad",
    "t = torch.zeros(3, dtype=torch.long); t.requires_grad = True": "integer-requires-grad",
    "nn.ParameterList([torch.tensor([1])])": "integer-requires-grad",
    "y.requires_grad = False": "requires-grad-of-non-leaf",
    "np.asarray(y)": "numpy-needs-detach",
    "y.tolist() and y.numpy()": "numpy-needs-detach",
    "copy.deepcopy({'state': y})": "deepcopy-non-leaf",
    "x.map_(torch.ones(3), lambda a, b: a)": "apply-needs-detach",
    "p = nn.Parameter(torch.ones(3)); p.data = torch.ones(3, dtype=torch.int64)": (
        "data-of-another-kind"
    ),
    "x.grad = torch.ones(4)": "grad-of-another-kind",
    "x.grad = [0.0, 0.0, 0.0]": "grad-not-a-tensor",
    "x.detach().retain_grad()": "retain-grad-without-graph",
    "t = inferred(); F.linear(t, w)": "inference-tensor-in-graph",
    "inferred().mul_(2)": "inference-tensor-in-place",
    "nn.Parameter(inferred()).sum().backward()": "inference-tensor-requires-grad",
    # in-place
    "F.relu_(x)": "leaf-in-place",
    "x.copy_(y)": "leaf-in-place",
    "nn.Dropout(0.5, inplace=True)(x)": "leaf-in-place",
    "w[:, 0].zero_()": "view-of-leaf-in-place",
    "w.view(-1).add_(1)": "view-of-leaf-in-place",
    "w.T.mul_(2)": "view-of-leaf-in-place",
    "w[w > 0] = 0": "leaf-in-place",
    "z = y.tanh(); z.mul_(2); z.sum().backward()": "modified-in-place",
    "for row in (w * 2): row += 1": "multi-view-in-place",
    "torch.split(y, 1)[0].zero_()": "multi-view-in-place",
    "torch.add(x, 1, out=torch.empty(3))": "out-argument",
    "y[:2].detach_()": "detach-view-in-place",
    "(x[:1] * 2).expand(3).mul_(2)": "expanded-in-place",
    "x.resize_as_(w)": "resize-needs-detach",
    # derivatives
    "torch.bucketize(y, y.detach()).sum().backward()": "no-graph",
    "F.nll_loss(w.detach(), torch.tensor([0, 1]), weight=x)": "argument-not-differentiable",
    "with torch.autograd.detect_anomaly(check_nan=True): (0 * (x - 1).log()).sum().backward()": (
        "anomaly-nan"
    ),
    "torch.autograd.gradcheck(torch.sin, torch.ones(3, dtype=torch.float64))": "gradcheck-no-input",
    # hooks
    "y.register_hook(lambda g: 'text'); y.sum().backward()": "hook-returned-wrong-type",
    "y.register_hook(lambda g: g[:1]); y.sum().backward()": "hook-changed-kind",
    "y.detach().register_hook(print)": "hook-without-graph",
    "y.register_post_accumulate_grad_hook(print)": "accumulate-hook-on-non-leaf",
    # custom Functions
    "Square.apply(x, 2).sum().backward()": "function-gradient-count",
    "Fixed.apply(x).sum().backward()": "function-gradient-shape",
    "Square.apply(x)": "function-forward-arguments",
    "torch.func.vmap(lambda t: Fixed.apply(t))(w)": "function-without-setup-context",
    # Jacobians, forward mode, torch.func, vmap
    "torch.autograd.forward_ad.make_dual(x, x)": "dual-without-level",
    "torch.autograd.functional.hvp(torch.exp, torch.ones(2), torch.ones(2))": "hessian-non-scalar",
    "torch.autograd.functional.vhp(lambda t: t.sum(), torch.ones(2))": "vjp-without-v",
    "torch.func.grad_and_value(torch.exp)(torch.ones(2))": "func-grad-non-scalar",
    "torch.func.grad(lambda t: t.sum().item())(torch.ones(2))": "func-grad-not-a-tensor",
    "torch.func.vmap(lambda t: t * float(t.sum()))(torch.ones(2, 3))": "vmap-item",
    "torch.func.vmap(lambda t: t if t.any() else -t)(torch.ones(2, 3))": "vmap-control-flow",
    "torch.func.vmap(lambda t: F.dropout(t))(torch.ones(2, 3))": "vmap-random",
    "torch.func.vmap(torch.nonzero)(torch.ones(2, 3))": "vmap-dynamic-shape",
    "torch.func.vmap(torch.sin)(3.0)": "vmap-inputs",
    "torch.func.vmap(torch.sin, in_dims=1)(torch.ones(2))": "vmap-dimensions",
    "torch.func.vmap(lambda t: (t, 'name'))(torch.ones(2, 3))": "vmap-returns-non-tensor",
    "torch.func.vjp(torch.sin, torch.ones(2))[1]((torch.ones(2), torch.ones(2)))": "vjp-structure",
    "torch.func.grad(lambda a: a.sum(), argnums=2)(torch.ones(2))": "argnums-out-of-range",
    # checkpoints
    "torch.autograd.grad(checkpoint(torch.sin, x, use_reentrant=True).sum(), x)": (
        "checkpoint-autograd-grad"
    ),
    "checkpoint(lambda t, k: t * k, x, k=2, use_reentrant=True)": "checkpoint-keywords",
    # modules, optimizers, mixed precision
    "Net().layer.weight = 3.0": "tensor-over-parameter",
    "Early()": "parameter-before-init",
    "torch.optim.AdamW([y])": "optimizer-non-leaf",
    "torch.optim.Adam(iter([]))": "optimizer-empty",
    "torch.optim.Adam(Net().layer.weight)": "optimizer-not-a-list",
    "torch.optim.SGD([x], lr=1).add_param_group({'params': [x]})": "optimizer-duplicate",
    "torch.optim.Adam(Net())": "optimizer-not-a-list",
    "x.grad = torch.full((3,), float('inf')); nn.utils.clip_grad_value_([x], 1); "
    "nn.utils.get_total_norm([x.grad * float('nan')], error_if_nonfinite=True)": "norm-not-finite",
    "Net().load_state_dict({'layer.weight': torch.ones(1, 3)})": "state-dict-mismatch",
    "nn.BatchNorm2d(2)(torch.ones(1, 2, 1, 1))": "batch-norm-of-one",
    "nn.LazyConv2d(2, 3).weight.numel()": "lazy-parameter",
    # shapes and dtypes
    "F.linear(torch.ones(2, 4), w)": "matmul-shapes",
    "w.double() @ x": "dtype-mismatch",
    "F.binary_cross_entropy(torch.full((3,), 2.0), torch.ones(3))": "bce-range",
    "F.binary_cross_entropy(torch.rand(3, 1), torch.ones(3))": "target-size",
    "F.cross_entropy(w, torch.tensor([0, 5]))": "cross-entropy-target",
    "w.item()": "item-of-many",
}

# Python's own words, which say too little: nothing is said of them.
UNKNOWN = {"next(iter(x.grad))", "torch.optim.Adam(Net())"}


class Net(nn.Module):
    """One layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)


class Early(nn.Module):
    """Too early."""

    def __init__(self):
        self.layer = nn.Linear(3, 1)


class Square(torch.autograd.Function):
    """Forgets one of two gradients."""

    @staticmethod
    def forward(ctx, x, k):
        """Multiply."""
        return x * k

    @staticmethod
    def backward(ctx, gradient):
        """One."""
        return gradient


class Fixed(torch.autograd.Function):
    """Its gradient has a shape of its own."""

    @staticmethod
    def forward(ctx, x):
        """Double."""
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        """Seven."""
        return torch.ones(7)


def inferred():
    """A tensor of inference mode."""
    with torch.inference_mode():
        return torch.ones(3)


NAMES = {
    "F": F,
    "Early": Early,
    "Fixed": Fixed,
    "Net": Net,
    "Square": Square,
    "checkpoint": checkpoint,
    "copy": copy,
    "inferred": inferred,
    "nn": nn,
    "np": np,
    "torch": torch,
}


def raised_by(form):
    """The error of a form, with its source, as a program in a file has it."""
    text = "def program(x, y, w):\n    " + form.replace("; ", "\n    ") + "\n"
    name = f"form_{form}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names = dict(NAMES)
    exec(compile(text, name, "exec"), names)
    x, w = torch.ones(3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names["program"](x, x * 2, w)
        except Exception as error:  # any kind may come
            return error
    return None


@pytest.mark.parametrize("form", FORMS)
def test_another_call_raises_the_message_and_gets_its_entry(form):
    """Or nothing, where the words are Python's own and say too little."""
    error = raised_by(form)
    assert error is not None
    expected = "not-recognised" if form in UNKNOWN else FORMS[form]
    assert explain(error).code == expected


def test_nearly_all_are_recognised():
    """At least 48 of 50."""
    assert len(UNKNOWN) <= 0.04 * len(FORMS)
    assert len(FORMS) >= 50


def test_an_input_of_backward_that_requires_no_grad_is_told():
    """The message speaks of retain_grad(), which the program never called."""
    found = explain(raised_by("t = torch.ones(3); y.sum().backward(inputs=[t])"))
    assert found.subject == "t"
    assert "inputs=" in found.because[0]
    assert "Leave it out" in found.cure.splitlines()[0]
