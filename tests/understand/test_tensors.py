"""Tests of `gradbook.understand.tensors`, through `gradbook.explain`."""

import subprocess
import sys
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradbook import explain, replay
from gradbook.understand import answer as answering
from gradbook.understand import tensors
from gradbook.understand.catalogue import BASE_URL, load
from programs import run, steps

# ------------------------------------------------------------------- a program for each situation
#
# A function is named after the code that `explain` gives to what its program made; `cure_...`
# applies the cure and asserts that it works.


def has_grad():
    """One backward has run."""
    w = torch.ones(3, requires_grad=True)
    (w * 2).sum().backward()
    return explain(w)


def no_backward_yet():
    """The loss is there, backward was forgotten."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    return explain(w, loss)


def cure_no_backward_yet():
    """Backward fills it."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    loss.backward()
    assert explain(w, loss).code == "has-grad"
    assert w.grad.tolist() == [2, 2, 2]


def left_out():
    """Backward has run, on another tensor."""
    w, v = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    v.sum().backward()
    return explain(w)


def cure_left_out():
    """The loss is computed from it."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    assert "The loss reaches it." in explain(w, loss).because
    loss.backward()
    assert explain(w).code == "has-grad"


def gradient_zero():
    """Rounding has a slope of zero."""
    w = torch.full((3,), 0.7, requires_grad=True)
    w.round().sum().backward()
    return explain(w)


def cure_gradient_zero():
    """Straight through."""
    w = torch.full((3,), 0.7, requires_grad=True)
    (w + (w.round() - w).detach()).sum().backward()
    assert explain(w).code == "has-grad"


def gradient_not_finite():
    """The slope of the square root at zero is infinite."""
    w = torch.tensor([0.0, 1.0], requires_grad=True)
    w.sqrt().sum().backward()
    return explain(w)


def cure_gradient_not_finite():
    """The steps show where; the number is moved away from the corner."""
    w = torch.tensor([0.0, 1.0], requires_grad=True)
    steps = replay(w.sqrt().sum()).steps
    assert "inf" in str([step.outgoing for step in steps if step.node == "SqrtBackward0"] or steps)
    v = torch.tensor([0.0, 1.0], requires_grad=True)
    (v + 1e-6).sqrt().sum().backward()
    assert explain(v).code == "has-grad"


def not_in_optimizer():
    """A second parameter was made after the optimizer."""
    v = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([v], lr=0.1)
    w = nn.Parameter(torch.ones(3))
    (v * w).sum().backward()
    assert optimizer.param_groups
    return explain(w)


def cure_not_in_optimizer():
    """It joins the optimizer."""
    v = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([v], lr=0.1)
    w = nn.Parameter(torch.ones(3))
    optimizer.add_param_group({"params": [w]})
    (v * w).sum().backward()
    assert explain(w).code == "has-grad"


def hidden_by_checkpoint():
    """The part is one node, until backward runs it again."""
    layer = nn.Linear(2, 1)
    w = layer.weight
    x = torch.ones(1, 2, requires_grad=True)
    loss = checkpoint(layer, x, use_reentrant=True).sum()
    return explain(w, loss)


def cure_hidden_by_checkpoint():
    """`.grad` is there after backward; the other variant shows it before."""
    layer = nn.Linear(2, 1)
    w = layer.weight
    x = torch.ones(1, 2, requires_grad=True)
    checkpoint(layer, x, use_reentrant=True).sum().backward()
    assert w.grad is not None
    loss = checkpoint(layer, x, use_reentrant=False).sum()
    assert "The loss reaches it." in explain(w, loss).because


def non_leaf():
    """Scaling at the start makes a result of it."""
    w = torch.randn(3, requires_grad=True) * 0.1
    w.sum().backward()
    return explain(w)


def cure_non_leaf():
    """`retain_grad()` before backward; or the leaf."""
    leaf = torch.randn(3, requires_grad=True)
    w = leaf * 0.1
    w.retain_grad()
    w.sum().backward()
    assert w.grad.tolist() == [1, 1, 1]
    assert leaf.grad == pytest.approx(torch.full((3,), 0.1))


def retains_grad():
    """A result whose gradient was asked for."""
    x = torch.ones(3, requires_grad=True)
    hidden = x * 2
    hidden.retain_grad()
    hidden.sum().backward()
    return explain(hidden)


def cure_retains_grad():
    """There is nothing to repair: the gradient can be read."""
    x = torch.ones(3, requires_grad=True)
    hidden = x * 2
    hidden.retain_grad()
    hidden.sum().backward()
    assert hidden.grad.tolist() == [1, 1, 1]


def requires_grad_false():
    """Made without `requires_grad=True`."""
    w = torch.ones(3)
    return explain(w)


def cure_requires_grad_false():
    """Switched on before the forward pass."""
    w = torch.ones(3)
    w.requires_grad_()
    (w * 2).sum().backward()
    assert w.grad.tolist() == [2, 2, 2]


def made_without_grad_mode():
    """The forward pass ran with recording off."""
    w = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        y = w * 2
    return explain(y)


def cure_made_without_grad_mode():
    """Recording stays on."""
    w = torch.ones(3, requires_grad=True)
    y = w * 2
    assert explain(y).code == "non-leaf"
    y.sum().backward()
    assert w.grad.tolist() == [2, 2, 2]


def integer_dtype():
    """Python integers give an int64 tensor."""
    ages = torch.tensor([20, 30])
    return explain(ages)


def cure_integer_dtype():
    """Converted first."""
    ages = torch.tensor([20, 30]).float().requires_grad_()
    ages.sum().backward()
    assert ages.grad.tolist() == [1, 1]


def quantized_ones():
    """Torch warns that such tensors go; programs still have them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def quantized():
    """The weight of a quantized layer."""
    weight = quantized_ones()
    return explain(weight)


def cure_quantized():
    """As real numbers; `.float()` refuses a quantized tensor."""
    weight = quantized_ones()
    with pytest.raises(RuntimeError, match="quantized"):
        weight.float()
    numbers = weight.dequantize().requires_grad_()
    numbers.sum().backward()
    assert numbers.grad.tolist() == [1, 1, 1]


def inference_tensor():
    """Features that were computed in inference mode."""
    with torch.inference_mode():
        features = torch.ones(3)
    return explain(features)


def cure_inference_tensor():
    """Cloned outside, or made under `no_grad`, it can be saved for backward."""
    w = torch.ones(3, requires_grad=True)
    with torch.inference_mode():
        features = torch.ones(3)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        w * features
    with torch.no_grad():
        others = torch.ones(3)
    for usable in (features.clone(), others):
        (w * usable).sum().backward()
    assert w.grad.tolist() == [2, 2, 2]


def not_reached():
    """The loss was computed from a copy."""
    w = torch.ones(3, requires_grad=True)
    copy = w.detach().requires_grad_()
    loss = (copy * 2).sum()
    return explain(w, loss)


def cure_not_reached():
    """The very tensor is used."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    assert "The loss reaches it." in explain(w, loss).because
    loss.backward()
    assert w.grad.tolist() == [2, 2, 2]


def unused_by_graph():
    """An element that is taken afterwards is another result."""
    x = torch.ones(3, requires_grad=True)
    loss = (x * 2).sum()
    first = x[0]
    return explain(first, loss)


def cure_unused_by_graph():
    """The loss is computed from it."""
    x = torch.ones(3, requires_grad=True)
    first = x[0]
    loss = first * 2
    assert explain(first, loss).code == "non-leaf"
    assert torch.autograd.grad(loss, first)[0] == 2


def loss_without_graph():
    """The loss itself was cut off."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum().detach()
    return explain(w, loss)


def cure_loss_without_graph():
    """`explain(loss)` finds where."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum().detach()
    answer = explain(loss)
    assert answer.code == "made-without-grad-mode"
    assert any("detach()" in fact for fact in answer.because)


TENSORS = [
    *(has_grad, no_backward_yet, non_leaf, retains_grad, requires_grad_false),
    *(made_without_grad_mode, integer_dtype, quantized, inference_tensor, not_reached),
    *(unused_by_graph, loss_without_graph, left_out, gradient_zero, gradient_not_finite),
    *(not_in_optimizer, hidden_by_checkpoint),
]
CURES = [
    *(cure_no_backward_yet, cure_non_leaf, cure_retains_grad, cure_requires_grad_false),
    *(cure_made_without_grad_mode, cure_integer_dtype, cure_quantized, cure_inference_tensor),
    *(cure_not_reached, cure_unused_by_graph, cure_loss_without_graph, cure_left_out),
    *(cure_gradient_zero, cure_gradient_not_finite, cure_not_in_optimizer),
    cure_hidden_by_checkpoint,
]
SUBJECTS = {
    "has-grad": "w",
    "no-backward-yet": "w",
    "non-leaf": "w",
    "retains-grad": "hidden",
    "requires-grad-false": "w",
    "made-without-grad-mode": "y",
    "integer-dtype": "ages",
    "quantized": "weight",
    "inference-tensor": "features",
    "not-reached": "w",
    "unused-by-graph": "first",
    "loss-without-graph": "w",
    **dict.fromkeys(("left-out", "gradient-zero", "gradient-not-finite"), "w"),
    **dict.fromkeys(("not-in-optimizer", "hidden-by-checkpoint"), "w"),
}


def code_of(program):
    """`has-grad` of `has_grad`, and of `cure_has_grad`."""
    return program.__name__.removeprefix("cure_").replace("_", "-")


@pytest.mark.parametrize("program", TENSORS, ids=code_of)
def test_a_tensor_gets_its_situation_and_its_name(program):
    """The code, the variable, a fact, and the page of an entry that exists."""
    answer = program()
    assert (answer.code, answer.kind) == (code_of(program), "tensor")
    assert answer.subject == SUBJECTS[answer.code]
    assert answer.because
    assert answer.url in {entry.url for entry in load().entries}


@pytest.mark.parametrize("cure", CURES, ids=code_of)
def test_the_cure_of_a_tensor_works(cure):
    """What the explanation tells to do is done, and the gradient comes."""
    cure()


def test_every_situation_of_a_tensor_has_a_program_and_a_cure():
    """Where a gradient is there, nothing is to be cured."""
    assert {code_of(program) for program in TENSORS} == set(tensors._TENSORS) - {"sharded"}
    cured = {code for code, one in tensors._TENSORS.items() if one.cure}
    assert {code_of(cure) for cure in CURES} == cured - {"sharded"}  # test_shards.py


# ----------------------------------------------------------------------------------------- facts


def test_a_filled_gradient_is_added_to():
    """The fact is true, and says whether the loss reaches the tensor."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    loss.backward(retain_graph=True)
    assert explain(w, loss).because == (
        "It is a leaf, and its `.grad` is filled: another backward adds to it.",
        "The loss reaches it.",
    )
    loss.backward()
    assert w.grad.tolist() == [4, 4, 4]


def test_a_gradient_that_was_set_to_none():
    """If the loss has been through a backward, it says so, and a new forward pass is needed."""
    w = torch.ones(3, requires_grad=True)
    loss = (w * w).sum()
    assert explain(w, loss).because[-1] == "No `backward()` stands before this line."
    loss.backward()
    torch.optim.SGD([w], lr=0.1).zero_grad()
    answer = explain(w, loss)
    assert answer.code == "no-backward-yet"
    assert "A backward has freed its graph, or a part: the next needs a new forward pass." in (
        answer.because
    )
    assert any("It was set to None since, in line" in fact for fact in answer.because)
    assert answer.possible == ()
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


def test_a_result_whose_graph_was_freed():
    """To keep its gradient, the forward pass has to run anew."""
    w = torch.ones(3, requires_grad=True)
    hidden = w * w
    loss = hidden.sum()
    loss.backward()
    answer = explain(hidden, loss)
    assert answer.code == "non-leaf"
    assert any("A backward has freed its graph" in fact for fact in answer.because)
    assert explain(hidden).code == "non-leaf"


def test_a_result_says_what_made_it():
    """The node, as it is printed in `grad_fn`."""
    x = torch.ones(3, requires_grad=True)
    hidden = x * 2
    assert explain(hidden).because == ("It was made by MulBackward0, so it is not a leaf.",)
    assert explain(hidden, hidden).code == "non-leaf"
    hidden.retain_grad()
    assert explain(hidden).because == (
        "It was made by MulBackward0; its `.grad` is still None: no backward yet.",
    )
    hidden.sum().backward()
    assert "is filled" in explain(hidden).because[0]


def test_details_hold_what_was_read():
    """As `describe` and the attributes of the tensor say it."""
    w = torch.ones(2, 3, requires_grad=True)
    with torch.no_grad():
        w += 1
    assert explain(w).details == {
        "tensor": "float32 of shape (2, 3)",
        "is_leaf": "True",
        "requires_grad": "True",
        "grad_fn": "None",
        "retains_grad": "False",
        "version": "1",
    }
    with torch.inference_mode():
        features = torch.ones(3)
    assert explain(features).details["version"] == "not counted"
    loss = (w * 2).sum()
    assert explain(w, loss).details["nodes of the loss"] == "3"


def test_a_result_of_what_is_frozen_names_it():
    """It is not the result that has to require grad."""
    w = torch.ones(3)
    y = w * 2
    answer = explain(y)
    assert answer.code == "requires-grad-false"
    assert answer.because[1:] == ("The computation starts from `w`, and it does not require grad.",)
    assert len(explain(w).because) == 1


def test_recording_that_is_off_now_is_told():
    """The next operation would not be recorded either."""
    w = torch.ones(3)
    with torch.no_grad():
        facts = explain(w).because
    assert any("`torch.is_grad_enabled()` is False" in fact for fact in facts)
    assert not any("is_grad_enabled" in fact for fact in explain(w).because)


def test_a_frozen_tensor_with_an_old_gradient():
    """The fact is true: an optimizer still moves it."""
    w = torch.ones(3, requires_grad=True)
    (w * 2).sum().backward()
    w.requires_grad_(False)
    assert any("an optimizer still applies it" in fact for fact in explain(w).because)
    torch.optim.SGD([w], lr=0.5).step()
    assert w.tolist() == [0, 0, 0]


def detached(w):
    """Cut with `detach()`."""
    y = w.detach() * 2
    return explain(y)


def compared(w):
    """Cut by a comparison."""
    y = (w > 0).float()
    return explain(y)


def made_anew(w):
    """Cut by going through Python numbers."""
    y = torch.tensor(w.tolist())
    return explain(y)


@pytest.mark.parametrize(
    ("program", "step"),
    [(detached, "detach()"), (compared, "w > 0"), (made_anew, "tolist()")],
    ids=["detach", "comparison", "numbers"],
)
def test_the_step_that_cuts_is_named(program, step):
    """With the line on which it stands."""
    answer = program(torch.ones(3, requires_grad=True))
    assert answer.code == "made-without-grad-mode"
    assert "`w` requires grad, `y` does not" in answer.because[0]
    assert step in answer.because[1]
    assert answer.details["cut at"].startswith(f"line {program.__code__.co_firstlineno + 2}")


def test_a_copy_that_shares_memory_is_found():
    """The loss was computed from another leaf on the same memory."""
    w = torch.ones(3, requires_grad=True)
    copy = nn.Parameter(w.data)
    loss = (copy * 2).sum()
    answer = explain(w, loss)
    assert answer.because[:2] == (
        "It is not among the leaves that the loss reaches: 1, of which these have a name here: "
        "`copy`.",
        "The graph ends in another leaf that shares its memory: detached, or a new Parameter.",
    )


def test_a_gradient_of_another_loss_is_told():
    """It is filled, but not by this one."""
    w, v = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    (w * 2).sum().backward()
    answer = explain(w, v.sum())
    assert answer.code == "not-reached"
    assert answer.because[-1] == "Its `.grad` does not come from this loss."
    nameless = explain(w, torch.ones(3, requires_grad=True).sum())
    assert nameless.because[0] == (
        "It is not among the leaves that the loss reaches: 1, all without a name."
    )


def test_a_loss_that_is_a_leaf_reaches_nothing():
    """Nothing was computed."""
    w, loss = torch.ones(3, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    assert explain(w, loss).because == ("The loss is a leaf itself: nothing led to it.",)


def test_another_output_of_the_same_node_is_not_reached():
    """`unbind` makes all rows in one node; the loss takes one of them."""
    x = torch.ones(3, 2, requires_grad=True)
    first, second, _ = x.unbind()
    loss = first.sum()
    assert explain(first, loss).code == "non-leaf"
    assert explain(first, first).code == "non-leaf"
    answer = explain(second, loss)
    assert answer.code == "unused-by-graph"
    assert answer.because == (
        "Of the outputs of its node, UnbindBackward0, the loss was computed from others.",
    )
    assert explain(second, first).code == "unused-by-graph"


def test_an_alias_of_the_loss_is_the_loss():
    """Two tensor objects, one edge of the graph."""
    x = torch.ones(3, requires_grad=True)
    loss = (x * 2).sum()
    loss.retain_grad()
    edge = torch.autograd.graph.get_gradient_edge(loss)
    alias = next(iter([loss]))
    assert (alias.grad_fn, alias.output_nr) == tuple(edge)[:2]
    assert explain(alias, loss).code == "retains-grad"


@pytest.mark.parametrize("entry", ["multi-view-in-place", "no-grad-view-in-place"])
def test_a_view_that_torch_has_given_up(entry):
    """Its `grad_fn` cannot even be read; the catalogue knows the reason."""
    base = torch.ones(3, requires_grad=True).clone()
    if entry == "multi-view-in-place":
        view = base.unbind()[0]
    else:
        with torch.no_grad():
            view = base.view(3)
    base.mul_(2)
    with pytest.raises(RuntimeError):
        _ = view.grad_fn
    answer = explain(view)
    assert (answer.code, answer.kind, answer.subject) == ("not-readable", "tensor", "view")
    assert answer.because[0].startswith("Reading it raises RuntimeError: ")
    assert answer.because[1:] == load()[entry].because
    assert answer.cure.splitlines() == list(load()[entry].cures)
    assert answer.url == load()[entry].url
    w = torch.ones(3, requires_grad=True)
    assert explain(w, view).code == "not-readable"


def test_a_class_whose_attributes_fail():
    """A plain answer, with what it raised."""

    class Refusing(torch.Tensor):
        def __getattribute__(self, name):
            raise ValueError(f"no {name} for you")

    answer = explain(torch.Tensor._make_subclass(Refusing, torch.ones(3), True))
    assert answer.code == "not-readable"
    assert answer.because == ("Reading it raises ValueError: no is_inference for you.",)
    assert answer.url == BASE_URL + "clinic/index.html"


def test_names_are_those_of_the_caller():
    """Of attributes and elements too; a tensor without a name has none."""

    class Trainer:
        def __init__(self):
            self.scale = torch.ones(1, requires_grad=True)

        def look(self):
            return explain(self.scale)

    model = nn.Linear(2, 1)
    layers = [torch.ones(2, requires_grad=True)]
    answers = [explain(model.weight), explain(layers[0]), Trainer().look(), explain(torch.ones(2))]
    assert [answer.subject for answer in answers] == [
        *("model.weight", "layers[0]", "self.scale", None)
    ]


def test_without_a_program_around_there_is_no_name():
    """A worker thread that runs nothing but library code."""
    w = torch.ones(3, requires_grad=True)
    model = nn.Linear(2, 1)
    with ThreadPoolExecutor(1) as pool:
        answers = [pool.submit(explain, one).result() for one in (w, model)]
        against_loss = pool.submit(explain, w, model(torch.ones(2)).sum()).result()
    assert [answer.code for answer in answers] == ["no-backward-yet", "no-gradients"]
    assert against_loss.because == (
        "It is not among the leaves that the loss reaches: 2, all without a name.",
    )
    assert {answer.subject for answer in (*answers, against_loss)} == {None}


def test_a_proxy_of_something_gone_beside_it():
    """Looking through the names of a frame meets objects that refuse to be looked at."""

    class Thing:
        pass

    thing = Thing()
    beside = weakref.proxy(thing)
    del thing
    w = torch.ones(3, requires_grad=True)
    answer = explain(w)
    assert answer.code == "no-backward-yet"
    assert answer.subject == "w"
    with pytest.raises(ReferenceError):
        str(beside)


def test_frames_that_cannot_be_read(monkeypatch):
    """Then there is no name, and all else is as ever."""

    def refuse():
        raise ValueError("no frames today")

    monkeypatch.setattr(answering, "calling_place", refuse)
    w = torch.ones(3)
    answer = explain(w)
    assert (answer.code, answer.subject) == ("requires-grad-false", None)


@settings(deadline=None, max_examples=80)
@given(steps, st.integers(0, 30), st.integers(0, 30))
def test_reached_means_what_autograd_grad_says(program, first, second):
    """Any tensor of a random program against any loss."""
    made, results = run(program)
    every = [*made, *results]
    tensor, loss = every[first % len(every)], results[second % len(results)]
    code = explain(tensor, loss).code
    if not tensor.requires_grad or not loss.requires_grad:
        assert code in {"requires-grad-false", "made-without-grad-mode", "loss-without-graph"}
        return
    (gradient,) = torch.autograd.grad(loss.sum(), tensor, allow_unused=True)
    assert (code in {"not-reached", "unused-by-graph"}) == (gradient is None)


# ---------------------------------------------------------------------------------- long graphs

LONG = """
import torch, gradbook
x = torch.ones((), requires_grad=True)
y = x
kept = []
for number in range(300_000):
    y = y + 1.0
    if number % 50_000 == 0:
        kept.append(y)
answer = gradbook.explain({asked}, {loss})
assert answer.code == "{code}", answer
{drop}
print("alive")
"""


@pytest.mark.parametrize(
    ("asked", "loss", "code", "drop"),
    [
        ("x", "y", "no-backward-yet", "del y; del kept"),
        ("kept[0]", "y", "non-leaf", "kept.reverse(); del y; kept.clear()"),
        ("y", "kept[3]", "unused-by-graph", "del kept; del x; del y"),
        ("torch.nn.Linear(1, 1)", "y", "nothing-reached", "y = None"),
        ("x", "y", "no-backward-yet", "y.backward(); assert x.grad == 1; y = None; kept = None"),
    ],
    ids=["leaf", "result", "beyond", "module", "after backward"],
)
def test_a_chain_of_300_000_nodes(asked, loss, code, drop):
    """It is searched, and can be dropped in any order; torch alone would overflow the stack."""
    program = LONG.format(asked=asked, loss=loss, code=code, drop=drop)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-500:]
