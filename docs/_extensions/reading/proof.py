"""Hold the script of a player against torch, when the site is built.

A player lets its reader change the leaves of a recorded program, and computes the gradients in the
page. Here QuickJS runs that script, and torch the same operations, on a grid of inputs; where the
two differ the player keeps the recorded numbers and says so.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import quickjs
import torch
from torch import Tensor

from gradbook.see.display import assets

Program = dict[str, Any]
_CALL = """(program, leaves) => {
  const { found } = run(JSON.parse(program), JSON.parse(leaves));
  return JSON.stringify(Object.entries(found).map(([name, one]) => [name, one.d.map(String)]));
}"""
_POINTS = 60
# Whole and half numbers, where relu, abs and clamp have their kinks and maxima are equal.
_GRID = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)
_ROUNDED = 1e-3  # what is shown has four digits
_TOLERANCE = {True: 1e-4, False: 1e-6}  # in single precision, or in double


def _clamped(n: dict[str, Any]) -> Tensor:
    return torch.clamp(n["self"], n["min"], n["max"])


# The operation behind each node, in the names of torch's formulas. Its node is compared.
_OPERATIONS: dict[str, Callable[[dict[str, Any]], Tensor]] = {
    "AbsBackward0": lambda n: torch.abs(n["self"]),
    "AddBackward0": lambda n: torch.add(n["self"], n["other"], alpha=n.get("alpha", 1)),
    "AddmmBackward0": lambda n: torch.addmm(
        n["self"], n["mat1"], n["mat2"], beta=n.get("beta", 1), alpha=n.get("alpha", 1)
    ),
    "AliasBackward0": lambda n: torch.ops.aten.alias(n["self"]),
    "AmaxBackward0": lambda n: torch.amax(n["self"], n["dims"], keepdim=n["keep"]),
    "ClampBackward1": _clamped,
    "ClampMaxBackward0": lambda n: torch.clamp_max(n["self"], n["max"]),
    "ClampMinBackward0": lambda n: torch.clamp_min(n["self"], n["min"]),
    "CloneBackward0": lambda n: torch.clone(n["self"]),
    "CosBackward0": lambda n: torch.cos(n["self"]),
    "DivBackward0": lambda n: torch.div(n["self"], n["other"]),
    "DotBackward0": lambda n: torch.dot(n["self"], n["tensor"]),
    "ExpBackward0": lambda n: torch.exp(n["self"]),
    "ExpandBackward0": lambda n: n["self"].expand(n["shape"]),
    "LogBackward0": lambda n: torch.log(n["self"]),
    "MaxBackward0": lambda n: torch.max(n["self"], n["dims"][0], keepdim=n["keep"]).values,
    "MaxBackward1": lambda n: torch.max(n["self"]),
    "MaximumBackward0": lambda n: torch.maximum(n["self"], n["other"]),
    "MeanBackward0": lambda n: torch.mean(n["self"]),
    "MeanBackward1": lambda n: torch.mean(n["self"], n["dims"], keepdim=n["keep"]),
    "MinimumBackward0": lambda n: torch.minimum(n["self"], n["other"]),
    "MmBackward0": lambda n: torch.mm(n["self"], n["mat2"]),
    "MseLossBackward0": lambda n: torch.nn.functional.mse_loss(
        n["self"], n["target"], reduction="sum" if n.get("n", 1) == 1 else "mean"
    ),
    "MulBackward0": lambda n: torch.mul(n["self"], n["other"]),
    "MvBackward0": lambda n: torch.mv(n["self"], n["vec"]),
    "NegBackward0": lambda n: torch.neg(n["self"]),
    "PermuteBackward0": lambda n: n["self"].permute(1, 0),
    "PowBackward0": lambda n: torch.pow(n["self"], n["exponent"]),
    "PowBackward1": lambda n: torch.pow(n["self"], n["exponent"]),
    "PowBackward2": lambda n: torch.pow(n["self"].item(), n["exponent"]),
    "ReciprocalBackward0": lambda n: torch.reciprocal(n["self"]),
    "ReluBackward0": lambda n: torch.relu(n["self"]),
    "RsubBackward1": lambda n: torch.rsub(n["self"], n["other"].item(), alpha=n.get("alpha", 1)),
    "SigmoidBackward0": lambda n: torch.sigmoid(n["self"]),
    "SinBackward0": lambda n: torch.sin(n["self"]),
    "SqrtBackward0": lambda n: torch.sqrt(n["self"]),
    "SqueezeBackward0": lambda n: n["self"].squeeze(),
    "SubBackward0": lambda n: torch.sub(n["self"], n["other"], alpha=n.get("alpha", 1)),
    "SumBackward0": lambda n: torch.sum(n["self"]),
    "SumBackward1": lambda n: torch.sum(n["self"], n["dims"], keepdim=n["keep"]),
    "TBackward0": lambda n: torch.t(n["self"]),
    "TanhBackward0": lambda n: torch.tanh(n["self"]),
    "WhereBackward0": lambda n: torch.where(n["condition"], n["self"], n["other"]),
}
# These give another shape; which of them it was says nothing of the numbers.
_RESHAPES = {
    *("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "UnsqueezeBackward0"),
    *("SqueezeBackward1", "SqueezeBackward4"),
}
_COMPARED: dict[str, Callable[[Any, Any], Tensor]] = {
    **{">": torch.gt, ">=": torch.ge, "<": torch.lt, "<=": torch.le},
    **{"==": torch.eq, "!=": torch.ne},
}


@cache
def _engine() -> Any:
    context = quickjs.Context()
    context.eval(assets.engine())
    return context.eval(_CALL)


def differs(program: Program, shown: Mapping[str, list[float]] | None = None) -> str | None:
    """Where the script of a program differs from torch; None if it does nowhere.

    Args:
        program: as a player carries it.
        shown: the recorded numbers, as far as the player shows them, by their name.
    """
    text = json.dumps(program)
    recorded = {leaf["id"]: leaf["value"] for leaf in program["leaves"]}
    for name, numbers in json.loads(_engine()(text, json.dumps(recorded))):
        was = torch.tensor((shown or {}).get(name, []), dtype=torch.float64)
        now = torch.tensor([*map(_number, numbers)], dtype=torch.float64)
        if len(was) and not (len(was) == len(now) and torch.allclose(was, now, _ROUNDED, 0, True)):
            return f"{name} is {numbers}, {was.tolist()} was recorded"
    for leaves in _points(program):
        wanted = run(program, leaves)
        found = dict(json.loads(_engine()(text, json.dumps(leaves))))
        for name, value in wanted.items():
            numbers = [*map(_number, found[name])]
            got = torch.tensor(numbers, dtype=torch.float64).reshape(value.shape)
            tolerance = _TOLERANCE[program["single"]]
            if not torch.allclose(got, value.double(), tolerance, tolerance / 100, equal_nan=True):
                return f"{name} is {numbers} with {leaves}, torch says {value.tolist()}"
    return None


def _number(text: str) -> float:
    """A number as JavaScript writes it."""
    return float(text.replace("Infinity", "inf"))


def run(program: Program, leaves: dict[int, list[float]]) -> dict[str, Tensor]:
    """What torch computes: each result, by ``v`` and its node, each gradient of a leaf by ``g``."""
    dtype = torch.float32 if program["single"] else torch.float64

    def constant(value: Any) -> Any:
        if not isinstance(value, list):
            return torch.tensor(float(value), dtype=dtype)
        shape, numbers, *condition = value
        made = torch.tensor([float(one) for one in numbers], dtype=torch.float64).reshape(shape)
        return made.bool() if condition else made.to(dtype)

    made: dict[int, Tensor] = {}
    for leaf in program["leaves"]:
        numbers = torch.tensor(leaves[leaf["id"]], dtype=torch.float64).to(dtype)
        made[leaf["id"]] = numbers.reshape(leaf["shape"]).requires_grad_()
    for node in program["nodes"]:
        names: dict[str, Any] = {"dims": node["dims"], "shape": node["shape"]}
        for name, value in node["constants"].items():
            plain = name in ("alpha", "beta", "exponent", "min", "max", "n")
            names[name] = float(value) if plain and not isinstance(value, list) else constant(value)
        names |= {name: made[number] for name, number in node["inputs"]}
        if "exponent" not in names and node["op"] == "PowBackward0":
            names["exponent"] = _exponent(node["forward"])
        if node["condition"] is not None:
            sign, *sides = node["condition"]
            names["condition"] = _COMPARED[sign](
                *(made[one["node"]] if "node" in one else constant(one["value"]) for one in sides)
            )
        if names["dims"] is not None:
            names["keep"] = len(node["shape"]) == names["self"].dim()
        operation = node["op"]
        if operation in _RESHAPES:
            result = names["self"].reshape(node["shape"])
        else:
            result = _OPERATIONS[operation](names)
            assert result.grad_fn.name() == operation, (result.grad_fn.name(), operation)
        assert list(result.shape) == node["shape"], (operation, result.shape)
        made[node["id"]] = result
    seeds = [(made[number], shape, numbers) for number, shape, numbers in program["seeds"]]
    gradients = torch.autograd.grad(
        [one for one, _, _ in seeds],
        [made[leaf["id"]] for leaf in program["leaves"]],
        [
            torch.tensor([float(one) for one in numbers], dtype=dtype).reshape(shape)
            for _, shape, numbers in seeds
        ],
    )
    found = {f"v{number}": one.detach() for number, one in made.items()}
    for leaf, gradient in zip(program["leaves"], gradients, strict=True):
        found[f"g{leaf['id']}"] = gradient
    return found


def _exponent(forward: Any) -> float:
    """The exponent that a rule has taken in: x ** 2, or x where it is 1."""
    return float(forward[2]) if isinstance(forward, list) else 1.0


def _points(program: Program) -> Iterator[dict[int, list[float]]]:
    """Numbers for the leaves: the recorded ones, all equal, and picks from a grid."""
    recorded = {leaf["id"]: [*map(float, leaf["value"])] for leaf in program["leaves"]}
    yield recorded
    grid = sorted({*_GRID, *_constants(program)})
    for number in grid:
        yield {leaf: [number] * len(values) for leaf, values in recorded.items()}
    picks = random.Random(0)
    for _ in range(_POINTS):
        yield {
            leaf: [picks.choice([*grid, value]) for value in values]
            for leaf, values in recorded.items()
        }


def _constants(program: Program) -> Iterator[float]:
    """The numbers that stand in a program: a bound of a clamp is a kink."""
    for node in program["nodes"]:
        sides = [one["value"] for one in (node["condition"] or ["", {}])[1:] if "value" in one]
        for value in [*node["constants"].values(), *sides]:
            if not isinstance(value, list) and abs(float(value)) < 100:
                yield float(value)
