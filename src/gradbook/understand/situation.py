"""Why a tensor has no gradient, and which parameters of a module a loss reaches."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.parameter import UninitializedParameter

from gradbook.see import torch_internals
from gradbook.understand import catalogue
from gradbook.understand.culprit import (
    Finding,
    Place,
    calling_place,
    cut_of,
    describe,
    listed,
    plain_tensors,
    version_of,
)
from gradbook.understand.explanation import Explanation


@dataclass
class _Answer:
    """A situation and the facts that show it."""

    code: str
    facts: list[str]
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Situation:
    """Title, cure, and the entry of the Clinic that says more."""

    title: str
    cure: str
    entry: str


# ---------------------------------------------------------------------------------------- tensors

_TENSORS = {
    "has-grad": _Situation("it has a gradient", "", "zero-grad-forgotten"),
    "no-backward-yet": _Situation(
        "no backward has filled `.grad` yet",
        "Call `backward()` on a loss that was computed from it.\n"
        "`explain(tensor, loss)` says whether a loss reaches it.",
        "grad-is-none",
    ),
    "non-leaf": _Situation(
        "a result: its gradient is computed, but not kept",
        "Call `retain_grad()` on it before backward, or read the gradient of the leaf.",
        "non-leaf-grad",
    ),
    "retains-grad": _Situation(
        "a result that keeps its gradient", "Read `.grad` after backward.", "non-leaf-grad"
    ),
    "requires-grad-false": _Situation(
        "it does not require grad",
        "If it is to be trained: `requires_grad_()` before the forward pass.",
        "no-graph",
    ),
    "made-without-grad-mode": _Situation(
        "its graph was cut off when it was made",
        "Keep recording on, and every step inside differentiable torch operations.",
        "no-graph",
    ),
    "integer-dtype": _Situation(
        "integers have no gradient",
        "Convert before the computation that is to be differentiated: `.float()`.",
        "integer-requires-grad",
    ),
    "quantized": _Situation(
        "quantized numbers have no gradient",
        "`dequantize()` it before the computation that is to be differentiated.",
        "integer-requires-grad",
    ),
    "inference-tensor": _Situation(
        "it was made in inference mode",
        "`clone()` it outside of inference mode, or make it under `torch.no_grad()`.",
        "inference-tensor-in-graph",
    ),
    "not-reached": _Situation(
        "the loss does not reach it",
        "Use this very tensor in the computation of the loss, and cut the graph nowhere between.",
        "input-unused",
    ),
    "unused-by-graph": _Situation(
        "a result that the loss was not computed from",
        "Compute the loss from it; a view or a copy made afterwards is another tensor.",
        "input-unused",
    ),
    "loss-without-graph": _Situation(
        "the loss has no graph", "Find where it was cut: `explain(loss)`.", "no-graph"
    ),
}


def of_tensor(tensor: Tensor, loss: Tensor | None) -> Explanation:
    """Explain a tensor of any kind."""
    with plain_tensors():
        place = _calling_place()
        name = _name_of(tensor, place)
        try:
            answer = _situation(tensor, loss, name, place)
            details = {**answer.details, **_read(tensor)}
        except Exception as error:  # a view that torch has given up, or the code of a subclass
            return _unreadable(error, name, "tensor")
    return _explanation(answer, _TENSORS, name, "tensor", details)


def _explanation(
    answer: _Answer,
    situations: Mapping[str, _Situation],
    subject: str | None,
    kind: str,
    details: dict[str, str],
) -> Explanation:
    situation = situations[answer.code]
    return Explanation(
        code=answer.code,
        title=situation.title,
        because=tuple(answer.facts),
        cure=situation.cure,
        url=catalogue.load()[situation.entry].url,
        subject=subject,
        kind=kind,
        details=details,
    )


def _unreadable(error: Exception, subject: str | None, kind: str) -> Explanation:
    """The graph cannot even be looked at; the catalogue may know why."""
    said = " ".join("".join(traceback.format_exception_only(error)).split())
    entry = catalogue.recognise(said)
    first = said.split(". ")[0][:_LONGEST_QUOTE]
    return Explanation(
        code="not-readable",
        title="its graph cannot be read",
        because=(f"Reading it raises {first}.", *(entry.because if entry else ())),
        cure="\n".join(entry.cures) if entry else "Look at what its class does with attributes.",
        url=entry.url if entry else catalogue.BASE_URL + "clinic/index.html",
        subject=subject,
        kind=kind,
    )


_LONGEST_QUOTE = 200


def _calling_place() -> Place | None:
    try:
        return calling_place()
    except Exception:  # frames can hold objects of any kind
        return None


def _name_of(tensor: Tensor, place: Place | None) -> str | None:
    if place is None:
        return None
    try:
        return next((name for name, one in place.tensors() if one is tensor), None)
    except Exception:  # as above: a proxy of something that is gone
        return None


def _situation(
    tensor: Tensor, loss: Tensor | None, name: str | None, place: Place | None
) -> _Answer:
    if tensor.is_inference():
        return _Answer("inference-tensor", ["`is_inference()` is True: no graph can hold it."])
    if not (tensor.is_floating_point() or tensor.is_complex()):
        fact = f"Its dtype is {tensor.dtype}: only real and complex numbers have gradients."
        return _Answer("quantized" if tensor.is_quantized else "integer-dtype", [fact])
    if not tensor.requires_grad:
        return _without_grad(tensor, name, place)
    if loss is None or loss is tensor:
        return _kept(tensor, [], freed=False)
    if loss.grad_fn is None:
        if loss.requires_grad:
            return _Answer("not-reached", ["The loss is a leaf itself: nothing led to it."])
        return _Answer("loss-without-graph", ["`loss.grad_fn` is None: backward would fail."])
    graph = torch_internals.walk([loss.grad_fn])
    answer = _missed(tensor, loss, graph, place)
    if answer is None:
        freed = _freed(graph)
        facts = ["The loss reaches it.", *([_FREED] if freed else [])]
        answer = _kept(tensor, facts, freed=freed)
    answer.details["nodes of the loss"] = str(len(graph))
    return answer


def _without_grad(tensor: Tensor, name: str | None, place: Place | None) -> _Answer:
    found = cut_of(place, name) if place is not None and name is not None else Finding()
    if "cut at" in found.details:
        return _Answer("made-without-grad-mode", found.facts, found.details)
    facts = ["`requires_grad` is False, and no operation that made it was recorded."]
    if found.subject != name:
        facts += found.facts
    if not torch.is_grad_enabled():
        facts.append("Recording is off at this moment (`torch.is_grad_enabled()` is False).")
    if tensor.grad is not None:
        facts.append("It has a gradient from before it was frozen: an optimizer still applies it.")
    return _Answer("requires-grad-false", facts)


_Graph = Mapping[Node, torch_internals.Edges]


def _missed(tensor: Tensor, loss: Tensor, graph: _Graph, place: Place | None) -> _Answer | None:
    """Why `loss`, with this graph, does not reach `tensor`; None if it does."""
    node = tensor.grad_fn
    if node is None:
        return _missed_leaf(tensor, graph, place)
    edge = node, tensor.output_nr
    if edge == (loss.grad_fn, loss.output_nr) or any(edge in edges for edges in graph.values()):
        return None
    name = torch_internals.node_name(node)
    if node in graph:
        fact = f"Of the outputs of its node, {name}, the loss was computed from others."
    else:
        fact = f"Its node, {name}, is not among those that the loss reaches ({len(graph)})."
    return _Answer("unused-by-graph", [fact])


def _missed_leaf(tensor: Tensor, graph: _Graph, place: Place | None) -> _Answer | None:
    leaves = [leaf for node in graph if (leaf := torch_internals.leaf_of(node)) is not None]
    if any(leaf is tensor for leaf in leaves):
        return None
    names = [name for leaf in leaves[:20] if (name := _name_of(leaf, place)) is not None]
    reached = f"of which these have a name here: {listed(names)}" if names else "all without a name"
    facts = [f"It is not among the leaves that the loss reaches: {len(leaves)}, {reached}."]
    memory = torch_internals.storage_of(tensor)[0]
    if any(torch_internals.storage_of(leaf)[0] == memory for leaf in leaves):
        facts.append(
            "The graph ends in another leaf that shares its memory: detached, or a new Parameter."
        )
    if tensor.grad is not None:
        facts.append("Its `.grad` comes from another loss.")
    return _Answer("not-reached", facts)


def _freed(graph: _Graph) -> bool:
    """Whether a backward has freed what a node of the graph had saved."""
    return any(
        saved.released
        for node in islice(graph, _MOST_NODES)
        for saved in torch_internals.saved_fields(node).values()
    )


_MOST_NODES = 1_000
_FREED = "A backward has freed its graph, or a part: the next needs a new forward pass."


def _kept(tensor: Tensor, reaches: Sequence[str], *, freed: bool) -> _Answer:
    """What `.grad` holds of a tensor that requires grad and, if a loss is given, is reached."""
    node = tensor.grad_fn
    if node is not None:
        made = f"It was made by {torch_internals.node_name(node)}"
        if not tensor.retains_grad:
            return _Answer("non-leaf", [f"{made}, so it is not a leaf.", *reaches])
        state = "is still None: no backward yet" if tensor.grad is None else "is filled"
        return _Answer("retains-grad", [f"{made}; its `.grad` {state}.", *reaches])
    if tensor.grad is not None:
        fact = "It is a leaf, and its `.grad` is filled: another backward adds to it."
        return _Answer("has-grad", [fact, *reaches])
    if freed:
        why = "Since then `zero_grad()` has set it to None; or `autograd.grad()` returned it only."
    else:
        why = "Either no backward has run, or `zero_grad()` has set it to None since."
    return _Answer(
        "no-backward-yet",
        ["It is a leaf that requires grad, and its `.grad` is None.", *reaches, why],
    )


def _read(tensor: Tensor) -> dict[str, str]:
    """What can be read off any tensor."""
    version = version_of(tensor)
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


# ---------------------------------------------------------------------------------------- modules

_MODULES = {
    "not-initialised": _Situation(
        "`Module.__init__` has not run",
        "Call `super().__init__()` in the first line of `__init__`.",
        "parameter-before-init",
    ),
    "no-parameters": _Situation(
        "the module has no parameter",
        "Keep layers as attributes or in `nn.ModuleList`, tensors in `nn.Parameter`.",
        "modules-in-a-list",
    ),
    "all-frozen": _Situation(
        "every parameter is frozen", "`requires_grad_()` for what is to be trained.", "no-graph"
    ),
    "all-reached": _Situation(
        "the loss reaches every trained parameter", "", "model-partly-under-no-grad"
    ),
    "nothing-reached": _Situation(
        "the loss reaches no parameter of the module",
        "Compute the loss from the output of this module, and cut the graph nowhere between.",
        "no-graph",
    ),
    "some-not-reached": _Situation(
        "the loss does not reach some parameters",
        "Use every output in the loss; look for `no_grad()` and `detach()` in the forward pass.\n"
        "Freeze on purpose what is not to be trained: `requires_grad_(False)`.",
        "model-partly-under-no-grad",
    ),
    "all-have-gradients": _Situation(
        "every trained parameter has a gradient", "", "zero-grad-forgotten"
    ),
    "no-gradients": _Situation(
        "no parameter has a gradient",
        "Call `backward()` on a loss; `explain(module, loss)` says which ones it reaches.",
        "grad-is-none",
    ),
    "some-without-gradient": _Situation(
        "some parameters have no gradient",
        "`explain(module, loss)` says which ones the loss reaches.",
        "model-partly-under-no-grad",
    ),
}


def of_module(module: nn.Module, loss: Tensor | None) -> Explanation:
    """Explain the parameters of a module."""
    with plain_tensors():
        subject = _name_of_module(module, _calling_place())
        try:
            answer = _parameters(module, loss)
        except Exception as error:  # the code of a subclass
            return _unreadable(error, subject, "module")
    return _explanation(answer, _MODULES, subject, "module", answer.details)


def _name_of_module(module: nn.Module, place: Place | None) -> str | None:
    if place is None:
        return None
    named = {**place.namespace, **place.visible}
    return next((name for name, one in named.items() if one is module), None)


def _parameters(module: nn.Module, loss: Tensor | None) -> _Answer:
    kind = type(module).__name__
    if "_parameters" not in vars(module):
        return _Answer("not-initialised", [f"{kind} has no place for parameters yet."])
    every = dict(module.named_parameters())  # a shared one once, by its first name
    answer = _Answer("", [], {"parameters": str(len(every))})
    if not every:
        fact = f"{kind} has registered none; layers in a Python list or dict are not seen."
        return _Answer("no-parameters", [fact], answer.details)
    frozen = [name for name, one in every.items() if not one.requires_grad]
    trained = {name: one for name, one in every.items() if one.requires_grad}
    if loss is None:
        good = [name for name, one in trained.items() if one.grad is not None]
        words = "with a gradient", "without a gradient"
    else:
        good = _reached(trained, every, loss, answer)
        words = "reached", "not reached"
    missing = [name for name in trained if name not in set(good)]
    for word, names in zip((*words, "frozen"), (good, missing, frozen), strict=True):
        answer.details[word] = ", ".join(names) or "none"
        if names:
            verb = "is" if len(names) == 1 else "are"
            answer.facts.append(f"{len(names)} of {len(every)} {verb} {word}: {listed(names)}.")
    _tell_shared(module, every, answer)
    lazy = [name for name, one in every.items() if isinstance(one, UninitializedParameter)]
    if lazy:
        answer.facts.append(f"Without a shape until the first forward pass: {listed(lazy)}.")
    stale = [name for name in frozen if every[name].grad is not None]
    if stale:
        answer.facts.append(
            f"Frozen, but with a gradient that an optimizer still applies: {listed(stale)}."
        )
    answer.code = _verdict(trained, good, missing, loss)
    return answer


def _reached(
    trained: Mapping[str, Tensor], every: Mapping[str, Tensor], loss: Tensor, answer: _Answer
) -> list[str]:
    """The trained parameters that are in the graph of the loss."""
    if loss.grad_fn is None:
        answer.facts.append("The loss has no graph, so it reaches nothing.")
    graph = torch_internals.walk([loss.grad_fn] if loss.grad_fn is not None else [])
    leaves = {id(leaf) for node in graph if (leaf := torch_internals.leaf_of(node)) is not None}
    good = [name for name, one in trained.items() if id(one) in leaves]
    answer.details["nodes of the loss"] = str(len(graph))
    without = [name for name in good if trained[name].grad is None]
    answer.details["reached, without a gradient"] = ", ".join(without) or "none"
    others = len(leaves - {id(one) for one in every.values()})
    if others:
        answer.facts.append(
            f"Leaves in the graph of the loss that are no parameters of this module: {others}."
        )
    return good


def _tell_shared(module: nn.Module, every: Mapping[str, Tensor], answer: _Answer) -> None:
    names = {id(one): name for name, one in every.items()}
    shared = [
        f"{name} = {names[id(one)]}"
        for name, one in module.named_parameters(remove_duplicate=False)
        if name not in every
    ]
    if shared:
        answer.facts.append(f"Shared, and counted once: {listed(shared)}.")


def _verdict(
    trained: Mapping[str, Tensor], good: list[str], missing: list[str], loss: Tensor | None
) -> str:
    if not trained:
        return "all-frozen"
    if loss is None:
        if not missing:
            return "all-have-gradients"
        return "some-without-gradient" if good else "no-gradients"
    if not missing:
        return "all-reached"
    return "some-not-reached" if good else "nothing-reached"
