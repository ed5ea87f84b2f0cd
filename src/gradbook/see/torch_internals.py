"""The one place that touches private names of torch, and walks a backward graph.

Two rules hold here. A walk is iterative and visits a node once, since a graph is a DAG and may be
deep. And a walk leaves the graph safe to drop: once Python has seen the nodes of a chain, torch
frees them recursively through Python, and a chain of more than about 20,000 nodes overflows the
C stack. `walk` breaks that recursion (see `_Landing`).
"""

import gc
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import Node

Edges = tuple[tuple[Node | None, int], ...]

_KEY = "gradbook"
_LANDING_EVERY = 500  # nodes; each takes well under 1 kB of a stack of usually 8 MB


class _Landing:
    """Ends the recursion in which a long chain is freed.

    It rests in the metadata of a node and holds that node's children. When the node is freed, the
    children are still held; they are put into a queue, and whoever empties the queue frees them one
    by one, from a shallow stack. Lifetimes do not change: the node holds its children anyway.
    """

    __slots__ = ("children",)

    def __init__(self, children: list[Node]) -> None:
        self.children = children

    def __del__(self) -> None:
        queue = _falling.queue
        queue.extend(self.children)
        self.children = []
        if _falling.busy:
            return
        _falling.busy = True
        try:
            while queue:
                queue.pop()
        finally:
            _falling.busy = False


class _Falling(threading.local):
    """Nodes about to be freed in this thread."""

    def __init__(self) -> None:
        self.queue: list[Node] = []
        self.busy = False


_falling = _Falling()


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is collected inside."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def walk(roots: Iterable[Node]) -> dict[Node, Edges]:
    """All nodes that `roots` reach, each once, with its edges.

    A node comes after all nodes that point at it (Kahn's order). The graph can be dropped
    afterwards, however long it is.

    Args:
        roots: nodes, as in ``tensor.grad_fn``.

    >>> x = torch.ones(2, requires_grad=True)
    >>> y = x * 2
    >>> [node_name(node) for node in walk([(y * y).sum().grad_fn])]
    ['SumBackward0', 'MulBackward0', 'MulBackward0', 'AccumulateGrad']
    """
    edges: dict[Node, Edges] = {}
    order: Iterable[Node] = edges
    shared = False
    done = False
    try:
        ready = [*dict.fromkeys(roots)][::-1]
        stack = ready[:]
        stretches = [1] * len(stack)  # of each node in it: nodes in a row without a landing
        while stack:
            node = stack.pop()
            stretch = stretches.pop()
            if node in edges:
                shared = True
                continue
            edges[node] = found = node.next_functions
            if stretch == _LANDING_EVERY:
                _set_landing(node, found)
                stretch = 0
            stretch += 1
            for child, _ in found:
                if child is not None:
                    stack.append(child)
                    stretches.append(stretch)
        if shared:  # else it is a tree, and was met in the right order
            order = _kahn(ready, edges)
        done = True
    finally:
        if not done:
            for node, found in edges.items():
                _set_landing(node, found)
        elif shared and len(edges) > _LANDING_EVERY:
            _make_safe_to_drop(order, edges)
    return {node: edges[node] for node in order} if shared else edges


def _kahn(roots: list[Node], edges: dict[Node, Edges]) -> list[Node]:
    """The nodes, each after all that point at it."""
    waiting: dict[Node, int] = {}  # how many edges into a node are not yet passed
    for found in edges.values():
        for child, _ in found:
            if child is not None:
                waiting[child] = waiting.get(child, 0) + 1
    ready = [node for node in roots if node not in waiting]
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for child, _ in edges[node]:
            if child is not None:
                left = waiting[child] - 1
                waiting[child] = left
                if not left:
                    ready.append(child)
    return order


def _make_safe_to_drop(order: Iterable[Node], edges: dict[Node, Edges]) -> None:
    """Set landings where paths join: along each of them, often enough; `order` as of `walk`."""
    stretches: dict[Node, int] = {}  # the longest path without a landing that ends at a node
    for node in order:
        stretch = stretches.get(node, 0) + 1
        children = edges[node]
        if stretch >= _LANDING_EVERY:
            _set_landing(node, children)
            stretch = 0
        for child, _ in children:
            if child is not None and stretch > stretches.get(child, 0):
                stretches[child] = stretch


def _set_landing(node: Node, edges: Edges) -> None:
    held = [child for child, _ in edges if child is not None]
    if held:
        _metadata(node)[_KEY + ".landing"] = _Landing(held)


class _Kind(NamedTuple):
    """What all nodes of one class have in common; reading it off each would be slow."""

    name: str | None
    """None for a class that serves many operations, whose nodes tell their name themselves."""
    is_leaf: bool
    fields: tuple[tuple[str, str, str], ...]
    """Saved tensors: name of the getter, of the raw getter, and the plain name."""
    scalars: tuple[tuple[str, str], ...]
    """Plain numbers of the formula: name of the getter, and the plain name."""


@cache
def _kind(node_class: type) -> _Kind:
    name = node_class.__name__
    getters = [getter for getter in dir(node_class) if getter.startswith("_raw_saved_")]
    fields = tuple((getter[4:], getter, getter[11:]) for getter in getters)
    of_tensors = {getter for getter, _, _ in fields}
    return _Kind(
        None if name in ("CppFunction", "Node") else name,
        name == "AccumulateGrad",
        fields,
        tuple(
            (getter, getter[7:])
            for getter in dir(node_class)
            if getter.startswith("_saved_") and getter not in of_tensors
        ),
    )


def node_name(node: Node) -> str:
    """The name without a C++ namespace: torch has ``torch::autograd::AccumulateGrad``."""
    return _kind(type(node)).name or node.name().rpartition("::")[2]


def leaf_of(node: Node) -> Tensor | None:
    """The tensor that an AccumulateGrad node adds to; None for any other node."""
    return cast("Any", node).variable if _kind(type(node)).is_leaf else None


def names(nodes: Collection[Node]) -> list[str]:
    """The name of each node, as `node_name` gives it."""
    known = {node_class: _kind(node_class).name for node_class in set(map(type, nodes))}
    return [known[type(node)] or node_name(node) for node in nodes]


def results(nodes: Iterable[Node]) -> list[Any]:
    """What torch knows of the (first) tensor that each operation made; None where nothing.

    To read `shapes_of` and `dtypes_of` it can wait: it holds neither the node nor the tensor.
    """
    known = attrgetter("_input_metadata")
    try:
        return list(map(itemgetter(0), map(known, nodes)))
    except IndexError:
        return [next(iter(one), None) for one in map(known, nodes)]


def shapes_of(made: Iterable[Any]) -> list[tuple[int, ...] | None]:
    """The shapes in what `results` gave; None where there is none."""
    return [_plain(_read(one, "shape")) for one in made]


def dtypes_of(made: Iterable[Any]) -> list[torch.dtype | None]:
    """The dtypes in what `results` gave; None where there is none."""
    return [_read(one, "dtype") for one in made]


def _read(made: Any, fact: str) -> Any:
    try:
        return getattr(made, fact)
    except (AttributeError, RuntimeError):  # no metadata, or a nested tensor
        return None


def _plain(sizes: Iterable[Any] | None) -> tuple[int, ...] | None:
    """The sizes as numbers; None if one is none, as the ragged one of a jagged nested tensor."""
    if sizes is None:
        return None
    try:
        return tuple(int(size) for size in sizes)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None


def lines(nodes: Iterable[Node]) -> dict[int, object]:
    """What `set_line` left on nodes, by their position."""
    if not _lines_exist:
        return {}
    found = enumerate(line_of(node) for node in nodes)
    return {number: line for number, line in found if line is not None}


def shape_of(tensor: Tensor) -> tuple[int, ...] | None:
    """The shape, or None where there is none (a nested tensor)."""
    try:
        shape = tensor.shape
    except (RuntimeError, NotImplementedError):
        return None
    return shape if type(tensor) in _PLAIN else _plain(shape)


class SavedField(NamedTuple):
    """What a node holds of one tensor for its backward.

    Attributes:
        tensor: the tensor as stored; None if `released` or `packed`.
        version: its version when it was saved; None if unknown.
        edited: its version now, if that is another one.
        packed: a saved-tensor hook (`torch.autograd.graph.saved_tensors_hooks`, checkpointing)
            holds something else than a tensor; it is not unpacked here, since that runs code.
        released: a backward pass freed it.
    """

    tensor: Tensor | None
    version: int | None
    edited: int | None
    packed: bool
    released: bool


def saved_fields(node: Node) -> dict[str, SavedField]:
    """The tensors that `node` saved, by the name that torch's formula gives them.

    Nothing is unpacked: no hook runs, no checkpoint recomputes. A tensor that was not needed, and
    so not saved, is left out.
    """
    fields: dict[str, SavedField] = {}
    for getter, raw_name, name in _kind(type(node)).fields:
        try:
            raw = getattr(node, raw_name)
        except RuntimeError:  # a list of saved tensors raises once it is released
            fields[name] = _RELEASED
            continue
        if isinstance(raw, tuple):
            # A custom Function has `saved_tensors`, without the underscore.
            getter = "saved_tensors" if getter == "_saved_tensors" else getter  # noqa: PLW2901
            for number, one in enumerate(raw):
                field = _field(node, getter, one)
                if field is not None:
                    fields[f"{name}[{number}]"] = field
        else:
            field = _field(node, getter, raw)
            if field is not None:
                fields[name] = field
    return fields


_RELEASED = SavedField(None, None, None, packed=False, released=True)


def _field(node: Node, getter: str, raw: Any) -> SavedField | None:
    data = raw.data
    if not isinstance(data, Tensor):
        if raw.unpack_hook is not None:
            return SavedField(None, None, None, packed=True, released=False)
        # Never saved, or released? Only torch's own getter tells; there is nothing to unpack.
        try:
            getattr(node, getter)
        except RuntimeError:
            return _RELEASED
        return None
    try:
        now = data._version
    except RuntimeError:  # an inference tensor has none
        return SavedField(data, None, None, packed=False, released=False)
    if now and raw.unpack_hook is None:  # version 0 cannot have been edited
        try:
            getattr(node, getter)
        except RuntimeError as error:
            expected = _expected_version(str(error))
            if expected is not None and expected != now:
                return SavedField(data, expected, now, packed=False, released=False)
    return SavedField(data, now, None, packed=False, released=False)


def _expected_version(message: str) -> int | None:
    """The number in torch's ``...; expected version 3 instead``."""
    _, found, rest = message.partition("expected version ")
    digits = rest.split(" ", 1)[0]
    return int(digits) if found and digits.isdigit() else None


def saved_tensors(node: Node) -> list[tuple[str, Tensor]]:
    """The tensors that `node` saved and still holds, as they are stored, by their field."""
    found: list[tuple[str, Tensor]] = []
    for _, raw_name, field in _kind(type(node)).fields:
        try:
            raw = getattr(node, raw_name)
        except RuntimeError:  # a list of saved tensors raises once it is released
            continue
        if isinstance(raw, tuple):
            listed = ((f"{field}[{number}]", one.data) for number, one in enumerate(raw))
            found += [one for one in listed if isinstance(one[1], Tensor)]
        elif isinstance(raw.data, Tensor):
            found.append((field, raw.data))
    return found


def saved_scalars(node: Node) -> dict[str, Any]:
    """The plain numbers that `node` keeps for its formula: an exponent, a dimension, sizes."""
    found = {}
    for getter, name in _kind(type(node)).scalars:
        try:
            found[name] = getattr(node, getter)
        except RuntimeError:
            continue
    return found


# A saved tensor as plain values: shape, dtype, bytes of its storage, version when saved, version
# now if that is another, packed, released.
SavedValues = tuple[
    tuple[int, ...] | None, torch.dtype | None, int, int | None, int | None, bool, bool
]
Saved = tuple[tuple[str, SavedValues], ...]
_PLAIN = (Tensor, torch.nn.Parameter)
_PLAIN_TYPES = frozenset(_PLAIN)


class SavedColumn(NamedTuple):
    """One field of the nodes of a class, as far as nothing is unusual about it."""

    field: str
    nodes: list[int]
    shapes: list[tuple[int, ...]]
    dtypes: list[torch.dtype]
    nbytes: list[int]
    memory: list[int]
    """Addresses: tensors that share memory have the same."""


def saved_columns(
    nodes: Sequence[Node], storages: dict[Any, int]
) -> tuple[list[SavedColumn], dict[int, Saved], dict[int, dict[Any, int]]]:
    """What nodes saved, as values that hold no tensor: by class, and the unusual ones by node.

    The last part is the memory that the unusual ones hold.

    This is most of what reading a graph costs, so all nodes of a class are read at once.

    Args:
        nodes: any.
        storages: gets an entry for each storage that the nodes keep alive: its bytes.
    """
    of_class: dict[type, list[int]] = {}
    for number, node_class in enumerate(map(type, nodes)):
        if node_class in of_class:
            of_class[node_class].append(number)
        else:
            of_class[node_class] = [number]
    columns: list[SavedColumn] = []
    unusual: set[int] = set()
    for node_class, numbers in of_class.items():
        own = [nodes[number] for number in numbers]
        for names in _kind(node_class).fields:
            column = _column(own, numbers, names, storages, unusual)
            if column is not None:
                columns.append(column)
    apart: dict[int, Saved] = {}
    memory: dict[int, dict[Any, int]] = {}
    for number in sorted(unusual):
        memory[number] = {}
        values = saved_values(nodes[number], memory[number])
        storages.update(memory[number])
        if values:
            apart[number] = values
    return columns, apart, memory


def _column(
    nodes: list[Node],
    numbers: list[int],
    names: tuple[str, str, str],
    storages: dict[Any, int],
    unusual: set[int],
) -> SavedColumn | None:
    getter, raw_name, field = names
    try:
        # In one: a raw one that is freed before the next costs half of many that live at once.
        tensors = list(map(attrgetter(raw_name + ".data"), nodes))
    except (AttributeError, RuntimeError):  # a list of saved tensors
        unusual.update(numbers)
        return None
    kinds = set(map(type, tensors))
    if kinds == {type(None)} and _were_never_saved(nodes, raw_name, getter):
        return None
    if not kinds <= _PLAIN_TYPES:
        kept = []
        for position, tensor in enumerate(tensors):
            if type(tensor) in _PLAIN:
                kept.append(position)
            elif tensor is not None or not _were_never_saved([nodes[position]], raw_name, getter):
                unusual.add(numbers[position])
        if not kept:
            return None
        tensors = [tensors[position] for position in kept]
        numbers = [numbers[position] for position in kept]
    try:
        memory = list(map(Tensor.untyped_storage, tensors))
        pointers = list(map(UntypedStorage.data_ptr, memory))
        nbytes = list(map(UntypedStorage.nbytes, memory))
        if not all(pointers) or any(map(attrgetter("_version"), tensors)):
            for number, pointer, tensor in zip(numbers, pointers, tensors, strict=True):
                if not pointer or tensor._version:
                    unusual.add(number)
        shapes = list(map(attrgetter("shape"), tensors))
        dtypes = list(map(attrgetter("dtype"), tensors))
    except (NotImplementedError, RuntimeError):  # one is sparse, nested or an inference tensor
        unusual.update(numbers)
        return None
    storages.update(zip(pointers, nbytes, strict=True))
    storages.pop(0, None)
    return SavedColumn(field, numbers, shapes, dtypes, nbytes, pointers)


def _were_never_saved(nodes: list[Node], raw_name: str, getter: str) -> bool:
    """Whether a field that holds nothing never did, as of the other factor of many ``x * c``.

    Only torch's own getter tells, and it raises for what was released; where a hook packed
    nothing, it would run the hook.
    """
    if any(map(attrgetter(raw_name + ".unpack_hook"), nodes)):
        return False
    try:
        return set(map(attrgetter(getter), nodes)) == {None}
    except RuntimeError:
        return False


def by_node(columns: Iterable[SavedColumn], unusual: Mapping[int, Saved]) -> dict[int, Saved]:
    """What `saved_columns` found, by node."""
    found: dict[int, Saved] = {}
    for field, *lists in columns:
        for number, shape, dtype, nbytes, _ in zip(*lists, strict=True):
            values = (field, (shape, dtype, nbytes, 0, None, False, False))
            found[number] = (*found.get(number, ()), values)
    return {**found, **unusual}


def memory_by_node(
    columns: Iterable[SavedColumn], unusual: Mapping[int, Mapping[Any, int]]
) -> dict[int, dict[Any, int]]:
    """The memory that each node holds: a key for each storage, and its bytes."""
    found: dict[int, dict[Any, int]] = {}
    for column in columns:
        for number, key, nbytes in zip(column.nodes, column.memory, column.nbytes, strict=True):
            if number not in unusual:
                found.setdefault(number, {})[key] = nbytes
    found.update((number, dict(one)) for number, one in unusual.items())
    return found


def saved_values(node: Node, storages: dict[Any, int]) -> Saved:
    """The saved tensors of a node by their field, as values that hold no tensor.

    Args:
        node: any node.
        storages: gets an entry for each storage that the node keeps alive: its bytes.
    """
    found: list[tuple[str, SavedValues]] = []
    for name, one in saved_fields(node).items():
        tensor = one.tensor
        if tensor is None:
            found.append((name, (None, None, 0, None, None, one.packed, one.released)))
            continue
        key, nbytes = storage_of(tensor)
        storages[key] = nbytes
        values = (shape_of(tensor), tensor.dtype, nbytes, one.version, one.edited, False, False)
        found.append((name, values))
    return tuple(found)


def packed_storages(node: Node) -> dict[Any, int]:
    """The storages of the tensors that hooks packed for `node`: alone, or in a plain container.

    Nothing is unpacked, so what a hook keeps in an object of its own is not seen.
    """
    found: dict[Any, int] = {}
    for _, raw_name, _ in _kind(type(node)).fields:
        try:
            raw = getattr(node, raw_name)
        except RuntimeError:  # released
            continue
        held = [one.data for one in (raw if isinstance(raw, tuple) else (raw,)) if one.unpack_hook]
        while held:
            one = held.pop()
            if isinstance(one, Tensor):
                key, nbytes = storage_of(one)
                found[key] = nbytes
            elif type(one) in (tuple, list):
                held.extend(one)
            elif type(one) is dict:
                held.extend(one.values())
    return found


def storage_of(tensor: Tensor) -> tuple[Any, int]:
    """A key that tensors in the same memory share, and the bytes of that memory."""
    try:
        storage = tensor.untyped_storage()
        # On the meta device there is no address; the storage object has one.
        return storage.data_ptr() or storage._cdata, storage.nbytes()
    except (NotImplementedError, RuntimeError):  # sparse, meta and wrapper tensors
        try:
            return id(tensor), tensor.numel() * tensor.element_size()
        except (NotImplementedError, RuntimeError):
            return id(tensor), 0


def sequence_number() -> int:
    """The number that the next node recorded in this thread will get."""
    return int(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined] # no public way


def node_number(node: Node) -> int:
    """The number of `node` in the order of recording; AccumulateGrad has the largest."""
    return int(cast("Any", node)._sequence_nr())


def function_of(node: Node) -> type | None:
    """The class of the custom Function that made a node; None for a node of torch's own."""
    return getattr(type(node), "_forward_cls", None)


def kept_on(node: Node) -> list[Any]:
    """What the forward of a custom Function has left on its `ctx`, which is the node."""
    return list(object.__getattribute__(node, "__dict__").values())


_lines_exist = False


def wholes_of_shards(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Each parameter that `fully_shard` keeps for a module: the shard, and the whole.

    The whole is the leaf in the graph; there is one once a forward pass has run.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None or not issubclass(type(module), fsdp.FSDPModule):
        return []
    try:
        state = fsdp.FSDPModule._get_fsdp_state(module)
        groups = vars(state).get("_fsdp_param_groups") or [state._fsdp_param_group]
        found = [
            (one.sharded_param, one._unsharded_param)
            for group in groups
            if group is not None
            for one in group.fsdp_params
            if hasattr(one, "_unsharded_param")
        ]
    except AttributeError:  # another torch keeps them elsewhere
        return []
    return [(shard, whole) for shard, whole in found if isinstance(whole, Tensor)]


def set_line(node: Node, line: object, made: object) -> None:
    """Remember on `node` which source line made it, and what `origins.Made` holds."""
    global _lines_exist  # noqa: PLW0603 -- spares the look into each node where there are none
    _lines_exist = True
    metadata = _metadata(node)
    metadata[_KEY + ".line"] = line
    metadata[_KEY + ".made"] = made


def lines_exist() -> bool:
    """Whether `set_line` was ever called."""
    return _lines_exist


def line_of(node: Node) -> object | None:
    """What `set_line` left, or None."""
    return _metadata(node).get(_KEY + ".line") if _lines_exist else None


def made_of(node: Node) -> object | None:
    """What it left of the operation, or None."""
    return _metadata(node).get(_KEY + ".made") if _lines_exist else None


_modules_exist = False


def set_module(node: Node, module: object) -> None:
    """Remember on `node` which call of a module made it."""
    global _modules_exist  # noqa: PLW0603 -- spares the look into each node where there are none
    _modules_exist = True
    _metadata(node)[_KEY + ".module"] = module


def modules(nodes: Iterable[Node]) -> dict[int, Any]:
    """What `set_module` left on nodes, by their position."""
    if not _modules_exist:
        return {}
    found = enumerate(_metadata(node).get(_KEY + ".module") for node in nodes)
    return {number: module for number, module in found if module is not None}


def newer(roots: Iterable[Node | None], first: int) -> Iterator[Node]:
    """The nodes behind `roots` from number `first` on, but for leaves; older ones end the way."""
    seen: set[Node] = set()
    stack = [*roots]
    while stack:
        node = stack.pop()
        if node is None or node in seen or leaf_of(node) is not None or node_number(node) < first:
            continue
        seen.add(node)
        yield node
        stack.extend(child for child, _ in node.next_functions)


def plain_tensors() -> AbstractContextManager[None]:
    """Inside, reading an attribute of a tensor runs no code of a subclass or of a mode."""
    return torch._C.DisableTorchFunction()


def unobserved() -> AbstractContextManager[None]:
    """Inside, an operation on a plain tensor runs no code of a mode, below autograd either."""
    return torch._C._DisableTorchDispatch()


def version_of(tensor: Tensor) -> int | None:
    """How many in-place changes there were; None for a tensor that does not count them."""
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode
        return None


def _metadata(node: Node) -> dict[Any, Any]:
    return cast("dict[Any, Any]", node.metadata)
