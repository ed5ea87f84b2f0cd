"""Why a tensor has no gradient, or one that does not help."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.understand.answer import (
    Answer,
    Situation,
    explanation_of,
    name_at,
    place_of_caller,
    unreadable,
)
from gradbook.understand.culprit import (
    Finding,
    Place,
    cut_of,
    describe,
    fate_of_gradients,
    listed,
    zeroed_since,
)
from gradbook.understand.culprit.names import (
    is_container,
    is_module,
    is_tensor,
    items_of,
    parameters_of,
)
from gradbook.understand.explanation import Explanation
from gradbook.understand.hidden import Hidden, hidden_in
from gradbook.understand.shards import placed, shards_at
from gradbook.understand.silent import all_zero, count_not_finite, held_by, optimizers_at

_TENSORS = {
    "has-grad": Situation("it has a gradient", "", "zero-grad-forgotten"),
    "no-backward-yet": Situation(
        "no backward has filled `.grad` yet",
        "Call `backward()` on a loss that was computed from it.\n"
        "`explain(tensor, loss)` says whether a loss reaches it.",
        "grad-is-none",
    ),
    "left-out": Situation(
        "a backward pass ran, and left it out",
        "Compute the loss from this very tensor, and cut the graph nowhere between.\n"
        "`explain(tensor, loss)` says whether a loss reaches it.",
        "grad-is-none",
    ),
    "gradient-zero": Situation(
        "its gradient is zero everywhere",
        "Look for what has a slope of zero on the way: a dead ReLU, a saturated sigmoid, "
        "`round()`, a mask or a factor of zero.",
        "rounding-has-zero-gradient",
    ),
    "gradient-not-finite": Situation(
        "its gradient is not finite",
        "Find the operation: `gradbook.replay(loss)` after a new forward pass shows each step.\n"
        "`torch.autograd.set_detect_anomaly(True)` stops at nan, though not at infinity.",
        "anomaly-nan",
    ),
    "not-in-optimizer": Situation(
        "no optimizer in reach holds it",
        "Give it to the optimizer: `optimizer.add_param_group({'params': [tensor]})`, or build the "
        "optimizer after it.",
        "optimizer-before-new-layer",
    ),
    "hidden-by-checkpoint": Situation(
        "it may be behind a part that is computed again in backward",
        "Look at `.grad` after `backward()`.\n"
        "`use_reentrant=False` in the checkpoint shows it in the graph.",
        "checkpoint-mode-not-given",
    ),
    "sharded": Situation(
        "it is a shard: the graph holds another tensor, the whole",
        "Look at `.grad` after `backward()`, or ask about the module: `explain(module, loss)`.",
        "grad-is-none",
    ),
    "non-leaf": Situation(
        "a result: its gradient is computed, but not kept",
        "Call `retain_grad()` on it before backward, or read the gradient of the leaf.",
        "non-leaf-grad",
    ),
    "retains-grad": Situation(
        "a result that keeps its gradient", "Read `.grad` after backward.", "non-leaf-grad"
    ),
    "requires-grad-false": Situation(
        "it does not require grad",
        "If it is to be trained: `requires_grad_()` before the forward pass.",
        "no-graph",
    ),
    "made-without-grad-mode": Situation(
        "its graph was cut off when it was made",
        "Keep recording on, and every step inside differentiable torch operations.",
        "no-graph",
    ),
    "integer-dtype": Situation(
        "integers have no gradient",
        "Convert before the computation that is to be differentiated: `.float()`.",
        "integer-requires-grad",
    ),
    "quantized": Situation(
        "quantized numbers have no gradient",
        "`dequantize()` it before the computation that is to be differentiated.",
        "integer-requires-grad",
    ),
    "inference-tensor": Situation(
        "it was made in inference mode",
        "`clone()` it outside of inference mode, or make it under `torch.no_grad()`.",
        "inference-tensor-in-graph",
    ),
    "not-reached": Situation(
        "the loss does not reach it",
        "Use this very tensor in the computation of the loss, and cut the graph nowhere between.",
        "input-unused",
    ),
    "unused-by-graph": Situation(
        "a result that the loss was not computed from",
        "Compute the loss from it; a view or a copy made afterwards is another tensor.",
        "input-unused",
    ),
    "loss-without-graph": Situation(
        "the loss has no graph", "Find where it was cut: `explain(loss)`.", "no-graph"
    ),
}


def of_tensor(tensor: Tensor, loss: Tensor | None) -> Explanation:
    """Explain a tensor of any kind."""
    with torch_internals.plain_tensors():
        place = place_of_caller()
        name = name_at(tensor, place)
        try:
            answer = _situation(tensor, loss, name, place)
            details = {**answer.details, **_read(tensor)}
        except Exception as error:  # a view that torch has given up, or the code of a subclass
            return unreadable(error, name, "tensor")
    return explanation_of(answer, _TENSORS, name, "tensor", details)


def _situation(
    tensor: Tensor, loss: Tensor | None, name: str | None, place: Place | None
) -> Answer:
    if tensor.is_inference():
        return Answer("inference-tensor", ["`is_inference()` is True: no graph can hold it."])
    if not (tensor.is_floating_point() or tensor.is_complex()):
        fact = f"Its dtype is {tensor.dtype}: only real and complex numbers have gradients."
        return Answer("quantized" if tensor.is_quantized else "integer-dtype", [fact])
    if not tensor.requires_grad:
        return _without_grad(tensor, name, place)
    if loss is None or loss is tensor:
        return _kept(tensor, [], place, freed=False)
    if loss.grad_fn is None:
        if loss.requires_grad:
            return Answer("not-reached", ["The loss is a leaf itself: nothing led to it."])
        return Answer("loss-without-graph", ["`loss.grad_fn` is None: backward would fail."])
    graph = torch_internals.walk([loss.grad_fn])
    answer = _missed(tensor, loss, graph, place)
    if answer is None:
        freed = _freed(graph)
        facts = ["The loss reaches it.", *([_FREED] if freed else [])]
        answer = _kept(tensor, facts, place, freed=freed)
    answer.details["nodes of the loss"] = str(len(graph))
    return answer


def _without_grad(tensor: Tensor, name: str | None, place: Place | None) -> Answer:
    found = cut_of(place, name) if place is not None and name is not None else Finding()
    if "cut at" in found.details:
        return Answer("made-without-grad-mode", found.facts, found.details)
    facts = ["`requires_grad` is False, and no operation that made it was recorded."]
    if found.subject != name:
        facts += found.facts
    if not torch.is_grad_enabled():
        facts.append("Recording is off at this moment (`torch.is_grad_enabled()` is False).")
    if tensor.grad is not None:
        facts.append("It has a gradient from before it was frozen: an optimizer still applies it.")
    return Answer("requires-grad-false", facts)


_Graph = Mapping[Node, torch_internals.Edges]


def _missed(tensor: Tensor, loss: Tensor, graph: _Graph, place: Place | None) -> Answer | None:
    """Why `loss`, with this graph, does not reach `tensor`; None if it does."""
    node = tensor.grad_fn
    if node is None:
        return _missed_leaf(tensor, loss, graph, place)
    edge = node, tensor.output_nr
    if edge == (loss.grad_fn, loss.output_nr) or any(edge in edges for edges in graph.values()):
        return None
    name = torch_internals.node_name(node)
    if node in graph:
        fact = f"Of the outputs of its node, {name}, the loss was computed from others."
    else:
        fact = f"Its node, {name}, is not among those that the loss reaches ({len(graph)})."
    return Answer("unused-by-graph", [fact])


def _missed_leaf(tensor: Tensor, loss: Tensor, graph: _Graph, place: Place | None) -> Answer | None:
    leaves = [leaf for node in graph if (leaf := torch_internals.leaf_of(node)) is not None]
    shards = shards_at(place)
    if shards.is_one_of(tensor, {id(leaf) for leaf in leaves}):
        return None
    if shards.untold(tensor):
        fact = f"It is a DTensor ({placed(tensor)}), and no leaf of the graph itself."
        return Answer("sharded", [fact, "Which leaf is its whole cannot be read from here."])
    names = [name for leaf in leaves[:20] if (name := name_at(leaf, place)) is not None]
    reached = f"of which these have a name here: {listed(names)}" if names else "all without a name"
    facts = [f"It is not among the leaves that the loss reaches: {len(leaves)}, {reached}."]
    memory = torch_internals.storage_of(tensor)[0]
    if any(torch_internals.storage_of(leaf)[0] == memory for leaf in leaves):
        facts.append(
            "The graph ends in another leaf that shares its memory: detached, or a new Parameter."
        )
    if tensor.grad is not None:
        facts.append("Its `.grad` does not come from this loss.")
    hidden = hidden_in(graph)
    if hidden.kinds and (id(tensor) in hidden.parameters() or not hidden.readable):
        return _behind(tensor, hidden)
    answer = Answer("not-reached", facts)
    name = name_at(loss, place)
    if place is not None and name is not None and len(graph) < _MOST_WALKED:
        cut = cut_of(place, name, reaching([tensor]))
        if "cut at" in cut.details:
            answer.facts += cut.facts[1:]
            answer.cures += cut.cures
            answer.details |= cut.details
    return answer


def _behind(tensor: Tensor, hidden: Hidden) -> Answer:
    """A parameter of a part whose graph is built only when backward runs."""
    kinds = listed(hidden.kinds, code=False)
    facts = [f"The graph has {kinds}: behind it a graph is built only during backward."]
    if id(tensor) in hidden.parameters():
        facts.append("It is a parameter of what is computed again there.")
    else:
        facts.append("What is computed again there cannot be read from here.")
    return Answer("hidden-by-checkpoint", facts)


def reaching(leaves: Sequence[Tensor]) -> Callable[[Any], bool]:
    """Whether a value leads to one of some leaves: by its graph, or because it holds it."""
    wanted = {id(one) for one in leaves}
    known: dict[int, bool] = {}
    walked: list[int] = []

    def of_graph(tensor: Tensor) -> bool:
        if id(tensor) in wanted or tensor.grad_fn is None:
            return id(tensor) in wanted
        if id(tensor) not in known and sum(walked) < _MOST_WALKED:
            nodes = torch_internals.walk([tensor.grad_fn])
            walked.append(len(nodes))
            found = (torch_internals.leaf_of(node) for node in nodes)
            known[id(tensor)] = any(id(one) in wanted for one in found)
        return known.get(id(tensor), False)

    def carries(value: object) -> bool:
        if is_tensor(value):
            return of_graph(value)
        if is_module(value):
            return not wanted.isdisjoint(id(one) for one in parameters_of(value).values())
        return is_container(value) and any(carries(one) for _, one in items_of(value))

    return carries


_MOST_WALKED = 50_000  # nodes


def _freed(graph: _Graph) -> bool:
    """Whether a backward has freed what a node of the graph had saved."""
    return any(
        saved.released
        for node in islice(graph, _MOST_NODES)
        for saved in torch_internals.saved_fields(node).values()
    )


_MOST_NODES = 1_000
_FREED = "A backward has freed its graph, or a part: the next needs a new forward pass."


def _kept(tensor: Tensor, reaches: Sequence[str], place: Place | None, *, freed: bool) -> Answer:
    """What `.grad` holds of a tensor that requires grad and, if a loss is given, is reached."""
    node = tensor.grad_fn
    if node is not None:
        made = f"It was made by {torch_internals.node_name(node)}"
        if not tensor.retains_grad:
            return Answer("non-leaf", [f"{made}, so it is not a leaf.", *reaches])
        state = "is still None: no backward yet" if tensor.grad is None else "is filled"
        return Answer("retains-grad", [f"{made}; its `.grad` {state}.", *reaches])
    if tensor.grad is not None:
        return _filled(tensor, tensor.grad, reaches, place)
    facts = ["It is a leaf that requires grad, and its `.grad` is None.", *reaches]
    fate = fate_of_gradients([place] if place is not None else [])
    if fate.kind == "left out" and not reaches:
        return Answer("left-out", [*facts, *fate.facts])
    answer = Answer("no-backward-yet", facts)
    if fate.kind in ("none yet", "cleared"):
        answer.facts += fate.facts
    elif freed:
        answer.possible += ["`zero_grad()` has set it to None since.", _ONLY_RETURNED]
    else:
        answer.possible.append("No backward has run yet.")
        if not reaches:
            answer.possible.append("A backward ran, and did not reach it.")
        answer.possible.append("`zero_grad()` has set it to None since.")
    return answer


_ONLY_RETURNED = "`autograd.grad()`, or `backward(inputs=...)`, was asked for other gradients."


def _filled(
    tensor: Tensor, gradient: Tensor, reaches: Sequence[str], place: Place | None
) -> Answer:
    """A gradient that is there: whether its numbers are of use, and whether a step applies it."""
    bad = count_not_finite(gradient)
    if bad:
        fact = f"{bad} of the {gradient.numel()} numbers of its `.grad` are nan or infinite."
        return Answer("gradient-not-finite", [fact, *reaches])
    if all_zero(gradient):
        fact = f"All {gradient.numel()} numbers of its `.grad` are zero."
        if gradient.numel() == 1:
            fact = "The number in its `.grad` is zero."
        since = zeroed_since([place] if place is not None else [])
        return Answer("gradient-zero", [fact, *since, *reaches])
    fact = "It is a leaf, and its `.grad` is filled: another backward adds to it."
    optimizers = optimizers_at(place)
    parameter = issubclass(type(tensor), nn.Parameter)  # an input needs no optimizer
    held = held_by(optimizers)
    if parameter and optimizers and not shards_at(place).is_one_of(tensor, held):
        names = listed(name for name, _ in optimizers)
        return Answer(
            "not-in-optimizer", [fact, f"Not in {names}, so no step changes it.", *reaches]
        )
    return Answer("has-grad", [fact, *reaches])


def _read(tensor: Tensor) -> dict[str, str]:
    """What can be read off any tensor."""
    version = torch_internals.version_of(tensor)
    return {
        "tensor": describe(tensor),
        "is_leaf": str(tensor.is_leaf),
        "requires_grad": str(tensor.requires_grad),
        "grad_fn": torch_internals.node_name(tensor.grad_fn)
        if tensor.grad_fn is not None
        else "None",
        "retains_grad": str(tensor.retains_grad),
        "version": "not counted" if version is None else str(version),
    }
