"""How much memory a graph holds for its backward pass, and which operations hold it."""

from collections import defaultdict
from dataclasses import dataclass

from torch import Tensor

from gradbook.see import torch_internals
from gradbook.see.graph import Params, named_tensors, root_of


@dataclass(frozen=True)
class MemoryRow:
    """What the nodes of one kind hold.

    Attributes:
        name: of the nodes, ``"MulBackward0"``.
        nodes: how many of them hold something.
        references: how many saved tensors they hold; several may share their memory.
        nbytes: bytes of memory. What several nodes hold counts for the one nearest the output.
    """

    name: str
    nodes: int
    references: int
    nbytes: int


@dataclass(frozen=True, repr=False)
class MemoryReport:
    """Bytes held for a backward pass, by kind of node, most first.

    Attributes:
        nbytes: all of them; tensors that share memory count once.
        leaf_nbytes: the part that is memory of leaves, such as weights: they exist anyway, and
            dropping the graph does not free it.
        named_nbytes: bytes of what `params` named, trained or frozen, which the graph refers to
            too: they are not in the other numbers.
        storages: how many pieces of memory that is.
        references: how many saved tensors.
        released: a backward pass has freed saved tensors: they are not in these numbers.
        packed: saved tensors that a hook holds, checkpointing for example: they are not in
            `nbytes`, since they may be elsewhere, as with ``save_on_cpu``.
        packed_nbytes: bytes of the tensors that hooks packed, as far as they can be seen: what a
            hook wrote to a file, or computes again, is not among them.
        rows: a `MemoryRow` for each kind of node.
    """

    nbytes: int
    leaf_nbytes: int
    named_nbytes: int
    storages: int
    references: int
    released: bool
    packed: int
    packed_nbytes: int
    rows: tuple[MemoryRow, ...]

    def __str__(self) -> str:
        """A table for a terminal."""
        text = f"{self.nbytes:,} bytes in {self.storages} storages ({self.references} references)"
        if self.leaf_nbytes:
            text += f", {self.leaf_nbytes:,} of them in leaves"
        lines = [text]
        width = max((len(f"{row.nbytes:,}") for row in self.rows), default=0)
        lines += [f"  {row.nbytes:>{width},}  {row.name} × {row.nodes}" for row in self.rows]
        if self.released:
            lines.append("  a backward pass has freed saved tensors")
        if self.named_nbytes:
            lines.append(f"  {self.named_nbytes:,} more are of the tensors that params names")
        if self.packed:
            packed = f"  {self.packed} saved tensors are held by hooks"
            if self.packed_nbytes:
                packed += f", which keep {self.packed_nbytes:,} bytes more"
            lines.append(packed)
        return "\n".join(lines)

    __repr__ = __str__


def saved_memory(tensor: Tensor, params: Params | None = None) -> MemoryReport:
    """Bytes that the graph of `tensor` holds for its backward pass.

    Tensors that share a storage count once, and a view counts with the whole storage that it
    keeps alive. Nothing is run or unpacked.

    Args:
        tensor: any shape, with a ``grad_fn``.
        params: a module, ``{name: tensor}``, or pairs of both: their memory is there without the
            graph, also that of frozen weights, and is left out.

    Raises:
        TypeError: `tensor` is not a tensor, or `params` names something else than tensors.
        ValueError: `tensor` has no graph; the message says why.

    >>> import torch
    >>> x = torch.ones(1000, requires_grad=True)
    >>> print(saved_memory(x.exp().sin().sum()))
    4,000 bytes in 1 storages (2 references)
      4,000  SinBackward0 × 1
          0  ExpBackward0 × 1
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"saved_memory needs a tensor, got {type(tensor).__name__}")
    named = {torch_internals.storage_of(one)[0] for one in named_tensors(params).values()}
    storages: dict[object, int] = {}
    apart: dict[object, int] = {}  # of the tensors that params names
    by_hooks: dict[object, int] = {}
    leaves: set[object] = set()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    released, packed = False, 0
    for node in torch_internals.walk([root_of(tensor, "saved_memory")]):
        leaf = torch_internals.leaf_of(node)
        if leaf is not None:
            leaves.add(torch_internals.storage_of(leaf)[0])
        mine: dict[object, int] = {}
        held = 0
        for _, (*_, is_packed, is_released) in torch_internals.saved_values(node, mine):
            released |= is_released
            packed += is_packed
            held += not (is_packed or is_released)
        if packed:
            by_hooks |= torch_internals.packed_storages(node)
        apart |= {key: nbytes for key, nbytes in mine.items() if key in named}
        mine = {key: nbytes for key, nbytes in mine.items() if key not in named}
        if held:
            row = counts[torch_internals.node_name(node)]
            row[0] += 1
            row[1] += held
            row[2] += sum(nbytes for key, nbytes in mine.items() if key not in storages)
        storages |= mine
    rows = (MemoryRow(name, *row) for name, row in counts.items())
    return MemoryReport(
        nbytes=sum(storages.values()),
        leaf_nbytes=sum(nbytes for key, nbytes in storages.items() if key in leaves),
        named_nbytes=sum(apart.values()),
        storages=len(storages),
        references=sum(references for _, references, _ in counts.values()),
        released=released,
        packed=packed,
        packed_nbytes=sum(
            nbytes for key, nbytes in by_hooks.items() if key not in {*storages, *named}
        ),
        rows=tuple(sorted(rows, key=lambda row: (-row.nbytes, row.name))),
    )
