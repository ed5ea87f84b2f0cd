"""Whether a gradient passes from what an expression reads to its result, and where it stops.

The source is followed as it would run, with "carries a gradient" in place of values: through local
variables, branches whose test is a setting, and the functions and modules of the program that are
called. Nothing runs.
"""

import ast
import builtins
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple, cast

import torch
import torch.utils.checkpoint
from torch import nn
from torch.distributions import Distribution

from gradbook.understand.culprit.names import (
    is_container,
    is_module,
    is_tensor,
    named_tensors,
    of_torch,
    registered,
    submodules,
)
from gradbook.understand.culprit.recording import Switch, mode_of, truth
from gradbook.understand.culprit.source import Scope, dotted, last_name, own_line, own_parts
from gradbook.understand.culprit.views import Called, View, called, root_of, values_of

_MOST_STATEMENTS = 5_000
_DEEPEST = 10


class Stop(NamedTuple):
    """A step through which no gradient passes.

    Attributes:
        kind: "step"; "off" where recording is off; "reentrant" of a checkpoint; "gradient" that is
            computed without a graph.
        text: its source.
        line: where it stands.
        title: in which function; empty outside of functions.
        file: in which file.
        perhaps: whether the line may not have run.
    """

    kind: str
    text: str
    line: int
    title: str
    file: str
    perhaps: bool = False


class Flow(NamedTuple):
    """What is known of a result.

    Attributes:
        carries: whether a gradient passes to it, on some way.
        perhaps: whether that way may not have been taken.
        stops: where it stops on other ways.
        opaque: calls on the way that cannot be looked into.
    """

    carries: bool = False
    perhaps: bool = False
    stops: tuple[Stop, ...] = ()
    opaque: tuple[str, ...] = ()


NOTHING = Flow()


def together(flows: Iterable[Flow]) -> Flow:
    """Of a result that is computed from several."""
    every = [*flows]
    carrying = [one for one in every if one.carries]
    return Flow(
        carries=bool(carrying),
        perhaps=bool(carrying) and all(one.perhaps for one in carrying),
        stops=tuple(dict.fromkeys(stop for one in every for stop in one.stops)),
        opaque=tuple(dict.fromkeys(name for one in every for name in one.opaque)),
    )


def either(flows: Iterable[Flow]) -> Flow:
    """Of a result that comes from one of several ways."""
    every = [*flows]
    if len(every) < 2:
        return every[0] if every else NOTHING
    joined = together(every)
    sure = all(one.carries and not one.perhaps for one in every)
    shared = set(every[0].stops).intersection(*(one.stops for one in every[1:]))
    stops = (one if one in shared else one._replace(perhaps=True) for one in joined.stops)
    return joined._replace(perhaps=joined.carries and not sure, stops=tuple(stops))


# What takes the numbers out of a tensor, or has no derivative: methods, and functions of torch.
_STOPS = {
    *("detach", "detach_", "item", "tolist", "numpy", "cpu_numpy", "storage", "untyped_storage"),
    *("argmax", "argmin", "argsort", "argwhere", "nonzero", "count_nonzero", "multinomial"),
    *("long", "int", "bool", "byte", "short", "char", "histc", "bincount", "one_hot"),
    *("eq", "ne", "lt", "gt", "le", "ge", "equal", "greater", "greater_equal", "less"),
    *("less_equal", "not_equal", "isclose", "isin", "all", "any", "allclose"),
    *("logical_and", "logical_not", "logical_or", "logical_xor", "signbit"),
    *("isnan", "isfinite", "isinf", "isneginf", "isposinf", "isreal"),
    *("searchsorted", "bucketize", "new_tensor", "data_ptr"),
}
_NEW = {"tensor", "Tensor", "FloatTensor", "DoubleTensor", "from_numpy", "array", "asarray"}
_NUMBERS = {"float", "int", "bool", "complex"}
# What depends on the form of a tensor only; nobody expects a gradient from it.
_QUIET = {
    *("size", "dim", "ndimension", "numel", "nelement", "element_size", "stride", "get_device"),
    *("is_contiguous", "is_floating_point", "is_complex", "result_type", "len", "range", "print"),
    *("isinstance", "hasattr", "id", "str", "repr", "format"),
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
    *("randint_like", "new_zeros", "new_ones", "new_empty", "new_full"),
}
_QUIET_ATTRIBUTES = {
    *("shape", "dtype", "device", "ndim", "layout", "requires_grad", "grad_fn", "is_leaf"),
    *("is_cuda", "itemsize", "nbytes", "training", "__name__", "__class__", "names"),
}
_VALUES_AND_INDICES = {
    *("topk", "sort", "kthvalue", "mode", "cummax", "cummin", "median", "nanmedian", "max", "min"),
}
_INTEGERS = {"long", "int", "int8", "int16", "int32", "int64", "short", "uint8", "bool"}
_COLLECTS = {
    "append",
    "extend",
    "add",
    "insert",
    "appendleft",
    "update",
    "put",
    "push",
    "setdefault",
}
_NO_OPERATIONS = {*_COLLECTS, "list", "tuple", "dict", "zip", "enumerate", "items", "values", "get"}
MAKES_NEW = _NEW | _NUMBERS | {"as_tensor"}
_FOREIGN = ("np", "numpy", "math")
_OF_FUNCTIONAL = "torch.autograd.functional"


class Reader:
    """Follows source.

    Attributes:
        carries: whether a value of the program carries the gradient that is looked for.
    """

    def __init__(self, carries: Callable[[Any], bool]) -> None:
        self.carries = carries
        self._left = _MOST_STATEMENTS
        self._running: list[tuple[object, ...]] = []
        self._off: Switch | None = None

    # ------------------------------------------------------------------------------ expressions

    def expression(self, view: View, node: ast.AST, local: "_Local | None" = None) -> Flow:
        """The flow of an expression.

        Args:
            view: the function in which it stands.
            node: the expression.
            local: the flows of local variables that are gone; those of a running function are read
                off its values.
        """
        return _Expressions(self, view, {} if local is None else local).of(node)

    def body(self, body: Called, local: "_Local") -> Flow:
        """What a function returns when its arguments have these flows."""
        if body.scope is None or not isinstance(body.scope.body, _FUNCTIONS):
            return together(local.values())._replace(opaque=(body.title,))
        deep = len(self._running) >= _DEEPEST or self._left <= 0
        if deep or body.identity in self._running:
            return together(local.values())
        self._running.append(body.identity)
        before = self._off
        try:
            for decorator in body.scope.body.decorator_list:
                self._switch(body, decorator, f"@{ast.unparse(decorator)}")
            run = _Run(self, body, dict(local))
            run.block(body.scope.body.body)
            return either(run.returned)
        finally:
            self._running.pop()
            self._off = before

    def _switch(self, view: View, node: ast.AST, text: str) -> None:
        mode = mode_of(view, node)
        if mode is not None and mode.off is not None:
            title = getattr(node, "cell", view.title)
            switch = Switch(mode.off, text, own_line(node), title, view.file, mode.inference)
            self._off = switch if mode.off else None

    @contextmanager
    def switched(self, view: View, items: Iterable[ast.withitem]) -> Any:
        """Inside a block, what it switches."""
        before = self._off
        for item in items:
            self._switch(view, item.context_expr, f"with {ast.unparse(item.context_expr)}")
        try:
            yield
        finally:
            self._off = before

    def operation(self, flow: Flow) -> Flow:
        """The result of an operation of torch on what has this flow."""
        if self._off is None or not flow.carries:
            return flow
        off = self._off
        stop = Stop("off", off.text, off.line, off.title, off.file)
        return Flow(stops=(*flow.stops, stop), opaque=flow.opaque)

    def spend(self) -> bool:
        """Whether another statement may be looked at."""
        self._left -= 1
        return self._left > 0

    def set_for_good(self, view: View, call: ast.Call) -> None:
        """``torch.set_grad_enabled(...)`` as a statement."""
        self._switch(view, call, ast.unparse(call))


_Local = dict[str, Flow]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class _Expressions:
    """The flows of expressions in one function."""

    def __init__(self, reader: Reader, view: View, local: _Local) -> None:
        self.reader = reader
        self.view = view
        self.local = local

    def of(self, node: ast.AST) -> Flow:
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._name(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Compare):
            flow = together(self.of(one) for one in (node.left, *node.comparators))
            return self._stopped(flow, node, ast.unparse(node))
        if isinstance(node, ast.Subscript):
            return self._element(node)
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            return self.reader.operation(self._parts(node))
        if isinstance(node, ast.IfExp):
            known = truth(self.view, node.test)
            arms = (
                [node.body, node.orelse] if known is None else [node.body if known else node.orelse]
            )
            return either(self.of(one) for one in arms)
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            return self._comprehension(node)
        if isinstance(node, ast.NamedExpr):
            flow = self.of(node.value)
            self.local[node.target.id] = flow
            return flow
        if isinstance(node, (ast.Constant, ast.JoinedStr)):
            return NOTHING
        if isinstance(node, ast.Lambda):
            return self.of(node.body)
        return self._parts(node)

    def _parts(self, node: ast.AST) -> Flow:
        return together(
            self.of(one) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)
        )

    def _stopped(self, flow: Flow, node: ast.AST, text: str, kind: str = "step") -> Flow:
        """What is behind a step through which no gradient passes."""
        if not flow.carries:
            return flow
        title = getattr(node, "cell", self.view.title)
        stop = Stop(kind, text, own_line(node), title, self.view.file)
        return Flow(stops=(*flow.stops, stop), opaque=flow.opaque)

    def _name(self, node: ast.Name | ast.Attribute) -> Flow:
        name = dotted(node)
        if name is not None and name in self.local:
            return self.local[name]
        if isinstance(node, ast.Attribute):
            if node.attr in _QUIET_ATTRIBUTES:
                return NOTHING
            if node.attr in ("data", "grad"):
                return self._stopped(self.of(node.value), node, f".{node.attr}")
            if node.attr == "indices" and _gives_indices(node.value):
                return self._stopped(self.of(node.value), node, ".indices")
            if root_of(node) in self.local or name is None:
                return self.of(node.value)
        values = values_of(self.view, node)
        if values:
            return Flow(carries=any(self.reader.carries(one) for one in values))
        if isinstance(node, ast.Attribute):
            return self._property(node)
        return NOTHING

    def _property(self, node: ast.Attribute) -> Flow:
        """An attribute that a method of the program computes."""
        for owner in values_of(self.view, node.value):
            found = vars_of_class(owner, node.attr)
            if type(found) is property and type(found.fget) is FunctionType:
                return self.reader.body(Called(found.fget, {_first(found.fget): [owner]}), {})
        return NOTHING

    def _element(self, node: ast.Subscript) -> Flow:
        values = values_of(self.view, node)
        if values and root_of(node) not in self.local:
            return Flow(carries=any(self.reader.carries(one) for one in values))
        if (
            _gives_indices(node.value)
            and isinstance(node.slice, ast.Constant)
            and node.slice.value == 1
        ):
            return self._stopped(self.of(node.value), node, ast.unparse(node)[-60:])
        through = self.of(node.value)
        index = self.of(node.slice)
        if index.carries and not through.carries:  # the index itself has no derivative
            return self._stopped(index, node, ast.unparse(node))
        return through if through.carries else through._replace(stops=through.stops + index.stops)

    def _comprehension(self, node: ast.AST) -> Flow:
        generators: list[ast.comprehension] = getattr(node, "generators", [])
        before = dict(self.local)
        for one in generators:
            bind(self.local, one.target, self.of(one.iter))
        parts = [getattr(node, name, None) for name in ("elt", "key", "value")]
        flow = together(self.of(one) for one in parts if one is not None)
        self.local.clear()
        self.local.update(before)
        return flow

    # ------------------------------------------------------------------------------------ calls

    def _call(self, node: ast.Call) -> Flow:
        name = last_name(node.func)
        method = isinstance(node.func, ast.Attribute)
        if name in _QUIET:
            return NOTHING
        targets = values_of(self.view, node.func)
        special = self._special(node, targets)
        if special is not None:
            return special
        given = [*node.args, *(word.value for word in node.keywords)]
        receiver = self._receiver(node)
        bodies = called(self.view, node)
        kinds = [one for one in targets if issubclass(type(one), type)]
        flows = [self.of(one) for one in given]
        if kinds and not all(_is_of_torch(one) for one in kinds):  # an object of the program
            fresh = any(issubclass(one, nn.Module) for one in kinds)
            return together([*flows, Flow(carries=fresh)])
        if bodies:
            return either(self._of_body(one, node, receiver) for one in bodies)
        modules = [one for one in targets if is_module(one)]
        if modules:
            return either(self.module(one, together(flows), node) for one in modules)
        flow = together([receiver, *flows])
        if (name in _STOPS and (method or targets)) or self._makes_new(node, name, targets):
            foreign = root_of(node.func) in _FOREIGN
            return self._stopped(flow, node, f"{dotted(node.func) if foreign else name}()")
        if name in ("to", "type", "astype") and any(map(_is_integer, given)):
            return self._stopped(flow, node, f"{name}({', '.join(map(ast.unparse, node.args))})")
        if isinstance(node.func, ast.Attribute) and name == "sample" and self._samples(node.func):
            return self._stopped(flow, node, "sample()")
        if name in ("where", "masked_select", "index_select", "gather", "take") and len(flows) > 1:
            flow = together([receiver, *flows[(0 if method and receiver.carries else 1) :]])
            flow = flow if flow.carries else together([receiver, *flows])
        if name in _NO_OPERATIONS:
            return flow
        if any(issubclass(one, nn.Module) for one in kinds):
            return Flow(carries=True)
        known = self._is_known(node, targets)
        return self.reader.operation(flow if known else _through(flow, ast.unparse(node.func)))

    def _is_known(self, node: ast.Call, targets: list[Any]) -> bool:
        """Whether a call is one of torch or of Python, and not one of another library."""
        if targets:
            return all(_is_of_torch(one) for one in targets)
        if isinstance(node.func, ast.Attribute):
            owners = values_of(self.view, node.func.value)
            return all(is_tensor(one) or is_container(one) or _is_of_torch(one) for one in owners)
        if isinstance(node.func, ast.Name):
            return node.func.id in vars(builtins)
        return True

    def _receiver(self, node: ast.Call) -> Flow:
        """What a method works on, or the object that is called."""
        if isinstance(node.func, ast.Attribute):
            return self.of(node.func.value)
        if isinstance(node.func, (ast.Call, ast.Subscript)):
            return self.of(node.func)
        return self.local.get(last_name(node.func), NOTHING)

    def _special(self, node: ast.Call, targets: list[Any]) -> Flow | None:
        """Calls that torch gives a meaning of their own."""
        for one in targets:
            inner = one.func if type(one) is partial else one
            if inner is torch.utils.checkpoint.checkpoint:
                return self._checkpoint(node, dict(one.keywords) if inner is not one else {})
            if inner is torch.autograd.grad or (
                type(inner) is FunctionType and inner.__module__ == _OF_FUNCTIONAL
            ):
                return self._gradient(node)
        name = dotted(node.func)
        if not targets and name in ("torch.autograd.grad", "autograd.grad"):
            return self._gradient(node)
        if not targets and last_name(node.func) == "checkpoint":
            return self._checkpoint(node, {})
        return None

    def _gradient(self, node: ast.Call) -> Flow:
        flow = together(self.of(one) for one in node.args)
        word = next((one.value for one in node.keywords if one.arg == "create_graph"), None)
        if word is not None and truth(self.view, word) is not False:
            return self.reader.operation(flow)
        return self._stopped(flow, node, ast.unparse(node.func), "gradient")

    def _checkpoint(self, node: ast.Call, given: dict[str, Any]) -> Flow:
        """A reentrant checkpoint gives a graph only if one of its arguments has one."""
        flows = [self.of(one) for one in node.args]
        function = self._block(node)
        word = next((one.value for one in node.keywords if one.arg == "use_reentrant"), None)
        reentrant = truth(self.view, word) if word is not None else given.get("use_reentrant", True)
        inputs = together(flows[1:])
        if reentrant is False or inputs.carries:
            return self.reader.operation(together([*flows, function]))
        return self._stopped(together([*flows, function]), node, ast.unparse(node), "reentrant")

    def _block(self, node: ast.Call) -> Flow:
        """Whether the function of a checkpoint has anything that carries a gradient."""
        if not node.args:
            return NOTHING
        for value in values_of(self.view, node.args[0]):
            owner = getattr(value, "__self__", None) if type(value).__name__ == "method" else value
            if self.reader.carries(owner):
                return Flow(carries=True)
        name = node.args[0]
        if isinstance(name, ast.Attribute):  # a method of the program
            return Flow(any(self.reader.carries(one) for one in values_of(self.view, name.value)))
        return NOTHING

    def _makes_new(self, node: ast.Call, name: str, targets: list[Any]) -> bool:
        """Whether a call makes a tensor, an array or a number from what it reads."""
        if isinstance(node.func, ast.Attribute):
            base = root_of(node.func)
            if base in _FOREIGN:
                return True
            return name in _NEW and (base == "torch" or not self.of(node.func.value).carries)
        if name in _NUMBERS:
            return not targets or type(targets[0]) is type
        return name in _NEW

    def _samples(self, function: ast.Attribute) -> bool:
        values = values_of(self.view, function.value)
        return not values or any(issubclass(type(one), Distribution) for one in values)

    def _of_body(self, body: Called, node: ast.Call, receiver: Flow) -> Flow:
        """A function of the program that is called."""
        local: _Local = {}
        for name, expression in body.expressions.items():
            values = body.given.get(name, [])
            if not values or all(is_tensor(one) or is_container(one) for one in values):
                local[name] = self.of(expression)
        code = body.function.__code__
        more = [one.value for one in node.args if isinstance(one, ast.Starred)]
        more += node.args[len(body.expressions) :] if code.co_flags & 0x04 else []
        if code.co_flags & 0x04:
            position = code.co_argcount + code.co_kwonlyargcount
            local[code.co_varnames[position]] = together(self.of(one) for one in more)
        elif more:
            flow = together(self.of(one) for one in more)
            for name in code.co_varnames[: code.co_argcount]:
                if name not in body.given:
                    local[name] = flow
        first = _first(body.function)
        if first not in body.given and receiver.carries and isinstance(node.func, ast.Attribute):
            local[first] = receiver
        return self.reader.body(body, local)

    def module(self, module: nn.Module, given: Flow, node: ast.AST) -> Flow:
        """A module of torch that is called: a container's modules one behind the other."""
        inner = [one for one in registered(module, "_modules").values() if is_module(one)]
        if isinstance(module, nn.Sequential):
            for one in inner:
                given = self._one_module(one, given, node)
            return given
        if len(inner) == 1 and not registered(module, "_parameters"):  # a wrapper
            return self._one_module(inner[0], given, node)
        flow = together([given, Flow(carries=self.reader.carries(module))])
        return self.reader.operation(flow)

    def _one_module(self, module: nn.Module, given: Flow, node: ast.AST) -> Flow:
        call = ast.Call(ast.Name("it", ast.Load()), [ast.Name("given", ast.Load())], [])
        ast.copy_location(call, node)
        view = _Single(self.view, {"it": module})
        bodies = called(view, call)
        inside = _Expressions(self.reader, view, {"given": given})
        if bodies:
            return either(inside._of_body(one, call, NOTHING) for one in bodies)
        return inside.module(module, given, node)


class _Single:
    """A view with a few names of its own."""

    def __init__(self, view: View, names: dict[str, Any]) -> None:
        self.scope = None
        self.title = view.title
        self.file = view.file
        self.names = names

    def known(self, name: str) -> list[Any]:
        return [self.names[name]] if name in self.names else []


def _through(flow: Flow, name: str) -> Flow:
    return flow._replace(opaque=(*flow.opaque, name)) if flow.carries else flow


def _first(function: FunctionType) -> str:
    code = function.__code__
    return code.co_varnames[0] if code.co_argcount else ""


def vars_of_class(owner: object, name: str) -> object:
    """What the class of an object has under a name, itself or inherited."""
    for kind in type(owner).__mro__:
        if name in vars(kind):
            return vars(kind)[name]
    return None


def _gives_indices(node: ast.AST) -> bool:
    """Whether a call gives values and their indices."""
    if not isinstance(node, ast.Call) or last_name(node.func) not in _VALUES_AND_INDICES:
        return False
    whole = last_name(node.func) in ("max", "min", "median", "nanmedian")
    method = isinstance(node.func, ast.Attribute) and root_of(node.func) != "torch"
    return not whole or len(node.args) + len(node.keywords) >= (1 if method else 2)


def _is_integer(node: ast.AST) -> bool:
    return last_name(node) in _INTEGERS or last_name(node) in ("LongTensor", "IntTensor")


def _is_of_torch(value: object) -> bool:
    """Whether a function, a class or the class of an object is torch's or Python's own."""
    if type(value) is BuiltinFunctionType:
        return True
    if type(value) is FunctionType:
        return of_torch(value.__code__.co_filename)
    if type(value) is ModuleType:
        return str(vars(value).get("__name__")).partition(".")[0] == "torch"
    kind = cast("type", value) if issubclass(type(value), type) else type(value)
    module = vars(kind).get("__module__", "builtins")
    return type(module) is str and module.partition(".")[0] in ("torch", "builtins")


def bind(local: _Local, target: ast.AST, flow: Flow) -> None:
    """Give a target, or each part of it, a flow."""
    if isinstance(target, (ast.Tuple, ast.List)):
        for one in target.elts:
            bind(local, one, flow)
    elif isinstance(target, ast.Starred):
        bind(local, target.value, flow)
    elif isinstance(target, ast.Subscript):
        root = root_of(target)
        if root:
            key = dotted(target.value) or root
            local[key] = together([local.get(key, NOTHING), flow])
    else:
        name = dotted(target)
        if name is not None:
            for known in [one for one in local if one.startswith(f"{name}.")]:
                del local[known]
            local[name] = flow


class _Run:
    """The statements of one function, as they would run."""

    def __init__(self, reader: Reader, view: View, local: _Local) -> None:
        self.reader = reader
        self.view = view
        self.local = local
        self.returned: list[Flow] = []

    def of(self, node: ast.AST | None) -> Flow:
        if node is None:
            return NOTHING
        return self.reader.expression(self.view, node, self.local)

    def block(self, statements: Iterable[ast.stmt]) -> bool:
        """Run statements; whether the function has returned for sure."""
        return any(self.statement(one) for one in statements)

    def statement(self, one: ast.stmt) -> bool:
        if not self.reader.spend():
            return True
        if isinstance(one, ast.Return):
            self.returned.append(self.of(one.value))
            return True
        if isinstance(one, ast.Raise):
            return True
        if isinstance(one, ast.Assign):
            self._assign(one)
        elif isinstance(one, ast.AnnAssign):
            bind(self.local, one.target, self.of(one.value))
        elif isinstance(one, ast.AugAssign):
            self._augmented(one)
        elif isinstance(one, ast.Expr):
            self._expression(one.value)
        elif isinstance(one, ast.If):
            return self._branches(one)
        elif isinstance(one, (ast.For, ast.AsyncFor)):
            for _ in range(2):
                bind(self.local, one.target, self.of(one.iter))
                self._perhaps(one.body)
        elif isinstance(one, ast.While):
            for _ in range(2):
                self._perhaps(one.body)
        elif isinstance(one, (ast.With, ast.AsyncWith)):
            for item in one.items:
                if item.optional_vars is not None:
                    bind(self.local, item.optional_vars, self.of(item.context_expr))
            with self.reader.switched(self.view, one.items):
                return self.block(one.body)
        elif isinstance(one, ast.Try):
            ended = self.block(one.body) and not one.handlers
            for handler in one.handlers:
                self._perhaps(handler.body)
            return self.block(one.finalbody) or ended
        elif isinstance(one, ast.Match):
            for case in one.cases:
                self._perhaps(case.body)
        return False

    def _assign(self, one: ast.Assign) -> None:
        target = one.targets[0]
        parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
        value = one.value
        if isinstance(value, ast.Tuple) and len(value.elts) == len(parts) and len(one.targets) == 1:
            for part, flow in zip(parts, [self.of(each) for each in value.elts], strict=True):
                bind(self.local, part, flow)
            return
        flow = self.of(value)
        for each in one.targets:
            bind(self.local, each, flow)
        if len(parts) == 2 and _gives_indices(value):
            expressions = _Expressions(self.reader, self.view, self.local)
            stopped = expressions._stopped(flow, value, f"the indices of {ast.unparse(value)}")
            bind(self.local, parts[1], stopped)

    def _augmented(self, one: ast.AugAssign) -> None:
        flow = self.reader.operation(self.of(one.value))
        name = dotted(one.target)
        before = self.of(one.target) if name is not None else NOTHING
        if name is not None:
            self.local[name] = together([before, flow])
        else:
            bind(self.local, one.target, flow)

    def _expression(self, node: ast.expr) -> None:
        flow = self.of(node)
        if not isinstance(node, ast.Call):
            return
        name = last_name(node.func)
        if name == "set_grad_enabled":
            self.reader.set_for_good(self.view, node)
        elif isinstance(node.func, ast.Attribute) and (name in _COLLECTS or name.endswith("_")):
            key = dotted(node.func.value) or root_of(node.func)
            if key:
                given = flow if name == "detach_" else together(self.of(part) for part in node.args)
                before = NOTHING if name == "detach_" else self.of(node.func.value)
                self.local[key] = together([before, given])

    def _branches(self, one: ast.If) -> bool:
        known = truth(self.view, one.test)
        if known is not None:
            return self.block(one.body if known else one.orelse)
        for part in own_parts(one):  # for what `:=` binds
            self.of(part)
        before = dict(self.local)
        ended = self.block(one.body)
        after = self.local
        self.local = before
        ended_else = self.block(one.orelse)
        if ended and not ended_else:
            return False
        if ended_else and not ended:
            self.local = after
            return False
        self._join(after)
        return ended and ended_else

    def _perhaps(self, statements: Iterable[ast.stmt]) -> None:
        before = dict(self.local)
        self.block(statements)
        self._join(before)

    def _join(self, other: _Local) -> None:
        for name in {*self.local, *other}:
            ways = [some[name] for some in (self.local, other) if name in some]
            if len(ways) == 2 and ways[0] != ways[1]:
                self.local[name] = either(ways)
            else:
                self.local[name] = ways[0]


def of_statement(view: View, statement: ast.stmt, name: str, reader: Reader, local: _Local) -> Flow:
    """The flow that a statement of a running function gives to one of the names that it binds.

    Args:
        view: the function.
        statement: binds the name.
        name: the name.
        reader: says what carries a gradient.
        local: flows that statements before it gave to names; this one's is added.
    """
    run = _Run(reader, view, local)
    run.statement(statement)
    return local.get(name, NOTHING)


def of_module(module: nn.Module, carries: Callable[[Any], bool]) -> Flow:
    """What a module's own forward pass does with what carries a gradient inside it."""
    node = ast.Call(ast.Name("it", ast.Load()), [], [], lineno=0, col_offset=0)
    return _Expressions(Reader(carries), NOWHERE, {})._one_module(module, NOTHING, node)


class _Nowhere:
    """A view of source alone: no name stands for anything."""

    scope: Scope | None = None
    title = ""
    file = ""

    def known(self, name: str) -> list[Any]:
        return []


NOWHERE = _Nowhere()


def cuts(statement: ast.stmt, name: str) -> bool:
    """Whether a statement binds a name to what carries no gradient of that name's old value."""
    run = _Run(Reader(lambda _: False), NOWHERE, {name: Flow(carries=True)})
    run.statement(statement)
    return not run.local[name].carries


def requires_grad(value: object) -> bool:
    """Whether a value is, or holds, something that requires grad."""
    if is_tensor(value):
        return value.requires_grad
    if is_module(value):
        return any(
            one.requires_grad
            for inner in submodules(value).values()
            for one in registered(inner, "_parameters").values()
            if is_tensor(one)
        )
    if is_container(value):
        return any(one.requires_grad for _, one in named_tensors({"it": value}))
    return False
