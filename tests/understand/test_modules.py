"""Tests of `gradbook.understand.modules`, through `gradbook.explain`."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradbook import explain
from gradbook.understand import modules
from gradbook.understand.catalogue import BASE_URL, load
from gradbook.understand.modules import in_short


def code_of(program):
    """`all-reached` of `all_reached`, and of `cure_all_reached`."""
    return program.__name__.removeprefix("cure_").replace("_", "-")


class TwoHeads(nn.Module):
    """A trunk, and two heads of which a loss may take one."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(2, 2)
        self.left = nn.Linear(2, 1)
        self.right = nn.Linear(2, 1)

    def forward(self, x):
        x = self.trunk(x)
        return self.left(x), self.right(x)


class Checkpointed(nn.Module):
    """One layer in a checkpoint, one outside."""

    def __init__(self, *, use_reentrant):
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 1)
        self.use_reentrant = use_reentrant

    def forward(self, x):
        x = self.first(x)
        return checkpoint(self.second, x, use_reentrant=self.use_reentrant)


def all_reached():
    """Both heads are in the loss."""
    model = TwoHeads()
    left, right = model(torch.ones(4, 2))
    return explain(model, (left + right).sum())


def some_not_reached():
    """One head is not."""
    model = TwoHeads()
    left, _ = model(torch.ones(4, 2))
    return explain(model, left.sum())


def cure_some_not_reached():
    """Use both heads, or freeze the one."""
    model = TwoHeads()
    left, right = model(torch.ones(4, 2))
    assert explain(model, (left + right).sum()).code == "all-reached"
    model.right.requires_grad_(False)
    assert explain(model, left.sum()).code == "all-reached"


def nothing_reached():
    """The loss comes from elsewhere."""
    model = TwoHeads()
    other = nn.Linear(2, 1)
    return explain(model, other(torch.ones(4, 2)).sum())


def cure_nothing_reached():
    """Computed from the output of this module."""
    model = TwoHeads()
    assert explain(model, sum(model(torch.ones(4, 2))).sum()).code == "all-reached"


def all_frozen():
    """Frozen for fine-tuning, and nothing added."""
    model = nn.Linear(2, 1).requires_grad_(False)
    return explain(model)


def cure_all_frozen():
    """Switched on again."""
    model = nn.Linear(2, 1).requires_grad_(False)
    model.requires_grad_()
    model(torch.ones(4, 2)).sum().backward()
    assert explain(model).code == "all-have-gradients"


def no_parameters():
    """Layers in a Python list are not registered."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(2, 2), nn.Linear(2, 1)]

    model = Model()
    return explain(model)


def cure_no_parameters():
    """A `ModuleList` registers them."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 1)])
            self.scale = nn.Parameter(torch.ones(1))

    assert explain(Model()).details["parameters"] == "5"


def not_initialised():
    """`super().__init__()` was forgotten."""

    class Model(nn.Module):
        def __init__(self):
            self.width = 3

    model = Model()
    return explain(model)


def cure_not_initialised():
    """Called first."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

    assert explain(Model()).code == "no-gradients"


def all_have_gradients():
    """Backward has run."""
    model = nn.Linear(2, 1)
    model(torch.ones(4, 2)).sum().backward()
    return explain(model)


def no_gradients():
    """Backward has not."""
    model = nn.Linear(2, 1)
    return explain(model)


def cure_no_gradients():
    """The loss is held against the module, then backward fills all."""
    model = nn.Linear(2, 1)
    loss = model(torch.ones(4, 2)).sum()
    assert explain(model, loss).code == "all-reached"
    loss.backward()
    assert explain(model).code == "all-have-gradients"


def some_without_gradient():
    """Backward of a loss that takes one head."""
    model = TwoHeads()
    model(torch.ones(4, 2))[0].sum().backward()
    return explain(model)


def cure_some_without_gradient():
    """The loss says which it does not reach."""
    model = TwoHeads()
    loss = model(torch.ones(4, 2))[0].sum()
    loss.backward()
    answer = explain(model, loss)
    assert answer.details["not reached"] == "right.weight, right.bias"
    assert explain(model).details["without a gradient"] == "right.weight, right.bias"


def hidden_by_checkpoint():
    """A reentrant checkpoint inside forward."""
    model = Checkpointed(use_reentrant=True)
    return explain(model, model(torch.ones(4, 2)).sum())


def cure_hidden_by_checkpoint():
    """`.grad` is there after backward; the other variant shows all before."""
    model = Checkpointed(use_reentrant=True)
    model(torch.ones(4, 2)).sum().backward()
    assert explain(model).code == "all-have-gradients"
    model = Checkpointed(use_reentrant=False)
    assert explain(model, model(torch.ones(4, 2)).sum()).code == "all-reached"


def gradients_zero():
    """The activation is dead."""
    model = TwoHeads()
    with torch.no_grad():
        model.trunk.bias.fill_(-100)
    hidden = model.trunk(torch.ones(4, 2)).relu()
    (model.left(hidden) + model.right(hidden)).sum().backward()
    return explain(model)


def cure_gradients_zero():
    """It is alive again."""
    model = TwoHeads()
    with torch.no_grad():
        model.trunk.bias.fill_(100)
    hidden = model.trunk(torch.ones(4, 2)).relu()
    (model.left(hidden) + model.right(hidden)).sum().backward()
    assert explain(model).code == "all-have-gradients"


def gradients_not_finite():
    """The slope of the square root at zero."""
    model = nn.Linear(2, 1, bias=False)
    model(torch.zeros(4, 2)).sqrt().sum().backward()
    return explain(model)


def cure_gradients_not_finite():
    """Away from the corner."""
    model = nn.Linear(2, 1, bias=False)
    (model(torch.ones(4, 2)).square() + 1e-6).sqrt().sum().backward()
    assert explain(model).code == "all-have-gradients"


def not_in_optimizer():
    """A head was replaced after the optimizer was built."""
    model = TwoHeads()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.left = nn.Linear(2, 1)
    sum(model(torch.ones(4, 2))).sum().backward()
    assert optimizer.param_groups
    return explain(model)


def cure_not_in_optimizer():
    """The optimizer is built last."""
    model = TwoHeads()
    model.left = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sum(model(torch.ones(4, 2))).sum().backward()
    assert explain(model).code == "all-have-gradients"
    assert optimizer.param_groups


def attribute_is_no_parameter():
    """The scale is trained by nobody."""
    model = TwoHeads()
    model.scale = torch.ones(1, requires_grad=True)
    loss = (sum(model(torch.ones(4, 2))) * model.scale).sum()
    return explain(model, loss)


def cure_attribute_is_no_parameter():
    """A parameter is listed."""
    model = TwoHeads()
    model.scale = nn.Parameter(torch.ones(1))
    loss = (sum(model(torch.ones(4, 2))) * model.scale).sum()
    answer = explain(model, loss)
    assert answer.code == "all-reached"
    assert "scale" in answer.details["reached"]


MODULES = [
    *(all_reached, some_not_reached, nothing_reached, all_frozen, no_parameters, not_initialised),
    *(all_have_gradients, no_gradients, some_without_gradient, hidden_by_checkpoint),
    *(gradients_zero, gradients_not_finite, not_in_optimizer, attribute_is_no_parameter),
]
MODULE_CURES = [
    *(cure_some_not_reached, cure_nothing_reached, cure_all_frozen, cure_no_parameters),
    *(cure_not_initialised, cure_no_gradients, cure_some_without_gradient),
    *(cure_hidden_by_checkpoint, cure_gradients_zero, cure_gradients_not_finite),
    *(cure_not_in_optimizer, cure_attribute_is_no_parameter),
]


@pytest.mark.parametrize("program", MODULES, ids=code_of)
def test_a_module_gets_its_situation_and_its_name(program):
    """The code, the variable, a fact, and the page of an entry that exists."""
    answer = program()
    assert (answer.code, answer.kind) == (code_of(program), "module")
    assert answer.subject == "model"
    assert answer.because
    clinic = BASE_URL + "clinic/index.html"
    assert answer.url in {clinic, *(entry.url for entry in load().entries)}


@pytest.mark.parametrize("cure", MODULE_CURES, ids=code_of)
def test_the_cure_of_a_module_works(cure):
    """What the explanation tells to do is done."""
    cure()


def test_every_situation_of_a_module_has_a_program_and_a_cure():
    """Where all is well, nothing is to be cured."""
    assert {code_of(program) for program in MODULES} == set(modules._MODULES) - {"sharded"}
    cured = {code for code, one in modules._MODULES.items() if one.cure}
    assert {code_of(cure) for cure in MODULE_CURES} == cured - {"sharded"}  # test_shards.py


def test_reached_frozen_and_missed_are_listed():
    """Each parameter once, with its qualified name."""
    model = TwoHeads()
    model.trunk.weight.requires_grad_(False)
    left, _ = model(torch.ones(4, 2))
    answer = explain(model, left.sum())
    assert answer.because == (
        "3 of 6 are reached: `trunk.bias`, `left`.",
        "2 of 6 are not reached: `right`.",
        "1 of 6 is frozen: `trunk.weight`.",
    )
    assert answer.details["reached"] == "trunk.bias, left.weight, left.bias"
    assert answer.details["reached, without a gradient"] == answer.details["reached"]
    left.sum().backward()
    assert explain(model, left.sum()).details["reached, without a gradient"] == "none"


def test_a_loss_without_graph_reaches_nothing():
    """And it says why."""
    model = nn.Linear(2, 1)
    with torch.no_grad():
        loss = model(torch.ones(4, 2)).sum()
    answer = explain(model, loss)
    assert answer.code == "nothing-reached"
    assert answer.because[0] == "The loss has no graph, so it reaches nothing."


def test_leaves_of_others_are_counted():
    """A weight that was kept outside of the module."""
    model = nn.Linear(2, 1)
    outside = torch.ones(1, requires_grad=True)
    facts = explain(model, (model(torch.ones(4, 2)) * outside).sum()).because
    assert "Leaves in the graph of the loss that are no parameters of this module: 1." in facts


def test_a_shared_parameter_counts_once():
    """Tied weights, with both names."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    answer = explain(model, model(torch.ones(4, 2)).sum())
    assert answer.code == "all-reached"
    assert answer.details["parameters"] == "1"
    assert answer.because == (
        "1 of 1 is reached: `0.weight`.",
        "Shared, and counted once: `1.weight = 0.weight`.",
    )


def test_a_frozen_parameter_with_an_old_gradient_is_told():
    """An optimizer still applies it."""
    model = nn.Linear(2, 1)
    model(torch.ones(4, 2)).sum().backward()
    model.bias.requires_grad_(False)
    assert explain(model).because[-1] == (
        "Frozen, but with a gradient that an optimizer still applies: `bias`."
    )


def test_a_lazy_module():
    """Its parameters have no shape yet; after one forward pass they are usual ones."""
    model = nn.LazyLinear(1)
    answer = explain(model)
    assert answer.code == "no-gradients"
    assert answer.because[-1] == ("Without a shape until the first forward pass: `weight`, `bias`.")
    assert explain(model, model(torch.ones(4, 2)).sum()).code == "all-reached"
    assert explain(model.weight).details["tensor"] == "float32 of shape (1, 2)"


def test_a_wrapped_module():
    """As `DistributedDataParallel` wraps it: the names get a prefix."""

    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x)

    model = Wrapper(nn.Linear(2, 1))
    answer = explain(model, model(torch.ones(4, 2)).sum())
    assert answer.code == "all-reached"
    assert answer.details["reached"] == "module.weight, module.bias"


def test_a_parametrized_module():
    """What is trained is the original behind the computed weight."""
    model = nn.utils.parametrizations.orthogonal(nn.Linear(2, 2))
    answer = explain(model, model(torch.ones(4, 2)).sum())
    assert answer.code == "all-reached"
    assert "parametrizations.weight.original" in answer.details["reached"]


def test_a_module_whose_code_fails():
    """A plain answer."""

    class Broken(nn.Module):
        def named_parameters(self, *_, **__):
            raise LookupError("lost")

    model = Broken()
    answer = explain(model)
    assert (answer.code, answer.kind, answer.subject) == ("not-readable", "module", "model")
    assert answer.because == ("Reading it raises LookupError: lost.",)


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 3), min_size=1), st.sets(st.integers(0, 3)))
def test_reached_parameters_are_those_that_get_a_gradient(used, frozen):
    """Any layers in the loss, any frozen."""
    model = nn.ModuleList(nn.Linear(2, 1) for _ in range(4))
    for number in frozen:
        model[number].requires_grad_(False)
    loss = sum(model[number](torch.ones(3, 2)).sum() for number in used)
    answer = explain(model, loss)
    if loss.requires_grad:
        loss.backward()
    filled = [name for name, one in model.named_parameters() if one.grad is not None]
    assert answer.details.get("reached", "none") == (", ".join(filled) or "none")


# ------------------------------------------------------------------------- where the graph is cut


class Selects(TwoHeads):
    """Uses the positions of the largest values, which have no derivative."""

    def forward(self, x):
        scores = self.trunk(x)
        chosen = scores.topk(1, dim=1).indices
        return self.left(x.gather(1, chosen).expand(-1, 2))


class Copies(TwoHeads):
    """Makes a new tensor from a list of tensors."""

    def forward(self, x):
        parts = [self.trunk(row).sum().item() for row in x]
        return self.left(torch.tensor(parts).reshape(-1, 1).expand(-1, 2))


class Unpacks(TwoHeads):
    """The second value of max is an index."""

    def forward(self, x):
        _, best = self.trunk(x).max(dim=1)
        return self.left(best.float().reshape(-1, 1).expand(-1, 2))


class Freezes(TwoHeads):
    """The trunk runs unrecorded."""

    def forward(self, x):
        with torch.no_grad():
            hidden = self.trunk(x)
        return self.left(hidden)


class Reenters(TwoHeads):
    """A reentrant checkpoint around the trunk; its input is the batch."""

    def forward(self, x):
        hidden = checkpoint(self.trunk, x, use_reentrant=True)
        return self.left(hidden)


class Nested(nn.Module):
    """The cut is in a module inside."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Sequential(Freezes(), nn.Tanh()), nn.Linear(1, 1)

    def forward(self, x):
        return self.head(self.inner(x))


@pytest.mark.parametrize(
    ("kind", "fact"),
    [
        (Selects, "of `Selects.forward` has `.indices`"),
        (Copies, "of `Copies.forward` has `item()`"),
        (Unpacks, "of `Unpacks.forward` has `the indices of self.trunk(x).max(dim=1)`"),
        (Freezes, "of `Freezes.forward` switches recording off: `with torch.no_grad()`"),
        (Reenters, "of `Reenters.forward` is a reentrant checkpoint"),
        (Nested, "of `Freezes.forward` switches recording off: `with torch.no_grad()`"),
    ],
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_the_line_of_forward_that_cuts_is_named(kind, fact):
    """From the source, as for errors; and the module at whose input the graph ends."""
    model = kind()
    loss = model(torch.rand(4, 2)).sum()
    answer = explain(model, loss)
    assert answer.code == "some-not-reached"
    assert any(fact in one for one in answer.because)


def test_the_line_between_the_module_and_the_loss_is_named():
    """The caller has detached."""
    model = TwoHeads()
    left, right = model(torch.ones(4, 2))
    left = left.detach()
    loss = (left + right).sum()
    answer = explain(model, loss)
    assert answer.code == "some-not-reached"
    assert "`left = left.detach()`" in answer.details["cut at"]
    assert any("No gradient passes through `detach()`" in fact for fact in answer.because)


def test_the_module_at_whose_input_the_graph_ends():
    """Its node has no edge where the input's would be."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.early, self.late = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)

        def forward(self, x):
            return self.late(self.early(x).detach())

    model = Net()
    answer = explain(model, model(torch.ones(1, 1, 2, 2)).sum())
    assert answer.details["graph ends at"] == "late"


def test_a_head_that_is_not_used_is_no_cut():
    """Nothing is said of a line where none cuts."""
    model = TwoHeads()
    left, _ = model(torch.ones(4, 2))
    answer = explain(model, left.sum())
    assert not any("No gradient" in fact or "Line" in fact for fact in answer.because)


# -------------------------------------------------------------------------- behind a checkpoint


class Blocks(nn.Module):
    """Some blocks in reentrant checkpoints, given in the ways in which libraries do it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 2)
        self.h = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.embed(x)
        x = checkpoint(self.h[0], x, use_reentrant=True)
        x = checkpoint(self.h[1].forward, x, use_reentrant=True)
        x = checkpoint(functools.partial(self.h[2].__call__), x, use_reentrant=True)
        last = self.h[3]
        return checkpoint(lambda y: last(y) * 1, x, use_reentrant=True)


def test_what_a_checkpoint_holds_is_read():
    """A module, a method, a partial, a closure; what is really left out is told as such."""
    model = Blocks()
    loss = model(torch.ones(1, 2)).sum()
    answer = explain(model, loss)
    assert answer.code == "some-not-reached"
    assert answer.details["reached"] == "embed.weight, embed.bias"
    assert answer.details["not reached"] == "unused.weight, unused.bias"
    assert any("8 of 12 are behind CheckpointFunctionBackward" in one for one in answer.because)
    assert any(one.endswith("only during backward: `h`.") for one in answer.because)
    loss.backward()
    filled = [name for name, one in model.named_parameters() if one.grad is not None]
    assert filled == [name for name in dict(model.named_parameters()) if "unused" not in name]


class RunsAgain(torch.autograd.Function):
    """Runs a backward pass of its own, as checkpoints do."""

    @staticmethod
    def forward(ctx, x, function):
        ctx.function = function
        ctx.save_for_backward(x)
        return function(x)

    @staticmethod
    def backward(ctx, gradient):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            torch.autograd.backward(ctx.function(x), gradient)
        return x.grad, None


class CallsAnother(RunsAgain):
    """Calls the backward of another Function: no pass of its own."""

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def test_a_function_of_the_program_that_runs_backward_itself():
    """The kind counts, not the name; a Function that only computes is none of it."""
    model = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    assert explain(model, RunsAgain.apply(x, model).sum()).code == "hidden-by-checkpoint"
    assert explain(model, CallsAnother.apply(x, model).sum()).code == "nothing-reached"


def test_a_part_that_cannot_be_read_may_hold_them():
    """Then nothing is called "not reached"."""
    model = nn.Linear(2, 2)
    table = {"model": model}
    x = torch.ones(1, 2, requires_grad=True)
    loss = RunsAgain.apply(x, eval("lambda y: table['model'](y)", {"table": Opaque(table)})).sum()
    answer = explain(model, loss)
    assert answer.code == "hidden-by-checkpoint"
    assert any("2 of 2 are perhaps behind RunsAgainBackward" in one for one in answer.because)


class Opaque:
    """Gives what it was made of, and shows nothing."""

    __slots__ = ()
    kept = {}  # noqa: RUF012 -- kept aside, where no attribute of the object leads

    def __init__(self, table):
        Opaque.kept = table

    def __getitem__(self, key):
        return self.kept[key]


# ------------------------------------------------------------------------------ names in short


def test_whole_modules_are_told_as_one():
    """The longest list is a few words; details have each name."""
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(9)))
    every = dict(model.named_parameters())
    assert in_short(list(every)[:12], every) == ["0", "1", "2"]
    assert in_short(["0.0.weight", "0.0.bias"], every) == ["0.0"]
    assert in_short(["0.0.weight"], every) == ["0.0.weight"]
    deep = [f"h.{number}.{part}" for number in range(9) for part in ("a.weight", "b.weight")]
    assert in_short([name for name in deep if "a" in name], deep) == ["h.*.a.weight"]
