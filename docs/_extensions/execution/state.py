"""A digest of what a name stands for: two programs left the same, if their digests are equal.

Tensors count with their values and their gradients, objects of the page, of torch and of this book
with all that they hold. Others, such as a figure, an iterator or an open file, count by their type
alone. It runs in the process of a program, beside `fresh_server`, and imports nothing that the
program has not.
"""

import functools
import hashlib
import sys
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range, slice)
_LOOKED_INTO = {"__main__", "torch", "gradbook"}  # packages whose objects are
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)


def digest(value: Any) -> str | None:
    """A short text that is equal for equal things, in any process; None if that cannot be told."""
    found = hashlib.sha256()
    try:
        for part in _parts(value, {}):
            found.update(part.encode() if isinstance(part, str) else part)
            found.update(b"\0")
    except Exception:  # a long chain of objects, or one that raises when it is looked at
        return None
    return found.hexdigest()[:16]


def _parts(value: Any, seen: dict[int, tuple[int, Any]]) -> Iterator[str | bytes]:
    yield type(value).__qualname__
    if isinstance(value, _PLAIN):
        yield repr(value)
        return
    if isinstance(value, _NAMED):
        yield getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
        return
    if id(value) in seen:
        yield f"again {seen[id(value)][0]}"
        return
    seen[id(value)] = len(seen), value  # kept, so that no other object gets its id
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        yield from _tensor(value, torch, seen)
    elif numpy is not None and isinstance(value, numpy.ndarray):
        yield f"{value.dtype} {value.shape}"
        yield value.tobytes() if value.dtype != object else repr(value)
    elif torch is not None and isinstance(value, torch.Generator):
        yield value.get_state().numpy().tobytes()
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _parts(key, seen)
            yield from _parts(one, seen)
    elif isinstance(value, Set):
        yield from sorted(str(digest(one)) for one in value)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _parts(one, seen)
    elif isinstance(value, functools.partial):
        yield from _parts((value.func, value.args, value.keywords), seen)
    elif hasattr(value, "__dict__") and type(value).__module__.split(".")[0] in _LOOKED_INTO:
        yield from _parts(vars(value), seen)
    elif torch is not None and isinstance(value, torch.dtype | torch.device):
        yield repr(value)


def _tensor(tensor: Any, torch: Any, seen: dict[int, tuple[int, Any]]) -> Iterator[str | bytes]:
    yield f"{tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad} {tensor.is_leaf}"
    if tensor.grad_fn is not None:
        yield tensor.grad_fn.name()
    if tensor.layout != torch.strided:
        entries = tensor.detach().to_sparse().coalesce()  # what is printed of many leaves some out
        yield from _tensor(entries.indices(), torch, seen)
        yield from _tensor(entries.values(), torch, seen)
    elif tensor.device.type != "meta":  # which has no values
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an intermediate has no gradient, as a rule
        gradient = tensor.grad
    yield from _parts(gradient, seen)
