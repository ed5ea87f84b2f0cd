"""The parts of a recorded graph, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from gradbook.see.lines import SourceLine


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """A tensor that a node keeps for its backward.

    Attributes:
        shape: its shape; None once released, or if a hook packed something else than a tensor.
        dtype: its dtype, as ``"float32"``; None like `shape`.
        nbytes: bytes of the memory that it keeps alive, which other tensors may share.
        version: its version when it was saved.
        edited: its version now, if an in-place operation has changed it since: backward will
            refuse it. Else None.
        packed: a saved-tensor hook holds it.
        released: a backward pass freed it.
    """

    shape: tuple[int, ...] | None
    dtype: str | None
    nbytes: int
    version: int | None
    edited: int | None = None
    packed: bool = False
    released: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """The gradient's way from `src` to its input: slot `input_nr` of node `dst`."""

    src: int
    dst: int
    input_nr: int


@dataclass(frozen=True, slots=True)
class Node:
    """One recorded operation, or the place where a leaf collects its gradient.

    Attributes:
        id: position in `BackwardGraph.nodes`.
        name: as torch names it, ``"MulBackward0"``, ``"AccumulateGrad"``.
        shape: shape of the tensor that the operation made (the first one, if several).
        dtype: its dtype, as ``"float32"``; None if it is not known.
        saved: the tensors it keeps for backward, by the name in torch's formula.
        constants: how many of its inputs need no gradient.
        tensor_name: the name of the leaf, or of another tensor that was named in `params`.
        other_names: further names of a leaf that `params` names several times, as of tied weights.
        is_leaf: whether this is the place where a leaf's gradient is added up.
        line: the source line that made it, under `record_lines`.
        module: the qualified name of the module whose forward made it, under `record_modules`
            (``""``: the whole model itself), or that has the parameter; None if no module did.
    """

    id: int
    name: str
    shape: tuple[int, ...] | None
    dtype: str | None
    saved: Mapping[str, SavedTensor]
    constants: int
    tensor_name: str | None
    is_leaf: bool
    line: SourceLine | None
    module: str | None = None
    other_names: tuple[str, ...] = ()
