"""Which tensors of the failing line a message speaks of."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from gradbook import internals
from gradbook.culprit.case import Case, Finding, describe, made_by
from gradbook.culprit.frames import modules_in, torch_locals

_Named = list[tuple[str, Tensor]]
Method = Callable[[Case], Finding]


def one_tensor(wanted: Callable[[Tensor], bool], fact: str) -> Method:
    """The first tensor of the failing line that has a property.

    Args:
        wanted: the property.
        fact: a sentence with ``{name}``, ``{what}`` (dtype and shape) or ``{made}``.
    """

    def look(case: Case) -> Finding:
        for name, tensor in case.tensors_at_hand():
            if wanted(tensor):
                text = fact.format(name=name, what=describe(tensor), made=made_by(tensor))
                return Finding(subject=name, facts=[text])
        return Finding()

    return look


def written(fact: str) -> Method:
    """The tensor that the failing line changes in place."""

    def look(case: Case) -> Finding:
        found = [(name, value) for name, value in case.on_the_line() if isinstance(value, Tensor)]
        for name, tensor in found:
            text = fact.format(name=name, what=describe(tensor), made=made_by(tensor))
            return Finding(subject=name, facts=[text])
        return Finding()

    return look


def differentiated(case: Case) -> Finding:
    """The tensor whose backward was asked for."""
    for root in case.roots:
        name = case.name_of(root)
        called = f"`{name}`" if name is not None else "The output"
        return Finding(subject=name, facts=[f"{called} is {describe(root)}."])
    return Finding()


def two_tensors(case: Case) -> Finding:
    """Two tensors of the failing line that do not go together, by what the message says."""
    at_hand = case.tensors_at_hand()
    found = (
        _by_matrices(case.message, at_hand)
        or _by_size(case.message, at_hand)
        or _by_shapes(case.message, at_hand)
        or _by_dtypes(case.message, at_hand)
        or _by_devices(case.message, at_hand)
    )
    if not found:
        return Finding()
    words = "; ".join(f"`{name}` is {describe(tensor)}" for name, tensor in found)
    return Finding(subject=" and ".join(name for name, _ in found), facts=[words + "."])


_MATRICES = re.compile(r"\((\d+)x(\d+) and (\d+)x(\d+)\)")
_SIZE = re.compile(r"tensor a \((\d+)\) must match the size of tensor b \((\d+)\)")
_SHAPE = re.compile(r"[\[(](\d+(?:, ?\d+){0,9}),?[\])]")


def _by_matrices(message: str, at_hand: _Named) -> _Named:
    said = _MATRICES.search(message)
    if said is None:
        return []
    rows, columns, inner, outer = (int(size) for size in said.groups())
    # A batch becomes one matrix before the product, and a Linear turns its weight around.
    return _two(
        [
            pair
            for pair in at_hand
            if pair[1].dim() and pair[1].shape[-1] == columns and pair[1].numel() == rows * columns
        ],
        [pair for pair in at_hand if tuple(pair[1].shape) in ((inner, outer), (outer, inner))],
    )


def _by_size(message: str, at_hand: _Named) -> _Named:
    said = _SIZE.search(message)
    if said is None:
        return []
    return _two(
        *([pair for pair in at_hand if int(size) in pair[1].shape] for size in said.groups())
    )


def _by_shapes(message: str, at_hand: _Named) -> _Named:
    shapes = [
        tuple(int(size) for size in found.split(","))
        for found in _SHAPE.findall(message.replace("torch.Size", ""))
    ]
    if len(shapes) < 2:
        return []
    return _two(*([pair for pair in at_hand if tuple(pair[1].shape) == one] for one in shapes[:2]))


_DTYPES = {
    "float": torch.float32,
    "double": torch.float64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "long": torch.int64,
    "int": torch.int32,
    "byte": torch.uint8,
    "bool": torch.bool,
    "complexfloat": torch.complex64,
    "complexdouble": torch.complex128,
}


def _by_dtypes(message: str, at_hand: _Named) -> _Named:
    words = [word.lower() for word in re.findall(r"[A-Za-z]\w*", message)]
    said = list(dict.fromkeys(_DTYPES[word] for word in words if word in _DTYPES))
    fitting = [[pair for pair in at_hand if pair[1].dtype == one] for one in said]
    if len(said) == 2:
        found = _two(*fitting)
        if found:
            return found
    # "expected ... to be Long or Byte, but got Float": the last one is what came.
    return fitting[-1][-1:] if fitting else []


def _by_devices(message: str, at_hand: _Named) -> _Named:
    if "device" not in message:
        return []
    for one in at_hand:
        for other in at_hand:
            if one[1].device != other[1].device:
                return [one, other]
    return []


def _two(first: _Named, second: _Named) -> _Named:
    """One of each, and not the same twice."""
    return next(([one, other] for one in first for other in second if one[0] != other[0]), [])


def loss_and_target(case: Case) -> Finding:
    """As `two_tensors`; the message has the target's size first, a program its prediction."""
    finding = two_tensors(case)
    if finding.subject is not None:
        finding.subject = " and ".join(reversed(finding.subject.split(" and ")))
    return finding


# ---------------------------------------------------------------------------- single messages


def input_unused(case: Case) -> Finding:
    """The input of autograd.grad() at the place that the message names, else the first one."""
    said = re.search(r"at index (\d+)", case.message)
    number = int(said[1]) if said is not None else 0
    if number >= len(case.inputs) or not isinstance(case.inputs[number], Tensor):
        return Finding(variant="E08")
    tensor = case.inputs[number]
    name = case.name_of(tensor)
    called = f"`{name}`" if name is not None else f"Input {number}"
    return Finding(
        subject=name,
        facts=[f"{called} is not in the graph of the output; it is {made_by(tensor)}."],
        variant="E08" if tensor.grad_fn is None else "E08b",
    )


def input_without_grad(case: Case) -> Finding:
    """The input of autograd.grad() that does not require grad."""
    for tensor in case.inputs:
        if isinstance(tensor, Tensor) and not tensor.requires_grad:
            name = case.name_of(tensor)
            called = f"`{name}`" if name is not None else "An input"
            return Finding(subject=name, facts=[f"{called} does not require grad."])
    return Finding()


def grad_is_none(case: Case) -> Finding:
    """The tensor of the line that has no gradient, and why."""
    for name, tensor in case.tensors_at_hand():
        if not tensor.is_leaf and not tensor.retains_grad:
            fact = f"`{name}` is not a leaf ({made_by(tensor)}), so its gradient is not kept."
            return Finding(subject=name, facts=[fact], variant="E16b")
        if tensor.grad is None:
            why = "no backward has reached it" if tensor.requires_grad else "it requires no grad"
            return Finding(subject=name, facts=[f"`{name}.grad` is None: {why}."], variant="E16")
    return Finding()


def deepcopied(case: Case) -> Finding:
    """The result that a module keeps."""
    for names in torch_locals(case.trace, {"__deepcopy__": "torch/_tensor.py"}):
        tensor = names.get("self")
        name = case.name_of(tensor)
        if isinstance(tensor, Tensor) and name is not None:
            return Finding(subject=name, facts=[f"`{name}` has a graph: it is {made_by(tensor)}."])
    return Finding()


def leaf_in_graph(case: Case) -> Finding:
    """The leaf of a recorded graph that is a result now."""
    for node in case.graph:
        leaf = internals.leaf_of(node)
        if leaf is not None and leaf.grad_fn is not None:
            name = case.name_of(leaf)
            called = f"`{name}`" if name is not None else "A leaf of the graph"
            return Finding(subject=name, facts=[f"{called} is {made_by(leaf)} now."])
    return Finding()


def module_in_place(case: Case) -> Finding:
    """The module on the failing line, or inside it, that works in place."""
    for name, value in case.on_the_line():
        for path, module in modules_in({name: value}):
            if getattr(module, "inplace", False) is True:
                kind = type(module).__name__
                return Finding(subject=path, facts=[f"`{path}` ({kind}) works in place."])
    return Finding()


def gave_nan(case: Case) -> Finding:
    """What the node of the message was computed from, or made."""
    said = re.search(r"Function '(\w+)'", case.message)
    if said is None:
        return Finding()
    details = {"node": said[1]}
    made = {one.grad_fn: name for place in case.places for name, one in place.tensors()}
    for node, edges in case.graph.items():
        if internals.node_name(node) != said[1]:
            continue
        for child, _ in edges:
            leaf = internals.leaf_of(child) if child is not None else None
            name = case.name_of(leaf) if leaf is not None else made.get(child)
            if name is not None:
                return Finding(name, [f"{said[1]} was computed from `{name}`."], "", details)
        if node in made:
            return Finding(made[node], [f"{said[1]} made `{made[node]}`."], "", details)
    return Finding(details=details)
