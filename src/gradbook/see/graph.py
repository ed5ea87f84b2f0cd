"""The graph that autograd recorded, as plain data."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node as AutogradNode

from gradbook.see import torch_internals
from gradbook.see.display import drawing, modules, nested, opening, text
from gradbook.see.display.folding import Sketch
from gradbook.see.lines import SourceLine
from gradbook.see.modules import modules_of
from gradbook.see.nodes import Edge, Node, SavedTensor
from gradbook.see.places import Modules

Params = nn.Module | Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]
"""What names tensors: a module, ``{name: tensor}``, or pairs, as of ``named_parameters()``."""


@dataclass(frozen=True, repr=False)
class BackwardGraph:
    """What autograd recorded to compute some tensors: a picture at one moment, without tensors.

    Attributes:
        saved_nbytes: bytes held for backward; tensors that share memory count once.
    """

    saved_nbytes: int
    roots: tuple[int, ...]
    # Node, Edge and SavedTensor are made from these when they are asked for: reading a large graph
    # would spend most of its time on making them. The mappings hold what few nodes have.
    _names: Sequence[str] = field(repr=False)
    _results: Sequence[Any] = field(repr=False)
    _edges: Sequence[tuple[int, int, int]] = field(repr=False)
    _columns: Sequence[torch_internals.SavedColumn] = field(repr=False, default=())
    _unusual: Mapping[int, torch_internals.Saved] = field(repr=False, default_factory=dict)
    _unusual_memory: Mapping[int, Mapping[Any, int]] = field(repr=False, default_factory=dict)
    _owned: Collection[Any] = field(repr=False, default=())
    _constants: Mapping[int, int] = field(repr=False, default_factory=dict)
    _tensor_names: Mapping[int, str] = field(repr=False, default_factory=dict)
    _aliases: Mapping[int, tuple[str, ...]] = field(repr=False, default_factory=dict)
    _leaves: Mapping[int, tuple[int, ...] | None] = field(repr=False, default_factory=dict)
    _lines: Mapping[int, object] = field(repr=False, default_factory=dict)
    _modules: Modules | None = field(repr=False, default=None)
    _depth: int | str | None = field(repr=False, default=None)

    @cached_property
    def _shapes(self) -> Sequence[tuple[int, ...] | None]:
        shapes = torch_internals.shapes_of(self._results)
        for number, shape in self._leaves.items():
            shapes[number] = shape
        return shapes

    @cached_property
    def _dtypes(self) -> Sequence[str | None]:
        dtypes = torch_internals.dtypes_of(self._results)
        return [None if one is None else _dtype(one) for one in dtypes]

    @cached_property
    def _other_dtypes(self) -> Mapping[int, str]:
        """The dtypes of nodes that have another one than most, where there are several."""
        usual = [one for one, _ in Counter(filter(None, self._dtypes)).most_common(1)]
        found = enumerate(self._dtypes)
        return {number: one for number, one in found if one is not None and one not in usual}

    @cached_property
    def _saved(self) -> Mapping[int, torch_internals.Saved]:
        return torch_internals.by_node(self._columns, self._unusual)

    @cached_property
    def _memory(self) -> Mapping[int, Mapping[Any, int]]:
        """What each node keeps alive beside the leaves: a key for each storage, and its bytes."""
        found = torch_internals.memory_by_node(self._columns, self._unusual_memory)
        for held in found.values():
            for key in self._owned:
                if key in held:
                    del held[key]
        return found

    def __getstate__(self) -> dict[str, Any]:
        """All of it as plain data, so that it can be copied and stored."""
        return {"_shapes": self._shapes, "_dtypes": self._dtypes} | self.__dict__ | {"_results": ()}

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, outputs first, each after every node that points at it."""
        return tuple(
            Node(
                id=number,
                name=name,
                shape=None if shape is None else tuple(shape),
                dtype=dtype,
                saved={
                    field: _saved_tensor(*values) for field, values in self._saved.get(number, ())
                },
                constants=self._constants.get(number, 0),
                tensor_name=self._tensor_names.get(number),
                other_names=self._aliases.get(number, ()),
                is_leaf=number in self._leaves,
                line=cast("SourceLine | None", self._lines.get(number)),
                module=self._module_of(number),
            )
            for number, (name, shape, dtype) in enumerate(
                zip(self._names, self._shapes, self._dtypes, strict=True)
            )
        )

    def _module_of(self, number: int) -> str | None:
        if self._modules is None or (self._modules.guessed and number not in self._leaves):
            return None
        place = self._modules.places.get(number)
        return None if place is None else place.path

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """All edges, in the order of their first node; parallel ones are kept."""
        return tuple(Edge(*values) for values in self._edges)

    @cached_property
    def leaves(self) -> tuple[Node, ...]:
        """The nodes at which gradients are added to ``.grad``."""
        return tuple(node for node in self.nodes if node.is_leaf)

    @cached_property
    def released(self) -> bool:
        """Whether a backward pass has freed saved tensors of this graph."""
        return any(values[-1] for saved in self._unusual.values() for _, values in saved)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        state = ", released" if self.released else ""
        return (
            f"BackwardGraph({len(self)} nodes, {len(self._edges)} edges, "
            f"{len(self._leaves)} leaves, {self.saved_nbytes} bytes saved{state})"
        )

    def __str__(self) -> str:
        return self.to_text()

    def _sketch(self, fold: bool | None, depth: int | str | None) -> Sketch:
        if depth is None and fold is not False:
            depth = self._depth
        return modules.sketch_of(self, fold, depth)

    def to_text(self, *, fold: bool | None = None, depth: int | str | None = None) -> str:
        """A tree for a terminal, from the outputs down to the leaves.

        A graph whose modules are known (`params` was a module) and that has more than 30 nodes is
        shown by module: exactly, if the model ran under `record_modules`; else by a guess.

        Args:
            fold: draw what belongs together as one; by default if there is too much to read: more
                than 30 nodes by module, more than 150 without.
            depth: how far modules are opened: 0 shows the model as one box, 1 its submodules; or
                the name of a module, to see its inside. By default as far as leaves 30 boxes.

        Raises:
            TypeError: an argument is of another type.
            ValueError: `depth` is negative, names no module, or is given where none is known.
        """
        return text.to_text(self, self._sketch(fold, depth))

    def to_mermaid(self, *, fold: bool | None = None, depth: int | str | None = None) -> str:
        """A Mermaid flowchart, inputs on top; arguments as of `to_text`."""
        return text.to_mermaid(self, self._sketch(fold, depth))

    def to_dot(self, *, fold: bool | None = None, depth: int | str | None = None) -> str:
        """The graph in Graphviz's language, inputs on top; arguments as of `to_text`."""
        return text.to_dot(self, self._sketch(fold, depth))

    def to_svg(self, *, fold: bool | None = None, depth: int | str | None = None) -> str:
        """A drawing, inputs on top; arguments as of `to_text`.

        Colours follow a light or dark page.
        """
        sketch = self._sketch(fold, depth)
        if sketch.by_module:
            style = f"<style>{drawing.STYLE}</style>"
            return nested.svg_of(sketch, len(self.roots), style=style)
        return drawing.to_svg(self, sketch)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "nodes": [
                {
                    "id": node.id,
                    "name": node.name,
                    "shape": list(node.shape) if node.shape is not None else None,
                    "dtype": node.dtype,
                    "saved": {
                        name: {
                            "shape": list(saved.shape) if saved.shape is not None else None,
                            "dtype": saved.dtype,
                            "nbytes": saved.nbytes,
                            "version": saved.version,
                            "edited": saved.edited,
                            "packed": saved.packed,
                            "released": saved.released,
                        }
                        for name, saved in node.saved.items()
                    },
                    "constants": node.constants,
                    "tensor_name": node.tensor_name,
                    "other_names": list(node.other_names),
                    "is_leaf": node.is_leaf,
                    "line": str(node.line) if node.line is not None else None,
                    "module": node.module,
                }
                for node in self.nodes
            ],
            "edges": [
                {"src": edge.src, "dst": edge.dst, "input_nr": edge.input_nr} for edge in self.edges
            ],
            "roots": list(self.roots),
            "saved_nbytes": self.saved_nbytes,
            "released": self.released,
        }

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        sketch = self._sketch(None, None)
        html = opening.to_html(self) if sketch.by_module else drawing.to_html(self, sketch)
        return {"text/plain": text.to_text(self, sketch), "text/html": html}


def graph(
    *tensors: Tensor, params: Params | None = None, depth: int | str | None = None
) -> BackwardGraph:
    """Read the graph that autograd recorded for `tensors`.

    Nothing is run, unpacked or kept: the result holds names and numbers only, and the graph can be
    used and dropped afterwards as before, however long it is.

    Args:
        *tensors: results of operations on tensors that require grad, of any shape.
        params: a module, ``{name: tensor}``, or pairs of both, as of ``named_parameters()``; the
            tensors are shown by these names. Other leaves are called as the program calls them,
            where `record_lines` saw it, or numbered.
        depth: how far the modules of `params` are opened where the graph is shown, as of
            `BackwardGraph.to_text`.

    Raises:
        TypeError: an argument is not a tensor, `params` names something else than tensors, or
            `depth` is neither a number nor a name.
        ValueError: no tensor is given, or one has no graph; the message says why. Or `depth` is
            negative or names no module.

    >>> x = torch.ones(3, requires_grad=True)
    >>> y = x + 2
    >>> g = graph((y * y * 2).mean(), params={"x": x})
    >>> [node.name for node in g.nodes]
    ['MeanBackward0', 'MulBackward0', 'MulBackward0', 'AddBackward0', 'AccumulateGrad']
    >>> g.leaves[0].tensor_name, g.edges[2]
    ('x', Edge(src=2, dst=3, input_nr=0))
    """
    roots = [root_of(tensor, "graph") for tensor in given_tensors(tensors, "graph")]
    return read_graph(roots, params, depth)[1]


def read_graph(
    roots: list[AutogradNode], params: Params | None, depth: int | str | None = None
) -> tuple[dict[AutogradNode, torch_internals.Edges], BackwardGraph]:
    """The autograd nodes behind `roots`, and the same as plain data, in the same order."""
    leaf_names, node_names = _names(params)
    # The collector would pass over thousands of new small objects, none of them garbage.
    with torch_internals.uncollected():
        found = torch_internals.walk(roots)
        read = _read(roots, found, leaf_names, node_names, params)
    if depth is not None:
        read = replace(read, _depth=depth)
        read._sketch(None, None)  # says what is wrong with it
    return found, read


def _read(
    roots: list[AutogradNode],
    found: dict[AutogradNode, torch_internals.Edges],
    leaf_names: dict[int, list[str]],
    node_names: dict[AutogradNode, str],
    params: Params | None,
) -> BackwardGraph:
    ids = {node: number for number, node in enumerate(found)}
    edges: list[tuple[int, int, int]] = []
    constants: dict[int, int] = {}
    ends: list[int] = []
    for number, children in enumerate(found.values()):
        for child, input_nr in children:
            if child is not None:
                edges.append((number, ids[child], input_nr))
            else:
                constants[number] = constants.get(number, 0) + 1
        if not children:
            ends.append(number)
    nodes = list(found)
    names = {ids[node]: name for node, name in node_names.items() if node in ids}
    leaves: dict[int, tuple[int, ...] | None] = {}
    owned = set()
    aliases: dict[int, tuple[str, ...]] = {}
    unnamed = []
    for number in ends:
        leaf = torch_internals.leaf_of(nodes[number])
        if leaf is not None:
            leaves[number] = torch_internals.shape_of(leaf)
            owned.add(torch_internals.storage_of(leaf)[0])
            if id(leaf) in leaf_names:
                names[number], *others = leaf_names[id(leaf)]
                if others:
                    aliases[number] = tuple(others)
            else:
                unnamed.append(number)
    named = {*names}
    _name_as_written(names, unnamed, found, ids)
    _number_leaves(names, [number for number in unnamed if number not in names])
    storages: dict[Any, int] = {}
    columns, unusual, memory = torch_internals.saved_columns(nodes, storages)
    return BackwardGraph(
        saved_nbytes=sum(storages.values()),
        roots=tuple(ids[root] for root in roots),
        _names=torch_internals.names(nodes),
        _results=torch_internals.results(nodes),
        _edges=edges,
        _columns=columns,
        _unusual=unusual,
        _unusual_memory=memory,
        _owned=owned,
        _constants=constants,
        _tensor_names=names,
        _aliases=aliases,
        _leaves=leaves,
        _lines=torch_internals.lines(nodes),
        _modules=modules_of(nodes, edges, {n: names[n] for n in leaves if n in named}, params),
    )


def _name_as_written(
    names: dict[int, str],
    unnamed: list[int],
    found: dict[AutogradNode, torch_internals.Edges],
    ids: dict[AutogradNode, int],
) -> None:
    """Name leaves as the program does, where `record_lines` saw it; each name once."""
    if not torch_internals.lines_exist():
        return
    wanted, taken = set(unnamed), set(names.values())
    for node, children in found.items():
        made = torch_internals.made_of(node)
        for (child, _), name in zip(children, getattr(made, "names", ()), strict=False):
            number = -1 if child is None else ids[child]
            if number in wanted and name not in taken and name and _VARIABLE.fullmatch(name):
                wanted.discard(number)
                taken.add(name)
                names[number] = name


_VARIABLE = re.compile(r"[A-Za-z_][\w.]*")


def _number_leaves(names: dict[int, str], unnamed: list[int]) -> None:
    """Name the leaves that have no name, from the first use to the last."""
    taken = set(names.values())
    count = 0
    for number in reversed(unnamed):
        count += 1
        while f"leaf {count}" in taken:
            count += 1
        names[number] = f"leaf {count}"


def _saved_tensor(
    shape: tuple[int, ...] | None, dtype: torch.dtype | None, *rest: Any
) -> SavedTensor:
    return SavedTensor(
        None if shape is None else tuple(shape),
        None if dtype is None else _dtype(dtype),
        *rest,
    )


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def given_tensors(tensors: tuple[object, ...], caller: str) -> tuple[Tensor, ...]:
    """Check what `graph` and `replay` are given.

    Raises:
        TypeError: one is not a tensor.
        ValueError: there is none.
    """
    if not tensors:
        raise ValueError(f"{caller} needs at least one tensor: {caller}(loss)")
    for position, tensor in enumerate(tensors):
        if isinstance(tensor, (list, tuple)):
            raise TypeError(
                f"{caller} takes tensors one by one, got a {type(tensor).__name__}: "
                f"write {caller}(*tensors)"
            )
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{caller} needs tensors, got {type(tensor).__name__} as argument {position}: "
                "a number has no graph (was it taken out with .item()?)"
            )
    return tensors  # type: ignore[return-value] # checked one by one


def root_of(tensor: Tensor, caller: str) -> AutogradNode:
    """The node that made `tensor`.

    Raises:
        ValueError: `tensor` has no graph; the message says why.
    """
    node = tensor.grad_fn
    if node is not None:
        return node
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ValueError(
            f"{caller} got a tensor of {tensor.dtype}, which has no graph: only floating-point "
            "and complex results are differentiable"
        )
    if tensor.requires_grad:
        raise ValueError(
            f"{caller} got a leaf that requires grad: nothing has been computed from it yet. "
            "Give the result of an operation on it, such as the loss"
        )
    raise ValueError(
        f"{caller} got a tensor without a graph (requires_grad is False): none of its inputs "
        "requires grad, or it was made under no_grad() or by detach()"
    )


def _names(params: Params | None) -> tuple[dict[int, list[str]], dict[AutogradNode, str]]:
    """Names by identity of the leaf, and by node for tensors that are none."""
    named = named_tensors(params)
    leaves: dict[int, list[str]] = {}
    for name, tensor in named.items():
        if tensor.grad_fn is None:
            leaves.setdefault(id(tensor), []).append(name)
    if isinstance(params, nn.Module):  # a shared parameter goes by its first name
        for name, tensor in params.named_parameters(remove_duplicate=False):
            known = leaves.setdefault(id(tensor), [])
            if name not in known:
                known.append(name)
    nodes = {tensor.grad_fn: name for name, tensor in named.items() if tensor.grad_fn is not None}
    return leaves, nodes


def named_tensors(params: Params | None) -> dict[str, Tensor]:
    """The tensors that `params` names; of a module, its buffers and parameters.

    Raises:
        TypeError: it names something else than tensors.
    """
    if params is None:
        return {}
    if isinstance(params, nn.Module):
        # A shared parameter goes by its first name, as in named_parameters().
        return {**dict(params.named_buffers()), **dict(params.named_parameters())}
    try:
        named = dict(params)
    except (TypeError, ValueError):
        raise TypeError(
            "params must be a module, a mapping of names to tensors or pairs of both, got "
            f"{type(params).__name__}"
        ) from None
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"params[{name!r}] must be a tensor, got {type(tensor).__name__}")
    return named
