"""Tests of `gradbook.understand.culprit.freed`: which variable carries a freed part of a graph."""

import ast
import collections

import pytest
import torch
from torch import nn

from gradbook import explain
from gradbook.understand.culprit.freed import carried_names


def found(program, *arguments):
    """The explanation of a program that runs backward through a freed graph."""
    torch.manual_seed(0)
    with pytest.raises(RuntimeError) as caught:
        program(*arguments)
    explanation = explain(caught.value)
    assert explanation.code == "graph-freed"
    return explanation


def told(explanation, text):
    """Whether one of the facts has a text in it."""
    return any(text in fact for fact in explanation.because)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("h = cell(x, h)", {"h"}),
        ("total += loss", {"total"}),
        ("out, h = rnn(x, h)\nloss = out.sum()", {"h"}),
        ("new = cell(x, h)\nloss = new.sum()\nh = new", {"h"}),
        ("print(loss)\nloss = model(x)", set()),
        ("loss = model(x)\nprint(loss)", set()),
        ("h = cell(x, h)\nh = h.detach()", set()),
        ("h = cell(x, h)\nh.detach_()", set()),
        ("h = cell(x, h.data)", set()),
        ("h, c = lstm(x, h, c)\nh = h.detach()", {"c"}),
        ("self.h = self.cell(x, self.h)", {"self.h"}),
        ("a = b\nb = c\nc = a * 2", {"b", "c"}),
        ("if (h := cell(x, h)) is None:\n    pass", {"h"}),
    ],
)
def test_names_that_are_carried_on(source, names):
    """Read before they are bound, computed from what they were, and not detached."""
    statements = [one for one in ast.walk(ast.parse(source)) if isinstance(one, ast.stmt)]
    assert carried_names(statements) == names


def test_the_shared_part_is_counted():
    """The freed nodes behind the guilty result, not those that the failing pass itself freed."""

    def program():
        encoder = nn.Linear(3, 3)
        features = encoder(torch.ones(2, 3)).tanh()
        loss_a = features.pow(2).sum()
        loss_b = features.exp().sin().sum()
        loss_a.backward()
        loss_b.backward()

    explanation = found(program)
    assert explanation.subject == "features"
    assert explanation.details["freed nodes"] == "TanhBackward0, AddmmBackward0"
    assert explanation.details["made at"].endswith("`features = encoder(torch.ones(2, 3)).tanh()`")


def test_another_loss_that_was_not_run_backward():
    """A result beside the loss, whose graph is whole, has freed nothing."""

    def program():
        cell = nn.RNNCell(2, 3)
        hidden = torch.zeros(1, 3)
        for _ in range(2):
            hidden = cell(torch.ones(1, 2), hidden)
            features = hidden * 2
            penalty = features.exp().sum()
            loss = features.sin().sum()
            loss.backward()
        assert penalty is not None

    assert found(program).subject == "hidden"


def test_only_the_state_that_is_not_detached():
    """Of two carried states one is detached."""

    def program():
        cell = nn.LSTMCell(2, 3)
        h, c = torch.zeros(1, 3), torch.zeros(1, 3)
        for _ in range(2):
            h, c = cell(torch.ones(1, 2), (h, c))
            loss = h.sum()
            loss.backward()
            h = h.detach()

    assert found(program).subject == "c"


def test_a_state_under_two_names():
    """The name that lives on is told, not the one that is made anew."""

    def program():
        cell = nn.RNNCell(2, 3)
        state = torch.zeros(1, 3)
        for _ in range(2):
            new = cell(torch.ones(1, 2), state)
            loss = new.sum()
            state = new
            loss.backward()

    assert found(program).subject == "state"


def test_a_printed_loss_is_not_carried():
    """It is read at the head of the loop, and computed anew all the same."""

    def program():
        cell = nn.RNNCell(2, 3)
        hidden, loss = torch.zeros(1, 3), torch.zeros(())
        for _ in range(2):
            assert loss.item() is not None
            hidden = cell(torch.ones(1, 2), hidden)
            loss = hidden.sum()
            loss.backward()

    assert found(program).subject == "hidden"


class Cached:
    """Computes something once."""

    def __init__(self):
        self.weight = torch.ones(3, requires_grad=True)
        self.scaled = self.weight / self.weight.norm()

    def step(self):
        """Use it in every call."""
        loss = (self.scaled * 2).sum()
        loss.backward()


class CachedAgain(Cached):
    """Inherits what keeps the graph."""


@pytest.mark.parametrize("kind", [Cached, CachedAgain])
def test_a_result_made_in_init(kind):
    """It outlives the first call."""

    def program():
        one = kind()
        for _ in range(2):
            one.step()

    explanation = found(program)
    assert explanation.subject == "self.scaled"
    assert told(explanation, "in `__init__`; every call uses it.")


def test_an_attribute_that_is_made_in_each_call_is_not_to_blame():
    """`self.features` is fresh; the state of the loop outside is not."""

    class Model:
        def __init__(self):
            self.cell = nn.RNNCell(2, 3)

        def step(self, hidden):
            self.features = self.cell(torch.ones(1, 2), hidden)
            loss = self.features.sum()
            loss.backward()
            return self.features

    def program():
        model, hidden = Model(), torch.zeros(1, 3)
        for _ in range(2):
            hidden = model.step(hidden)

    assert found(program).subject == "hidden"


SHARED = {}


def use_shared():
    """Use a global result."""
    loss = (SHARED["features"] * 2).sum()
    loss.backward()


def test_a_result_from_outside_of_the_function():
    """A global that each call uses."""
    SHARED["features"] = torch.ones(3, requires_grad=True).exp()

    def program():
        use_shared()
        use_shared()

    explanation = found(program)
    assert explanation.subject == "SHARED['features']"
    assert told(explanation, "computed outside of this code")


def test_a_result_made_before_an_earlier_backward():
    """The first loss has no name any more; the lines tell."""

    def program():
        generator, critic = nn.Linear(2, 3), nn.Linear(3, 1)
        fake = generator(torch.ones(4, 2)).tanh()
        loss = critic(fake).mean()
        loss.backward()
        fresh = critic.weight.exp().sum()
        loss = -critic(fake).mean() + fresh
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "fake"
    assert told(explanation, "is used again after it.")


def test_a_first_backward_that_keeps_the_graph():
    """It is the second of three calls that frees."""

    def program():
        loss = torch.ones(3, requires_grad=True).exp().sum()
        loss.backward(retain_graph=True)
        loss.backward()
        assert loss is not None
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "loss"
    lines = [fact for fact in explanation.because if "before, in line" in fact]
    assert len(lines) == 1


def test_backward_in_the_other_arm():
    """Two calls of which only one can run are no second backward; the outer loop tells."""

    def program(scaled):
        loss = torch.ones(3, requires_grad=True).exp().sum()
        for _ in range(2):
            if scaled:
                loss.backward()
            else:
                loss.backward()

    explanation = found(program, False)
    assert explanation.subject == "loss"
    assert told(explanation, "computed before the loop, and not again in it")


def test_nothing_has_a_name():
    """The graph is told, no variable."""

    def twice(function):
        function().sum().backward()
        function().sum().backward()

    def program():
        cache = []

        def features():
            if not cache:
                one = torch.ones(3, requires_grad=True).exp()
                cache.append(lambda: one)
            return cache[0]()

        twice(features)

    explanation = found(program)
    assert explanation.subject is None
    assert "freed nodes" in explanation.details


def test_saved_tensors_are_read_after_backward():
    """The one of the line, even when another tensor stands beside it."""

    def program():
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        y.sum().backward()
        return x.shape, y.grad_fn._saved_result

    explanation = found(program)
    assert explanation.subject == "y"
    assert told(explanation, "ExpBackward0, had saved")


def test_saved_tensors_of_a_node_without_a_name():
    """`node` is no tensor."""

    def program():
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        node = y.grad_fn
        y.sum().backward()
        return node._saved_result

    assert found(program).subject is None


def test_the_same_loss_in_an_outer_loop():
    """The inner loop is repeated, the forward pass is in the outer one."""

    def program():
        weight = torch.ones(3, requires_grad=True)
        for _ in range(2):
            loss = weight.exp().sum()
            while True:
                loss.backward()

    assert told(found(program), "`loss` was computed before the loop")


def test_a_list_of_states():
    """The list is carried on, and grows; none of its elements was made before the loop."""

    def program():
        cell = nn.RNNCell(2, 3)
        states = [torch.zeros(1, 3)]
        for _ in range(2):
            states.append(cell(torch.ones(1, 2), states[-1]))
            loss = states[-1].sum()
            loss.backward()

    explanation = found(program)
    assert explanation.subject == "states"
    assert told(explanation, "`states` is carried from one turn of the loop to the next.")


def test_a_closure_that_runs_again():
    """LBFGS calls it several times; the loss was computed outside."""

    def program():
        weight = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=3)
        loss = (weight**2).sum()

        def closure():
            optimizer.zero_grad()
            loss.backward()
            return loss

        optimizer.step(closure)

    assert found(program).subject == "loss"


def test_a_meta_learning_step():
    """The inner gradient freed what the outer loss uses; `outer` itself is new."""

    def program():
        weight, x = torch.ones(3, requires_grad=True), torch.ones(3)
        inner = ((weight * x) ** 2).sum()
        (step,) = torch.autograd.grad(inner, weight)
        outer = ((weight - step) ** 2).sum() + inner
        outer.backward()

    assert found(program).subject == "inner"


def test_terms_of_one_distribution():
    """Two losses in a tuple share the softmax."""

    def program():
        weight = torch.ones(3, requires_grad=True)
        p = weight.softmax(0)
        kl, ce = (p * p.log()).sum(), -p.log().sum()
        for term in (kl, ce):
            term.backward()

    assert found(program).subject == "p"


def test_a_memory_in_a_module():
    """The module's forward keeps its result, and adds to it."""

    class Memory(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.kept = nn.Linear(2, 2), torch.zeros(1, 2)

        def forward(self, x):
            self.kept = self.layer(x) + self.kept
            return self.kept.tanh()

    def program():
        net = Memory()
        for _ in range(2):
            net(torch.ones(1, 2)).sum().backward()

    assert found(program).subject == "net.kept"


# ------------------------------------------------------------------ states that are kept elsewhere


class Recurrent(nn.Module):
    """Keeps its state as an attribute."""

    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head, self.h = kind(2, 3, batch_first=True), nn.Linear(3, 1), None

    def forward(self, x):
        """The loss comes from the output beside the state."""
        y, self.h = self.rnn(x, self.h)
        return self.head(y[:, -1])


@pytest.mark.parametrize(
    ("kind", "subject", "cure"),
    [
        (nn.GRU, "model.h", "`model.h = model.h.detach()`"),
        (nn.RNN, "model.h", "`model.h = model.h.detach()`"),
        (nn.LSTM, "model.h[0]", "`model.h = tuple(one.detach() for one in model.h)`"),
    ],
)
def test_a_state_beside_the_graph_of_the_loss(kind, subject, cure):
    """The most frequent report there is; the cure fits what the state is."""

    def program():
        model = Recurrent(kind)
        for _ in range(2):
            loss = model(torch.randn(1, 4, 2)).sum()
            loss.backward()

    explanation = found(program)
    assert explanation.subject == subject
    assert cure in explanation.cure.splitlines()[0]
    model = Recurrent(kind)
    for _ in range(2):
        model(torch.randn(1, 4, 2)).sum().backward()
        exec(cure.strip("`"), {"model": model})


class Kept(nn.Module):
    """Keeps its state in a container."""

    def __init__(self, box):
        super().__init__()
        self.cell, self.box = nn.GRUCell(2, 3), box

    def forward(self, x):
        """The element is computed from itself."""
        self.box["h"] = self.cell(x, self.box.get("h"))
        return self.box["h"]


@pytest.mark.parametrize(
    "kind", [dict, collections.OrderedDict, lambda: collections.defaultdict(lambda: None)]
)
def test_a_state_in_a_container(kind):
    """Of any kind that can be read without running code of the program."""

    def program():
        model = Kept(kind())
        for _ in range(2):
            model(torch.randn(1, 2)).sum().backward()

    explanation = found(program)
    assert explanation.subject == "model.box['h']"
    assert explanation.details["cause"] == "A hidden state is carried on"


def test_a_global_state():
    """`global state` in a function that is called again and again."""
    cell, state = nn.GRUCell(2, 3), torch.zeros(1, 3)

    def step():
        nonlocal state
        state = cell(torch.randn(1, 2), state)
        state.sum().backward()

    def program():
        for _ in range(2):
            step()

    explanation = found(program)
    assert explanation.subject == "state"
    assert explanation.details["cause"] == "A hidden state is carried on"


def test_what_the_failing_pass_frees_itself_is_not_told():
    """Only what was freed before it began; the loss, computed anew, is not to blame."""

    def program():
        state = torch.ones(3, requires_grad=True) * 1
        for _ in range(2):
            state = torch.tanh(state)
            loss = state.exp().sin().cos().sum()
            loss.backward()

    explanation = found(program)
    assert explanation.subject == "state"
    assert explanation.details["freed nodes"] == "MulBackward0"
    assert "Cos" not in str(explanation)


def test_a_pass_that_keeps_its_graph_frees_nothing_itself():
    """So all that is freed was freed before."""

    def program():
        x = torch.ones(3, requires_grad=True)
        hidden = x.exp()
        hidden.sum().backward()
        loss = hidden.sin().sum()
        loss.backward(retain_graph=True)

    assert found(program).details["freed nodes"] == "ExpBackward0"


# ------------------------------------------------------------------------------------- cures


def test_a_loss_that_is_summed_over_the_turns():
    """To detach the sum would not help."""

    def program():
        weight = torch.ones(3, requires_grad=True)
        total = 0
        for _ in range(2):
            total = total + (weight**2).sum()
            total.backward()

    assert found(program).cure.splitlines()[0].startswith("Call `backward()` on the loss of")


def test_two_losses_with_a_step_between():
    """One backward pass on the sum would train the first model by the second loss."""

    def program():
        made, judge = nn.Linear(2, 2), nn.Linear(2, 1)
        optimizer = torch.optim.SGD(judge.parameters(), lr=0.1)
        fake = made(torch.randn(3, 2)).tanh()
        judge(fake).mean().backward()
        optimizer.step()
        loss = -judge(fake).mean()
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "fake"
    assert explanation.cure.splitlines()[0].startswith("Give the first loss `fake.detach()`")


def test_a_constant_that_is_made_from_another_one():
    """To compute it in the loop would not help: its operands carry the freed graph."""

    def program():
        value = nn.Linear(2, 1)
        x = torch.randn(5, 2)
        values = value(x).exp()
        advantage = (1 - values).square()
        for _ in range(2):
            loss = (value(x) * advantage).mean()
            loss.backward()

    explanation = found(program)
    assert explanation.subject == "advantage"
    assert "`advantage = advantage.detach()`" in explanation.cure.splitlines()[0]
    assert "`values`" in explanation.cure.splitlines()[0]
