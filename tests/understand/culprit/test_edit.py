"""Tests of `gradbook.understand.culprit.edit`: what was changed in place, where, and by what."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradbook import explain, record_lines
from gradbook.understand.catalogue import load
from gradbook.understand.culprit import investigate


def found(program, code="modified-in-place"):
    """The explanation of a program that changes something in place."""
    torch.manual_seed(0)
    with pytest.raises(RuntimeError) as caught:
        program()
    explanation = explain(caught.value)
    assert explanation.code == code
    return explanation


def changed(explanation):
    """The lines that are told."""
    return explanation.details.get("changed at", "")


def test_node_saved_tensor_and_versions():
    """All that the message does not say, and all that it does."""

    def program():
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        same = y
        part = y[:2]
        y += 1
        y.sum().backward()
        assert same is not part

    details = found(program).details
    assert details["node"] == "ExpBackward0"
    assert details["saved as"] == "result"
    assert (details["expected version"], details["found version"]) == ("0", "1")
    assert details["same memory"] == "y, same, part"


def test_the_line_of_the_node_is_told_where_it_is_known():
    """`record_lines` leaves it in the nodes."""

    def program():
        x = torch.ones(3, requires_grad=True)
        with record_lines():
            y = x.exp()
        y += 1
        y.sum().backward()

    assert ": y = x.exp()) saved `y`" in found(program).because[0]


def test_the_tensor_of_the_message_is_chosen():
    """Two saved tensors were changed; the versions and the shape tell which one is meant."""

    def program():
        x, y = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
        a, b = x.exp(), y.exp()
        loss = (a.sum() * 2 + b.sum()) * 1
        b += 1
        b += 1
        a += 1
        loss.backward()

    explanation = found(program)
    sizes = {"a": "[3]", "b": "[2]"}
    with pytest.raises(RuntimeError) as caught:
        program()
    assert sizes[explanation.subject] in str(caught.value)
    other = str(caught.value).replace("[3]", "[9]").replace("[2]", "[9]")
    finding = investigate(caught.value, load()["modified-in-place"], other)
    assert finding.subject in sizes
    assert investigate(caught.value, load()["modified-in-place"], "cut off").subject in sizes


def test_only_the_optimizer_that_owns_the_parameter_has_changed_it():
    """The step of another optimizer, or of a scheduler, is not told."""

    def program():
        ours, theirs = nn.Linear(3, 1), nn.Linear(3, 1)
        optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
        another = torch.optim.SGD(theirs.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        x = torch.ones(2, 3, requires_grad=True)
        loss, second = ours(x).sum(), ours(x).sum()
        loss.backward()
        another.step()
        optimizer.step()
        scheduler.step()
        second.backward()

    explanation = found(program)
    assert explanation.subject == "ours.weight"
    assert "`optimizer.step()`" in changed(explanation)
    assert "another" not in changed(explanation)


def test_an_optimizer_inside_a_wrapper():
    """Frameworks keep the optimizer as an attribute."""

    class Wrapper:
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def step(self):
            self.optimizer.step()

    def program():
        weight = torch.ones(3, requires_grad=True)
        wrapped = Wrapper(torch.optim.SGD([weight], lr=0.1))
        loss = (weight * weight).sum()
        loss.backward(retain_graph=True)
        wrapped.step()
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "weight"
    assert "`wrapped.step()`" in changed(explanation)
    assert explanation.details["cause"].startswith("`optimizer.step()`")


def scale_down(factor, *, values):
    """Change an argument in place."""
    values *= factor


def look_at(values):
    """Change nothing."""
    return values.sum()


def test_a_helper_that_changes_its_argument():
    """Its line is told with the line that calls it."""

    def program():
        weight, batch = torch.ones(3, requires_grad=True), torch.ones(3)
        loss = (weight * batch).sum()
        look_at(batch)
        scale_down(0.5, values=batch)
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "batch"
    assert "`scale_down(0.5, values=batch)` (line " in changed(explanation)
    assert "`values *= factor` of scale_down" in changed(explanation)
    assert "look_at" not in changed(explanation)


def test_a_name_counts_in_its_own_frame():
    """`values` is another tensor in the caller: its change is not told."""

    def inner(values):
        values.sum().backward()

    def program():
        x = torch.ones(3, requires_grad=True)
        values = torch.ones(3)
        values += 5
        gate = x.sigmoid()
        gate += 1
        inner(gate)

    explanation = found(program)
    assert explanation.subject == "values"
    assert explanation.details["same memory"] == "values, gate"
    assert "`gate += 1`" in changed(explanation)
    assert "values += 5" not in changed(explanation)


def test_a_variable_is_a_better_name_than_an_element():
    """The whole buffer is named, though an element of a list is the very tensor."""

    def program():
        x = torch.ones(2, requires_grad=True)
        buffer = torch.zeros(2, 2)
        rows = [buffer[0]]
        loss = (x * rows[0]).sum()
        buffer[0] = 1
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "buffer"
    assert explanation.details["same memory"] == "buffer, rows[0]"


class Block(nn.Module):
    """Applies one operation to what another one saved."""

    def __init__(self, change):
        super().__init__()
        self.change = change


class Adds(Block):
    """Changes the result of exp by +=."""

    def forward(self, x):
        """The tensor has no name outside."""
        hidden = x.exp()
        hidden += 1
        return hidden * 2


class Writes(Block):
    """Writes into the result of exp."""

    def forward(self, x):
        """The tensor has no name outside."""
        hidden = x.exp()
        hidden[0] = 1
        return hidden * 2


class Methods(Block):
    """Calls a method whose name ends in an underscore."""

    def forward(self, x):
        """The tensor has no name outside."""
        hidden = x.exp()
        hidden.clamp_(max=1)
        return hidden * 2


class Says(Block):
    """Says inplace=True."""

    def forward(self, x):
        """The tensor has no name outside."""
        hidden = x.exp()
        F.leaky_relu(hidden, inplace=True)
        return hidden * 2


class Shifts(Block):
    """Changes the result of exp unrecorded."""

    def forward(self, x):
        """The tensor has no name outside, and `//=` leaves no node."""
        hidden = x.exp()
        with torch.no_grad():
            hidden //= 2
        return hidden * 2


@pytest.mark.parametrize("kind", [Adds, Writes, Methods, Says])
def test_a_local_variable_of_a_forward_pass(kind):
    """The tensor is gone; the module's source has one change that fits the graph."""

    def program():
        model = kind(None)
        model(torch.ones(3, requires_grad=True)).sum().backward()

    explanation = found(program)
    assert explanation.subject == "hidden"
    assert any(f"of {kind.__name__}.forward" in fact for fact in explanation.because)


def test_a_change_that_the_graph_does_not_show():
    """Nothing is named where the node behind the tensor is not that of the change."""

    def program():
        model = Shifts(None)
        model(torch.ones(3, requires_grad=True)).sum().backward()

    assert found(program).subject is None


@pytest.mark.parametrize(
    ("module", "named"),
    [(nn.ReLU6(inplace=True), True), (nn.Dropout(0.5, inplace=True), True), (nn.ReLU(), False)],
)
def test_a_module_whose_node_has_another_name(module, named):
    """ReLU6 records Hardtanh, and Dropout a product."""
    head = nn.Sequential(module)

    def program():
        hidden = torch.ones(3, requires_grad=True).sigmoid()
        out = (hidden * 1).exp()
        del hidden
        head(out)
        if not named:
            out += 1
        total = out.sum()
        del out
        total.backward()

    explanation = found(program)
    assert explanation.subject == ("head.0" if named else None)


def test_an_embedding_without_max_norm_is_not_to_blame():
    """Its weight was changed by the program."""

    def program():
        embedding = nn.Embedding(3, 2)
        loss = (embedding.weight**2).sum()
        with torch.no_grad():
            embedding.weight.zero_()
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "embedding.weight"
    assert not any("max_norm" in fact for fact in explanation.because)
    assert "Weights edited" in explanation.details["cause"]


def test_a_tensor_detached_in_place():
    """Only a line that detaches something the graph has saved is told."""

    def program():
        x = torch.ones(3, requires_grad=True)
        y, z = x.exp(), x.sin()
        total = (y * y).sum()
        z.detach_()
        y.detach_()
        total.backward()

    explanation = found(program, "saved-tensor-detached")
    assert explanation.subject == "y"
    assert changed(explanation).endswith("`y.detach_()`")


def test_a_tensor_detached_out_of_sight():
    """Nothing in the frames shows it."""

    def detach(tensor):
        tensor.detach_()

    def program():
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        total = (y * y).sum()
        detach(y)
        total.backward()

    assert found(program, "saved-tensor-detached").subject is None
