"""Find what an error message does not say: the variable, and the line."""

import ast
import traceback
from collections.abc import Callable
from typing import Any

from torch import nn

from gradbook.see import torch_internals
from gradbook.understand.catalogue import Entry
from gradbook.understand.culprit import line
from gradbook.understand.culprit.asked import (
    forward_arguments,
    integer_requires_grad,
    leaf_written,
    retained_without_graph,
    setup_context_missing,
)
from gradbook.understand.culprit.case import Case, Finding, describe, listed
from gradbook.understand.culprit.cut import explain_cut, no_graph, tell_stops
from gradbook.understand.culprit.edit import detached_in_place, modified_in_place
from gradbook.understand.culprit.flow import of_module, requires_grad
from gradbook.understand.culprit.frames import Place, calling_place
from gradbook.understand.culprit.freed import graph_freed
from gradbook.understand.culprit.line import one_tensor, written
from gradbook.understand.culprit.passes import fate_of_gradients, zeroed_since

__all__ = [
    "Finding",
    "Place",
    "calling_place",
    "cut_in_module",
    "cut_of",
    "describe",
    "fate_of_gradients",
    "investigate",
    "listed",
    "source_of",
    "zeroed_since",
]

_REQUIRES = "`{name}` requires grad; it is {made}."
_NO_LEAF = "`{name}` is not a leaf: it is {made}."
_NO_GRAD = "`{name}` does not require grad."
_INFERENCE = one_tensor(lambda t: t.is_inference(), "`{name}` was made in inference mode.")

# How the guilty variable of an entry is looked for.
_METHODS: dict[str, line.Method] = {
    "accumulate-hook-on-non-leaf": one_tensor(lambda t: not t.is_leaf, _NO_LEAF),
    "anomaly-nan": line.gave_nan,
    "apply-needs-detach": one_tensor(lambda t: t.requires_grad, _REQUIRES),
    "argument-not-differentiable": one_tensor(lambda t: t.requires_grad and t.is_leaf, _REQUIRES),
    "bce-range": one_tensor(
        line.outside_zero_to_one, "`{name}` holds numbers outside 0 to 1, or nan."
    ),
    "complex-backward": line.differentiated,
    "data-of-another-kind": written("`{name}` is {what}."),
    "deepcopy-non-leaf": line.deepcopied,
    "detach-view-in-place": written("`{name}` is {made}."),
    "device-mismatch": line.two_tensors,
    "dlpack-needs-detach": one_tensor(lambda t: t.requires_grad, _REQUIRES),
    "dtype-mismatch": line.two_tensors,
    "expanded-in-place": written("`{name}` is {what}; it is {made}."),
    "function-view-in-place": written("`{name}` is {made}."),
    "grad-dtype": written("`{name}` is {what}; it is {made}."),
    "grad-fn-is-none": one_tensor(lambda t: t.grad_fn is None, "`{name}` is {made}."),
    "grad-is-itself": written("`{name}` is {what}."),
    "grad-is-none": line.grad_is_none,
    "grad-not-a-tensor": written("`{name}` is {what}."),
    "grad-of-another-kind": written("`{name}` is {what}."),
    "grad-output-dtype": line.differentiated,
    "grad-output-shape": line.differentiated,
    "gradient-edge-without-graph": one_tensor(lambda t: not t.requires_grad, _NO_GRAD),
    "graph-freed": graph_freed,
    "function-forward-arguments": forward_arguments,
    "function-without-setup-context": setup_context_missing,
    "function-gradient-shape": line.gradient_shape,
    "hooked-module-in-place": line.module_in_place,
    "hook-without-graph": one_tensor(lambda t: not t.requires_grad, _NO_GRAD),
    "index-of-number": one_tensor(lambda t: t.dim() == 0, "`{name}` has no dimension."),
    "inference-tensor-in-graph": _INFERENCE,
    "inference-tensor-in-place": _INFERENCE,
    "inference-tensor-requires-grad": _INFERENCE,
    "inference-tensor-version": _INFERENCE,
    "input-requires-no-grad": line.input_without_grad,
    "input-unused": line.input_unused,
    "integer-requires-grad": integer_requires_grad,
    "item-of-many": one_tensor(lambda t: t.numel() != 1, "`{name}` is {what}."),
    "leaf-in-place": leaf_written,
    "leaf-moved-into-graph": line.leaf_in_graph,
    "matmul-shapes": line.two_tensors,
    "modified-in-place": modified_in_place,
    "multi-view-in-place": written("`{name}` is {made}."),
    "no-grad-view-in-place": written("`{name}` is {made}."),
    "no-graph": no_graph,
    "non-scalar-backward": line.differentiated,
    "numpy-needs-detach": one_tensor(lambda t: t.requires_grad, _REQUIRES),
    "optimizer-non-leaf": one_tensor(lambda t: not t.is_leaf, _NO_LEAF),
    "out-argument": one_tensor(lambda t: t.requires_grad, _REQUIRES),
    "requires-grad-of-non-leaf": one_tensor(lambda t: not t.is_leaf, _NO_LEAF),
    "resize-needs-detach": one_tensor(lambda t: t.requires_grad, _REQUIRES),
    "retain-grad-without-graph": retained_without_graph,
    "saved-tensor-detached": detached_in_place,
    "scaler-half-weights": line.half_weights,
    "ddp-unused-parameters": line.parameters_of_ddp,
    "ddp-ready-twice": line.parameters_of_ddp,
    "tensor-over-parameter": line.parameter_of_module,
    "shapes-do-not-broadcast": line.two_tensors,
    "target-broadcast": line.loss_and_target,
    "target-size": line.loss_and_target,
    "view-of-leaf-in-place": line.view_of_leaf,
}

_MOST_FRAMES = 100


def _nothing(_: Case) -> Finding:
    return Finding()


def investigate(error: BaseException, entry: Entry, message: str) -> Finding:
    """Look at the frames of `error`, which was recognised as `entry`.

    Only reads. Frames can hold anything; what fails on the way is left out of the result.
    """
    finding = Finding()
    try:
        with torch_internals.plain_tensors():
            case = Case(error.__traceback__, message)
            if case.place is not None:
                finding.details["line"] = str(case.place.source)
                found = _METHODS.get(entry.id, _nothing)(case)
                found.details = {**finding.details, **found.details}
                finding = found
    except Exception:  # frames can hold objects of any kind
        return finding
    return finding


def cut_of(
    place: Place,
    name: str,
    carries: Callable[[Any], bool] | None = None,
) -> Finding:
    """Why no gradient passes to the variable `name` of a running program, if the source tells.

    Args:
        place: the line that the program runs.
        name: the variable.
        carries: whether a value carries the gradient that is looked for; by default, whether it
            requires grad.
    """
    try:
        value = place.resolve(name)[1]
        expression = ast.Name(name, ast.Load())
        return explain_cut(place, expression, value, name, carries or requires_grad)
    except Exception:  # as above
        return Finding()


def cut_in_module(module: nn.Module, carries: Callable[[Any], bool]) -> Finding:
    """Where the forward pass of a module ends what carries a gradient inside it."""
    finding = Finding()
    try:
        flow = of_module(module, carries)
        if not flow.carries or flow.perhaps:
            tell_stops(flow.stops, finding, None)
    except Exception:  # as above
        return Finding()
    return finding


def source_of(error: BaseException) -> str | None:
    """The lines of the program in the traceback of `error`; None without one."""
    if error.__traceback__ is None:
        return None
    return "".join(traceback.format_tb(error.__traceback__, limit=-_MOST_FRAMES))
