"""Which cause of a message it is, where torch's own frames or the failing call tell."""

import ast
import inspect
import re

from gradbook.understand.culprit.case import Case, Finding, listed
from gradbook.understand.culprit.frames import passes_through, torch_locals
from gradbook.understand.culprit.line import leaf_in_place, one_tensor
from gradbook.understand.culprit.names import is_tensor, members
from gradbook.understand.culprit.source import calls, last_name


def integer_requires_grad(case: Case) -> Finding:
    """Who asked for the gradient of integers: a factory, a flag, a parameter, a transform."""
    finding = _INTEGERS(case)
    if "nn.Module.to" in case.message:
        finding.excluded |= {"E20", "E20b", "E20c", "E146"}
    elif passes_through(case.trace, "torch/_functorch/eager_transforms.py"):
        finding.variant = "E146"
    elif passes_through(case.trace, "torch/nn/parameter.py"):
        finding.variant = "E20c"
    else:
        finding.variant = _by_statement(_statement(case))
    return finding


_INTEGERS = one_tensor(
    lambda t: not (t.is_floating_point() or t.is_complex()), "`{name}` is {what}."
)


def _by_statement(statement: ast.stmt | None) -> str:
    """By what stands on the line, if only one thing there asks for a gradient."""
    asks: set[str] = set()
    for _, call in calls(statement) if statement is not None else ():
        if last_name(call.func) == "requires_grad_":
            asks.add("E20b")
        elif any(one.arg == "requires_grad" for one in call.keywords):
            asks.add("E20")
    for target in statement.targets if isinstance(statement, ast.Assign) else ():
        if last_name(target) == "requires_grad":
            asks.add("E20b")
    return asks.pop() if len(asks) == 1 else ""


def _statement(case: Case) -> ast.stmt | None:
    place = case.place
    return place.scope.statement if place is not None and place.scope is not None else None


def leaf_written(case: Case) -> Finding:
    """The leaf that is written: by the program, by an optimizer, or by a Function."""
    for names in torch_locals(case.trace, {"apply": "torch/autograd/function.py"}):
        function, given = names.get("cls"), names.get("args")
        if not isinstance(function, type) or type(given) is not tuple:
            continue
        leaves = [one for one in given if is_tensor(one) and one.is_leaf and one.requires_grad]
        finding = Finding(case.name_of(leaves[0]) if leaves else None, variant="E109")
        called = f"`{finding.subject}`" if finding.subject else "a leaf that requires grad"
        finding.facts.append(f"`{function.__name__}.forward` marks {called} as changed.")
        return finding
    for names in torch_locals(case.trace, dict.fromkeys(("step", "wrapper"), ".py")):
        optimizer = names.get("self")
        groups = members(optimizer).get("param_groups", ())
        if any(group.get("differentiable") is True for group in groups):
            named = map(case.name_of, (one for group in groups for one in group["params"]))
            known = [name for name in named if name is not None]
            told = f": it holds {listed(known)}" if known else ""
            fact = f"`{type(optimizer).__name__}` records its steps (`differentiable=True`){told}."
            return Finding(known[0] if known else None, [fact], "E207")
    return leaf_in_place(case)


def forward_arguments(case: Case) -> Finding:
    """Whether `forward` of the Function is static."""
    for names in torch_locals(case.trace, {"apply": "torch/autograd/function.py"}):
        function = names.get("cls")
        if not isinstance(function, type):
            continue
        name = function.__name__
        if isinstance(inspect.getattr_static(function, "forward", None), staticmethod):
            missing = re.search(r"arguments?: (.{1,200})", case.message)
            told = f": {missing[1]}" if missing is not None else ""
            fact = f"`{name}.forward` is static, and `apply()` gave it too few arguments{told}."
            return Finding(name, [fact], "E119b")
        return Finding(name, [f"`{name}.forward` is no static method."], "E106b")
    return Finding()


def setup_context_missing(case: Case) -> Finding:
    """Whether the Function is one of the program, or that of a custom operator."""
    if passes_through(case.trace, "torch/_library/autograd.py"):
        return Finding(variant="E112b")
    for names in torch_locals(case.trace, {"apply": "torch/autograd/function.py"}):
        function = names.get("cls")
        if isinstance(function, type):
            name = function.__name__
            return Finding(name, [f"`{name}` defines no `setup_context`."], "E112")
    return Finding()


def retained_without_graph(case: Case) -> Finding:
    """The tensor that requires no grad; backward() says it too, of one among its inputs."""
    for names in torch_locals(case.trace, {"backward": "torch/autograd/__init__.py"}):
        given = names.get("inputs")
        several = list(given) if isinstance(given, (list, tuple)) else [given]
        for one in several:
            if is_tensor(one) and not one.requires_grad:
                name = case.name_of(one)
                called = f"`{name}`" if name is not None else "A tensor"
                return Finding(
                    name,
                    [f"{called} among the `inputs=` of `backward()` does not require grad."],
                    cures=[
                        "Leave it out of `inputs=`, or call `requires_grad_()` on it before the "
                        "forward pass."
                    ],
                )
    return _WITHOUT_GRAD(case)


_WITHOUT_GRAD = one_tensor(lambda t: not t.requires_grad, "`{name}` does not require grad.")
