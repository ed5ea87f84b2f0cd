"""Which tensors of the failing line a message speaks of."""

import ast
import re
from collections.abc import Callable

import torch
from torch import Tensor

from gradbook.see import torch_internals
from gradbook.understand.culprit.case import (
    Case,
    Finding,
    Operand,
    describe,
    is_passing,
    listed,
    made_by,
    quoted,
)
from gradbook.understand.culprit.frames import torch_locals
from gradbook.understand.culprit.names import (
    is_module,
    is_tensor,
    members,
    modules_in,
    parameters_of,
)
from gradbook.understand.culprit.passes import fate_of_gradients
from gradbook.understand.culprit.source import (
    bound,
    calls,
    changed_expressions,
    last_name,
    loaded,
    own_parts,
    read_in,
)

Method = Callable[[Case], Finding]
_Test = Callable[[Tensor], bool]


def one_tensor(wanted: _Test, fact: str) -> Method:
    """The first tensor of the failing line that has a property.

    Where there is no source it is a tensor of the frame, if only one has the property.

    Args:
        wanted: the property.
        fact: a sentence with ``{name}``, ``{what}`` (dtype and shape) or ``{made}``.
    """

    def look(case: Case) -> Finding:
        found = {id(one): (name, one) for name, one in case.at_hand() if wanted(one)}
        if not found and case.place is not None and case.place.scope is None:
            inside = reversed(case.place.tensors())
            found = {id(one): (name, one) for name, one in inside if wanted(one)}
            if len(found) > 1:
                return Finding()
        for name, tensor in found.values():
            return _told(fact, _better(case, name, tensor), tensor)
        return Finding()

    return look


def _better(case: Case, name: str, tensor: Tensor) -> str:
    """The name on the line, unless it is that of a loop, or of an element, and there is another."""
    place = case.place
    passing = place is not None and is_passing(place, name)
    return (case.name_of(tensor) or name) if passing else name


def written(fact: str) -> Method:
    """The tensor that the failing line changes: the first one on which it works."""

    def look(case: Case) -> Finding:
        for name, tensor in case.at_hand():
            return _told(fact, name, tensor)
        return Finding()

    return look


def _told(fact: str, name: str, tensor: Tensor) -> Finding:
    text = fact.format(name=name, what=describe(tensor), made=made_by(tensor))
    return Finding(subject=name, facts=[text])


def view_of_leaf(case: Case) -> Finding:
    """The leaf of which a part is written, also through methods that make the view."""
    fact = "`{name}` requires grad, and a part of it is written."
    finding = one_tensor(lambda t: t.requires_grad, fact)(case)
    place = case.place
    if finding.subject is not None or place is None or place.scope is None:
        return finding
    statement = place.scope.statement
    for expression in changed_expressions(statement) if statement is not None else ():
        for name in loaded(expression):
            found, value = place.resolve(name)
            if is_tensor(value) and value.is_leaf and value.requires_grad:
                return _told(fact, found, value)
    return finding


def outside_zero_to_one(tensor: Tensor) -> bool:
    """Whether a probability is none, or is nan. Computed only where no code of the program runs."""
    if type(tensor) not in (Tensor, torch.nn.Parameter) or not tensor.is_floating_point():
        return False
    try:
        with torch.no_grad(), torch_internals.unobserved():
            return bool(((tensor < 0) | (tensor > 1) | tensor.isnan()).any())
    except RuntimeError:  # there are no numbers: on the meta device, or inside a transform
        return False


def differentiated(case: Case) -> Finding:
    """The tensor whose backward was asked for."""
    for root in case.roots:
        name = case.name_of(root)
        called = f"`{name}`" if name is not None else "The output"
        return Finding(subject=name, facts=[f"{called} is {describe(root)}."])
    return Finding()


# --------------------------------------------------------------------- two that do not go together


def two_tensors(case: Case) -> Finding:
    """Two tensors that do not go together, by what the message says of them.

    Torch's own frames hold the very tensors; where torch has none, the failing expression tells.
    """
    for rule in (_matrices, _size, _shapes, _dtypes, _last_dtype):
        tests = rule(case.message)
        finding = _fitting(case, tests) if tests else Finding()
        if finding.subject is not None:
            return finding
    return _fitting(case, []) if "device" in case.message else Finding()


def _fitting(case: Case, tests: list[_Test]) -> Finding:
    """The tensors that fit: one for each test, or two on different devices."""
    given = case.inside_torch
    if "target dtype" in case.message:  # a loss has two of one dtype; the message says which
        losses = dict.fromkeys(("cross_entropy", "nll_loss"), "nn/functional.py")
        given = [[names["target"]] for names in torch_locals(case.trace, losses)]
    for tensors in given:
        named = [Operand(name, name, one) for one in tensors for name in [case.name_of(one) or ""]]
        found = _choice(named, tests)
        # Below an operator of the meta device torch compares what it has made itself.
        if found and (tests or any(one.text for one in found)):
            return _pair(found)
    if case.inside_torch:
        return Finding()
    parts = [one for one in case.operands if one.value is None or is_tensor(one.value)]
    return _pair(_choice(parts, tests))


def _choice(parts: list[Operand], tests: list[_Test]) -> list[Operand]:
    """The only way to give each test an operand; what is computed on the line may be anything."""
    if len(tests) == 1:
        fitting = [one for one in parts if one.tensor is not None and tests[0](one.tensor)]
        return fitting if len(fitting) == 1 else []
    pairs = [(one, other) for one in parts for other in parts if one is not other]
    ways = [pair for pair in pairs if _fits(pair, tests)]
    sure = [pair for pair in ways if None not in (pair[0].tensor, pair[1].tensor)]
    if not tests:
        return list(sure[0]) if sure else []
    chosen = sure if len(parts) > 2 else ways
    return list(chosen[0]) if chosen else []


def _fits(pair: tuple[Operand, Operand], tests: list[_Test]) -> bool:
    one, other = pair[0].tensor, pair[1].tensor
    if not tests:
        return one is not None and other is not None and one.device != other.device
    return (one is None or tests[0](one)) and (other is None or tests[1](other))


def _pair(found: list[Operand]) -> Finding:
    named = [one for one in found if one.text]
    facts = [f"`{one.text}` is {describe(one.tensor)}" for one in named if one.tensor is not None]
    if not facts:
        return Finding()
    subject = " and ".join(one.text for one in named)
    return Finding(subject=subject, facts=["; ".join(facts) + "."])


_MATRICES = re.compile(r"\((\d+)x(\d+) and (\d+)x(\d+)\)")
_SIZE = re.compile(r"tensor a \((\d+)\) must match the size of tensor b \((\d+)\)")
_SHAPE = re.compile(r"[\[(](\d+(?:, ?\d+){0,9}),?[\])]")


def _matrices(message: str) -> list[_Test]:
    said = _MATRICES.search(message)
    if said is None:
        return []
    rows, columns, inner, outer = (int(size) for size in said.groups())
    # A batch becomes one matrix before the product, and a Linear turns its weight around.
    return [
        lambda t: bool(t.dim()) and t.shape[-1] == columns and t.numel() == rows * columns,
        lambda t: tuple(t.shape) in ((inner, outer), (outer, inner)),
    ]


def _size(message: str) -> list[_Test]:
    said = _SIZE.search(message)
    return [_has_size(int(size)) for size in said.groups()] if said is not None else []


def _has_size(size: int) -> _Test:
    return lambda t: size in t.shape


def _shapes(message: str) -> list[_Test]:
    said = _SHAPE.findall(message.replace("torch.Size", ""))
    if len(said) < 2:
        return []
    return [_has_shape(tuple(int(size) for size in one.split(","))) for one in said[:2]]


def _has_shape(shape: tuple[int, ...]) -> _Test:
    return lambda t: tuple(t.shape) == shape


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


def _dtypes(message: str) -> list[_Test]:
    words = [word.lower() for word in re.findall(r"[A-Za-z]\w*", message)]
    said = list(dict.fromkeys(_DTYPES[word] for word in words if word in _DTYPES))
    return [_has_dtype(one) for one in said] if len(said) == 2 else []


def _last_dtype(message: str) -> list[_Test]:
    """Of "expected scalar type Long but found Float" the last one is what came."""
    words = [word.lower() for word in re.findall(r"[A-Za-z]\w*", message)]
    return [_has_dtype(_DTYPES[word]) for word in words if word in _DTYPES][-1:]


def _has_dtype(dtype: torch.dtype) -> _Test:
    return lambda t: t.dtype == dtype


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
    if number >= len(case.inputs) or not is_tensor(case.inputs[number]):
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
        if is_tensor(tensor) and not tensor.requires_grad:
            name = case.name_of(tensor)
            called = f"`{name}`" if name is not None else "An input"
            return Finding(subject=name, facts=[f"{called} does not require grad."])
    return Finding()


def grad_is_none(case: Case) -> Finding:
    """The tensor of the line that has no gradient, and why."""
    for name, tensor in case.at_hand():
        if not tensor.is_leaf and not tensor.retains_grad:
            return _of_result(case, name, tensor)
        if tensor.grad is None:
            return _of_leaf(case, _better(case, name, tensor), tensor)
    return Finding()


def _of_result(case: Case, name: str, tensor: Tensor) -> Finding:
    """A result: either an update has bound the name to it, or it never was a leaf."""
    fact = f"`{name}` is not a leaf ({made_by(tensor)}), so its gradient is not kept."
    place = case.place
    scope = place.scope if place is not None else None
    if scope is None or place is None:
        return Finding(name, [fact], "E16c")
    made = scope.definitions(name, place.number)
    loops = scope.loops(scope.statement)
    turns = [one for one in scope.stores(name) if any(loop in loops for loop in scope.loops(one))]
    itself = [one for one in (*made, *turns) if name in read_in(*own_parts(one))]
    if itself:
        return Finding(name, [fact, f"{quoted(itself[0])} binds the name to it."], "E16b")
    finding = Finding(name, [fact], "E16c")
    if made:
        finding.facts.append(f"It is made in {quoted(made[0])}.")
        finding.details["made at"] = quoted(made[0])
    return finding


def _of_leaf(case: Case, name: str, tensor: Tensor) -> Finding:
    """A leaf without a gradient: before the first backward, or one left it out."""
    if not tensor.requires_grad:
        fact = f"`{name}.grad` is None: it requires no grad."
        return Finding(name, [fact], "E16d")
    fact = f"`{name}.grad` is None: it is a leaf that requires grad, and holds no gradient now."
    finding = Finding(name, [fact], excluded={"E16b", "E16c"})
    fate = fate_of_gradients(case.places)
    finding.facts += fate.facts
    finding.variant = _FATES.get(fate.kind, "")
    if fate.kind == "cleared":
        finding.cures.append("Read it between `backward()` and `zero_grad()`.")
    elif fate.kind == "none yet" and "zero_" not in case.message:
        finding.cures.append("Call `backward()` before this line.")
    elif fate.kind == "perhaps left out":
        finding.likely.append("E16d")
    return finding


_FATES = {"none yet": "E16", "cleared": "E16", "left out": "E16d"}


def gradient_shape(case: Case) -> Finding:
    """The input of a Function whose gradient has the wrong shape: the node and its edge tell."""
    said = _INVALID.search(case.message)
    if said is None:
        return Finding()
    name, index, got, expected = said[1], int(said[2]), said[3], said[4]
    node = next((one for one in case.graph if torch_internals.node_name(one) == name), None)
    edges = case.graph.get(node, ()) if node is not None else ()
    child = edges[index][0] if index < len(edges) else None
    function = name.removesuffix("Backward")
    fact = f"`{function}.backward` returned a gradient of shape ({got}) where ({expected}) fits."
    finding = Finding(facts=[fact])
    if node is None or child is None:
        return finding
    leaf = torch_internals.leaf_of(child)
    made = {one.grad_fn: found for place in case.places for found, one in place.tensors()}
    finding.subject = case.name_of(leaf) if leaf is not None else made.get(child)
    called = f"`{finding.subject}`" if finding.subject else "the input"
    shape = [int(size) for size in expected.split(",") if size.strip()]
    whole = torch_internals.shapes_of(torch_internals.results([node]))[0]
    if leaf is not None and list(torch_internals.shape_of(leaf) or shape) != shape:
        finding.variant = "E102b"
        finding.facts.append(f"{called} is {describe(leaf)} now, and had another shape before.")
        _tell_data(case, finding)
    elif whole is not None and list(whole) != shape and _broadcasts(shape, list(whole)):
        finding.variant = "E102"
        finding.facts.append(f"Its result has the shape {tuple(whole)}, {called} ({expected}).")
    else:
        finding.excluded |= {"E102", "E102b"}
        finding.cures.append(
            f"Return a gradient of shape ({expected}) for {called}, number {index} counted from 0, "
            f"in `{function}.backward`."
        )
    return finding


def _broadcasts(shape: list[int], whole: list[int]) -> bool:
    """Whether something of one shape is broadcast to the other."""
    pairs = zip(shape[::-1], whole[::-1], strict=False)
    return len(shape) <= len(whole) and all(one in (1, other) for one, other in pairs)


_INVALID = re.compile(
    r"Function (\w+) returned an invalid gradient at index (\d+) - got \[([\d, ]*)\] but expected "
    r"shape compatible with \[([\d, ]*)\]"
)


def _tell_data(case: Case, finding: Finding) -> None:
    """The line that has given a leaf other data."""
    for place in case.places:
        for one in place.scope.statements if place.scope is not None else ():
            if finding.subject is not None and f"{finding.subject}.data" in bound(one):
                finding.details["changed at"] = quoted(one)
                finding.facts.append(f"It was given other data in {quoted(one)}.")
                return


def half_weights(case: Case) -> Finding:
    """The parameters of the optimizer whose gradients are float16."""
    for names in torch_locals(case.trace, {"_unscale_grads_": "amp/grad_scaler.py"}):
        groups = members(names.get("optimizer")).get("param_groups", ())
        half = [one for group in groups for one in group["params"] if one.dtype == torch.float16]
        named = [name for name in map(case.name_of, half) if name is not None]
        if named:
            return Finding(named[0], [f"Float16 are {listed(named)}."])
    return Finding()


def parameter_of_module(case: Case) -> Finding:
    """The attribute that a message calls a parameter, with the name of its module."""
    setters = {"__setattr__": "modules/module.py", "register_parameter": "modules/module.py"}
    for names in torch_locals(case.trace, setters):
        module, attribute, value = names.get("self"), names.get("name"), names.get("value")
        for place in case.places:
            for path, one in modules_in({**place.namespace, **place.visible}):
                if one is module and type(attribute) is str:
                    name = f"{path}.{attribute}"
                    finding = Finding(name, [f"`{name}` is a parameter."])
                    if is_tensor(value) and value.grad_fn is not None:
                        _tell_computed(path, attribute, value, finding)
                    return finding
    return Finding()


def _tell_computed(path: str, attribute: str, value: Tensor, finding: Finding) -> None:
    """A result with a graph: to copy its numbers would end the gradient."""
    finding.facts.append(f"What is assigned has a graph: it is {made_by(value)}.")
    finding.cures.append(
        f"`torch.func.functional_call({path}, {{'{attribute}': new}}, (x,))`: the call computes "
        "with the new value, and the gradient passes on to what made it."
    )


def parameters_of_ddp(case: Case) -> Finding:
    """The parameters that DistributedDataParallel speaks of, which it numbers or names."""
    said = re.search(r"with name ([\w.]+) has been", case.message)
    if said is not None:
        return Finding(said[1], [f"The parameter is `{said[1]}`."])
    numbers = re.search(r"did not receive grad for rank \d+: ((?:\d+ ?){1,1000})", case.message)
    frames = dict.fromkeys(("forward", "_pre_forward"), "parallel/distributed.py")
    for names in torch_locals(case.trace, frames):
        module = names.get("self")
        inner = members(module).get("module")
        if numbers is None or not is_module(inner):
            continue
        trained = [name for name, one in parameters_of(inner).items() if one.requires_grad]
        wanted = [int(number) for number in numbers[1].split()]
        missed = [trained[number] for number in wanted if number < len(trained)]
        if missed:
            return Finding(missed[0], [f"No gradient came for {listed(missed)}."])
    return Finding()


def leaf_in_place(case: Case) -> Finding:
    """The leaf that is written, and whether by an update, an initialisation or in the model."""
    finding = one_tensor(
        lambda t: t.is_leaf and t.requires_grad, "`{name}` is a leaf that requires grad."
    )(case)
    place = case.place
    statement = place.scope.statement if place is not None and place.scope is not None else None
    called = [last_name(one.func) for _, one in calls(statement)] if statement is not None else []
    if statement is None or finding.subject is None or "step" in called or "apply" in called:
        return finding
    finding.variant = "E22"
    if ".grad" in ast.unparse(statement):
        return finding
    if isinstance(statement, ast.Assign):
        finding.complete = True
        finding.cures.append(
            "`with torch.no_grad():` around this line, if it is an initialisation."
        )
    elif isinstance(statement, ast.AugAssign):
        operator = SIGNS.get(type(statement.op), "+")
        name, value = ast.unparse(statement.target), ast.unparse(statement.value)
        finding.cures.append(
            f"`{name} = {name} {operator} {value}`, a new tensor, if this is part of the model; an "
            "initialisation or an update stands under `torch.no_grad()`."
        )
    return finding


SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}


def deepcopied(case: Case) -> Finding:
    """The result that a module keeps."""
    for names in torch_locals(case.trace, {"__deepcopy__": "torch/_tensor.py"}):
        tensor = names.get("self")
        name = case.name_of(tensor)
        if is_tensor(tensor) and name is not None:
            return Finding(subject=name, facts=[f"`{name}` has a graph: it is {made_by(tensor)}."])
    return Finding()


def leaf_in_graph(case: Case) -> Finding:
    """The leaf of a recorded graph that is a result now."""
    for node in case.graph:
        leaf = torch_internals.leaf_of(node)
        if leaf is not None and leaf.grad_fn is not None:
            name = case.name_of(leaf)
            called = f"`{name}`" if name is not None else "A leaf of the graph"
            return Finding(subject=name, facts=[f"{called} is {made_by(leaf)} now."])
    return Finding()


def module_in_place(case: Case) -> Finding:
    """The module of the failing expression that works in place, or the hooked module's output."""
    for one in case.operands:
        for path, module in modules_in({one.text: one.value}):
            if members(module).get("inplace") is True:
                kind = type(module).__name__
                return Finding(subject=path, facts=[f"`{path}` ({kind}) works in place."])
    for name, tensor in case.at_hand():
        if tensor.grad_fn is not None and "BackwardHook" in torch_internals.node_name(
            tensor.grad_fn
        ):
            return Finding(subject=name, facts=[f"`{name}` passed through a module with a hook."])
    return Finding()


def gave_nan(case: Case) -> Finding:
    """What the node of the message was computed from, or made."""
    said = re.search(r"Function '(\w+)'", case.message)
    if said is None:
        return Finding()
    details = {"node": said[1]}
    made = {one.grad_fn: name for place in case.places for name, one in place.tensors()}
    for node, edges in case.graph.items():
        if torch_internals.node_name(node) != said[1]:
            continue
        for child, _ in edges:
            leaf = torch_internals.leaf_of(child) if child is not None else None
            name = case.name_of(leaf) if leaf is not None else made.get(child)
            if name is not None:
                return Finding(name, [f"{said[1]} was computed from `{name}`."], "", details)
        if node in made:
            return Finding(made[node], [f"{said[1]} made `{made[node]}`."], "", details)
    return Finding(details=details)
