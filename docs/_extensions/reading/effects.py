"""What a piece of code changes, draws, reads and writes beside the names that it binds.

Told from names alone: `x.add_(1)` changes `x`, `loss.backward()` the gradients of what lies behind
`loss`, `nn.Linear(2, 1)` draws random numbers. Functions and classes of the page are looked into.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import gast

# Methods that change their object, beside those that end with an underscore.
_CHANGES = {
    *("add", "append", "clear", "close", "discard", "extend", "insert", "pop", "popitem", "remove"),
    *("reverse", "send", "seek", "setdefault", "sort", "update", "write"),
    *(
        "kill",
        "mkdir",
        "start",
        "terminate",
        "touch",
        "unlink",
        "wait",
        "write_bytes",
        "write_text",
    ),
    *("add_module", "add_param_group", "apply", "compile", "eval", "load_state_dict", "train"),
    *("mark_dirty", "mark_non_differentiable", "retain_grad", "save_for_backward"),
    *("set_materialize_grads", "register_buffer", "register_parameter", "manual_seed"),
}
# What they change lies behind their object, or their arguments: parameters, leaves.
_STEPS = {"step", "update_parameters", "fit", "load_checkpoint", "unscale_", "clip_grad_norm_"}
_STEPS |= {"clip_grad_value_"}
_GRADIENTS = {"backward", "zero_grad", "replay"}
# Who looks at gradients, or at a graph, needs what wrote them.
_LOOKS = _GRADIENTS | _STEPS | {"grad", "graph", "explain", "saved_memory"}
_SEEDS = {"seed_everything", "seed", "manual_seed"}
_DRAWS = {
    # Numbers
    *("bernoulli", "bernoulli_", "cauchy_", "choice", "dropout", "exponential_", "gauss"),
    *("geometric_", "get_rng_state", "gumbel_softmax", "integers", "log_normal_", "multinomial"),
    *("normal", "normal_", "permutation", "poisson", "rand", "rand_like", "randint"),
    *("randint_like", "randn", "randn_like", "random", "random_", "random_split", "randperm"),
    *("rsample", "sample", "shuffle", "standard_normal", "trunc_normal_", "uniform", "uniform_"),
    # Weights
    *("kaiming_normal_", "kaiming_uniform_", "orthogonal_", "xavier_normal_", "xavier_uniform_"),
    *("Bilinear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "Embedding"),
    *("EmbeddingBag", "GRU", "GRUCell", "LSTM", "LSTMCell", "LazyLinear", "Linear", "RNN"),
    *("MultiheadAttention", "RNNCell", "Transformer", "TransformerEncoderLayer"),
    "reset_parameters",
    # Others that draw
    *("gradcheck", "gradgradcheck", "compare_gradients", "fit"),
}
# What is made with them draws each time that it is used.
_DRAWS_LATER = {"AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "RandomSampler", "RReLU"}
_PROCESSES = {"check_call", "check_output", "Popen", "Process", "run", "spawn", "start"}
_WRITES_FILES = {
    *("dump", "fit", "mkdir", "mkdtemp", "NamedTemporaryFile", "open", "rename", "rmtree", "save"),
    *("save_checkpoint", "savez", "TemporaryDirectory", "unlink", "write_bytes", "write_text"),
}
_READS_FILES = {
    *("exists", "fit", "getsize", "glob", "is_file", "iterdir", "load", "load_checkpoint", "open"),
    *("read_bytes", "read_text", "stat"),
}
# Of a module, they change how everything after them behaves.
_SETTINGS = ("set_", "use_", "filter", "simplefilter", "enable_", "disable_", "register_")
# Calls for an effect that none of their arguments feels.
_HARMLESS = {"print", "display", "assert_close", "assert_allclose", "show"}


@dataclass(frozen=True)
class Change:
    """That what a name stands for is changed.

    Attributes:
        gradients: in its gradients or its graph alone.
        behind: what changes is what it was computed from, or what it holds.
        sure: the code says so; otherwise it is a guess.
    """

    name: str
    gradients: bool = False
    behind: bool = False
    sure: bool = True


@dataclass
class Effects:
    """What a piece of code does.

    Attributes:
        changes: to objects that were there before.
        mentions: functions and classes of the page that it calls, or hands on.
        hands_on: those of them that live on in what it makes: a class in its instance.
        draws: it draws random numbers.
        draws_later: what it makes draws when it is used.
        seeds: it sets the state of the random generators.
        looks: it reads gradients, or the graph.
        reads_files: or asks for them.
        writes_files: or makes folders.
        sets: it changes a setting of torch or another module.
        raises: it is a block that must fail.
        clears: names whose gradients it sets to None, so that earlier ones do not matter.
    """

    changes: set[Change] = field(default_factory=set)
    mentions: set[str] = field(default_factory=set)
    hands_on: set[str] = field(default_factory=set)
    draws: bool = False
    draws_later: bool = False
    seeds: bool = False
    looks: bool = False
    reads_files: bool = False
    writes_files: bool = False
    sets: bool = False
    raises: bool = False
    clears: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Names:
    """What is known of the names of a page where a piece of code stands.

    Attributes:
        is_module: whether an import bound the name.
        definition: the function or class of the page that the name stands for.
        maker: the class of the page that made what the name stands for.
    """

    is_module: Callable[[str], bool]
    definition: Callable[[str], gast.AST | None]
    maker: Callable[[str], gast.AST | None]


def effects(code: gast.AST | Iterable[gast.AST], names: Names) -> Effects:
    """What a statement does where it stands, functions of the page that it calls included."""
    nodes = [code] if isinstance(code, gast.AST) else list(code)
    return _Reader(names, frozenset()).read(nodes)


def called(name: gast.AST) -> str:
    """The last name of what is called: `clip_grad_norm_` of `nn.utils.clip_grad_norm_(...)`."""
    if isinstance(name, gast.Attribute):
        return str(name.attr)
    return str(name.id) if isinstance(name, gast.Name) else ""


def immediate(node: gast.AST) -> Iterator[gast.AST]:
    """The nodes that run when the code runs: of functions that it defines, their defaults."""
    yield node
    if isinstance(node, gast.FunctionDef | gast.AsyncFunctionDef):
        defaults = (one for one in node.args.kw_defaults if one is not None)
        inside: Iterable[gast.AST] = [*node.decorator_list, *node.args.defaults, *defaults]
    else:
        inside = gast.iter_child_nodes(node)
    for child in inside:
        yield from immediate(child)


class _Reader:
    """Reads one piece of code; `above` are the functions that are being read already."""

    def __init__(self, names: Names, above: frozenset[int]) -> None:
        self.names = names
        self.above = above
        self.found = Effects()
        self.origins: dict[str, set[str]] = {}
        self.calls: set[str] = set()  # names that are only called
        self.undone: set[int] = set()  # calls whose settings end with the block around them

    def read(self, nodes: list[gast.AST]) -> Effects:
        everything = [one for node in nodes for one in immediate(node)]
        functions = {id(one.func) for one in everything if isinstance(one, gast.Call)}
        names = [one for one in everything if isinstance(one, gast.Name)]
        self.calls = {one.id for one in names} - {
            one.id for one in names if id(one) not in functions
        }
        self.undone = {
            id(inside)
            for one in everything
            if isinstance(one, gast.With) and any(map(_restores, one.items))
            for inside in gast.walk(one)
        }
        for node in everything:
            self._note_origin(node)
        for node in everything:
            self._read(node)
        return self.found

    # Names inside the code stand for what they were made of.

    def _note_origin(self, node: gast.AST) -> None:
        match node:
            case gast.Assign():
                pairs = [(target, node.value) for target in node.targets]
            case gast.For() | gast.AsyncFor() | gast.comprehension():
                pairs = [(node.target, node.iter)]
            case gast.withitem() if node.optional_vars is not None:
                pairs = [(node.optional_vars, node.context_expr)]
            case gast.NamedExpr():
                pairs = [(node.target, node.value)]
            case _:
                return
        for target, value in pairs:
            for name in _names(target):
                self.origins.setdefault(name, set()).update(roots(value) - {name})

    def _behind(self, names: Iterable[str]) -> set[str]:
        found, left = set(), list(names)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += self.origins.get(name, ())
        return {name for name in found if not self.names.is_module(name)}

    def _change(self, expressions: Iterable[gast.AST], **how: bool) -> None:
        direct = {name for one in expressions for name in roots(one)}
        for name in self._behind(direct):
            definition = self.names.definition(name)
            if definition is None:
                self.found.changes.add(Change(name, **how))
            elif isinstance(definition, gast.FunctionDef | gast.Lambda):
                # What it was computed from is what the function read.
                for free in _free_names(definition):
                    if self.names.definition(free) is None and not self.names.is_module(free):
                        self.found.changes.add(Change(free, **how))

    def _read(self, node: gast.AST) -> None:
        found = self.found
        match node:
            case gast.Assign() | gast.Delete():
                for target in node.targets:
                    self._write(target, sure=isinstance(node, gast.Assign))
                if isinstance(node, gast.Assign) and _is_none(node.value):
                    found.clears.update(_cleared(node.targets))
            case gast.AnnAssign() | gast.AugAssign() | gast.For():
                self._write(node.target)
                if isinstance(node, gast.AugAssign) and isinstance(node.target, gast.Name):
                    self._change([node.target])  # of a tensor, it is in place
            case gast.Global():
                found.changes.update(Change(name) for name in node.names)
            case gast.With():
                found.raises |= any(_raises(item.context_expr) for item in node.items)
            case gast.Expr(value=gast.Call()):
                self._read_statement(node.value)
            case gast.Call():
                self._read_call(node)
            case gast.Attribute():
                found.looks |= node.attr in ("grad", "grad_fn", "next_functions")
                if isinstance(node.value, gast.Name) and self.names.is_module(node.value.id):
                    found.draws |= node.attr in _DRAWS  # also as a value: checkpoint(F.dropout, x)
            case gast.keyword(arg="shuffle"):
                found.draws_later = True
            case gast.Name() if isinstance(node.ctx, gast.Load):
                self._mention(node.id)

    def _write(self, target: gast.AST, *, sure: bool = True) -> None:
        match target:
            case gast.Tuple() | gast.List():
                for one in target.elts:
                    self._write(one, sure=sure)
            case gast.Starred():
                self._write(target.value, sure=sure)
            case gast.Attribute() | gast.Subscript():
                base = roots(target.value)
                modules = {name for name in base if self.names.is_module(name)}
                self.found.sets |= bool(modules)
                gradients = isinstance(target, gast.Attribute) and target.attr == "grad"
                self._change([target.value], gradients=gradients, sure=sure)
            case gast.Name() if not sure:  # deleted
                self._change([target], sure=False)

    def _read_statement(self, call: gast.Call) -> None:
        """A call for its effect alone."""
        name = called(call.func)
        if name in _HARMLESS:
            return
        receiver = call.func.value if isinstance(call.func, gast.Attribute) else None
        if receiver is not None:
            if all(self.names.is_module(one) for one in roots(receiver)):
                self.found.sets |= name.startswith(_SETTINGS) and id(call) not in self.undone
            else:
                self._change([receiver], gradients=name in _GRADIENTS)
        self._change([*call.args, *(one.value for one in call.keywords)], sure=False)

    def _read_call(self, call: gast.Call) -> None:
        name, found = called(call.func), self.found
        receiver = call.func.value if isinstance(call.func, gast.Attribute) else None
        data = receiver is not None and not all(
            self.names.is_module(one) or self.names.definition(one) is not None
            for one in roots(receiver)
        )
        arguments = [*call.args, *(one.value for one in call.keywords)]
        changed = [receiver] if data else arguments
        if name in _GRADIENTS:
            self._change(changed, gradients=True, behind=True)
        elif name in _STEPS:
            self._change([receiver] if data and name != "fit" else arguments, behind=True)
        elif name in ("setattr", "delattr", "next") and not data:
            self._change(arguments[:1])
        elif name in ("grad", "vjp", "jvp"):  # frees the graph
            self._change(arguments, gradients=True, behind=True, sure=False)
        elif (
            (name.endswith("_") and not name.endswith("__"))
            or (data and name in _CHANGES)
            or (data and name.startswith("register_"))
        ):
            self._change(changed)
        found.looks |= name in _LOOKS
        found.seeds |= name in _SEEDS and not data and _is_global(receiver)
        found.draws |= name in _DRAWS and not _is_method_of_data(name, data)
        found.draws_later |= name in _DRAWS_LATER
        found.reads_files |= name in _READS_FILES or name in _PROCESSES
        found.writes_files |= name in _WRITES_FILES
        self._enter(call, arguments)

    # Functions and classes of the page

    def _mention(self, name: str) -> None:
        """What a function does to what it reads from the page, it may do wherever it is named."""
        definition = self.names.definition(name) or self.names.maker(name)
        if definition is None or name in self.origins:
            return
        self.found.mentions.add(name)
        if name not in self.calls or isinstance(definition, gast.ClassDef):
            self.found.hands_on.add(name)
        if id(definition) in self.above:
            return
        inner, parameters = self._inner(definition)
        for change in inner.changes:
            if change.name not in parameters:
                self.found.changes.add(change)
        self._take(inner)

    def _take(self, inner: Effects) -> None:
        for one in ("draws", "draws_later", "seeds", "looks", "reads_files", "writes_files"):
            setattr(self.found, one, getattr(self.found, one) or getattr(inner, one))

    def _enter(self, call: gast.Call, arguments: list[gast.AST]) -> None:
        """What a function of the page does to its arguments."""
        base = call.func
        while isinstance(base, gast.Attribute | gast.Subscript):
            base = base.value
        if not isinstance(base, gast.Name):
            return
        definition = self.names.definition(base.id)
        made_by = self.names.maker(base.id)
        for one in (definition, made_by):
            if one is None or id(one) in self.above:
                continue
            inner, parameters = self._inner(one)
            given = dict(zip(parameters, call.args, strict=False))
            given |= {word.arg: word.value for word in call.keywords if word.arg}
            for change in inner.changes:
                if change.name not in parameters:
                    continue
                how = {"gradients": change.gradients, "behind": change.behind, "sure": change.sure}
                if isinstance(one, gast.ClassDef):  # which of its methods runs is not known
                    own = change.name == "self" and one is made_by
                    self._change([base] if own else arguments, **how)
                elif change.name in given:
                    self._change([given[change.name]], **how)

    def _inner(self, definition: gast.AST) -> tuple[Effects, list[str]]:
        """Effects of a function or a class, and its parameters."""
        functions = [
            one
            for one in gast.walk(definition)
            if isinstance(one, gast.FunctionDef | gast.AsyncFunctionDef | gast.Lambda)
        ]
        parameters = [name for one in functions for name in _parameters(one)]
        local = {
            one.id
            for one in gast.walk(definition)
            if isinstance(one, gast.Name) and isinstance(one.ctx, gast.Store)
        }
        outer = {
            name
            for one in gast.walk(definition)
            if isinstance(one, gast.Global)
            for name in one.names
        }
        local -= outer
        names = Names(
            lambda name: (
                name not in parameters and name not in local and self.names.is_module(name)
            ),
            lambda name: (
                None if name in parameters or name in local else self.names.definition(name)
            ),
            lambda name: None if name in parameters or name in local else self.names.maker(name),
        )
        reader = _Reader(names, self.above | {id(definition)})
        body = [
            inner
            for one in functions
            for inner in (one.body if isinstance(one.body, list) else [one.body])
        ]
        found = reader.read(body)
        found.changes = {
            one for one in found.changes if one.name not in local or one.name in parameters
        }
        return found, parameters


def roots(expression: gast.AST) -> set[str]:
    """The names whose objects an expression is, is a part of, or was computed from."""
    match expression:
        case gast.Name():
            return {str(expression.id)}
        case gast.Attribute() | gast.Subscript() | gast.Starred():
            return roots(expression.value)
        case gast.Lambda():
            return set(_free_names(expression))
        case _:
            return {name for child in gast.iter_child_nodes(expression) for name in roots(child)}


def _names(target: gast.AST) -> set[str]:
    """The names that an assignment binds."""
    return {
        one.id
        for one in gast.walk(target)
        if isinstance(one, gast.Name) and isinstance(one.ctx, gast.Store)
    }


def _parameters(function: gast.AST) -> list[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [one.id for one in every]


def _free_names(function: gast.AST) -> set[str]:
    own = {
        one.id
        for one in gast.walk(function)
        if isinstance(one, gast.Name) and not isinstance(one.ctx, gast.Load)
    }
    return {one.id for one in gast.walk(function) if isinstance(one, gast.Name)} - own


def _raises(context: gast.AST) -> bool:
    return isinstance(context, gast.Call) and called(context.func) == "expect_error"


def _restores(item: gast.withitem) -> bool:
    """Whether a context puts the filters of warnings back."""
    call = item.context_expr
    return isinstance(call, gast.Call) and called(call.func) == "catch_warnings"


def _is_global(receiver: gast.AST | None) -> bool:
    """Whether a seed is that of a module: a generator has one of its own."""
    return receiver is None or isinstance(receiver, gast.Name | gast.Attribute)


def _is_method_of_data(name: str, data: bool) -> bool:
    return data and not name.endswith("_") and name not in ("reset_parameters", "sample", "rsample")


def _is_none(value: gast.AST) -> bool:
    return isinstance(value, gast.Constant) and value.value is None


def _cleared(targets: list[gast.AST]) -> Iterator[str]:
    """The x of `x.grad = None`."""
    for one in targets:
        match one:
            case gast.Attribute(value=gast.Name(), attr="grad"):
                yield str(one.value.id)
