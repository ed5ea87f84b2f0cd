"""What the values of a program are called: plain names, attributes, elements of containers.

Everything here reads, and nothing is kept: no code of the program runs (no property, no
``__getattr__``, no ``__class__``, no method of a container's subclass).
"""

import os
import re
import sysconfig
from collections import UserDict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradbook.understand.culprit.source import unwrapped

_TORCH = str(Path(torch.__file__).parent) + os.sep
_OWN = str(Path(__file__).parents[2]) + os.sep
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_INSTALLED = ("/site-packages/", "/dist-packages/")

# More is not looked at: a name is worth little if it takes minutes to find.
_MOST_VALUES = 20_000
_MOST_ITEMS = 100

# The type alone decides what a value is: isinstance would ask the value for its __class__.


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor, and no proxy that says so."""
    return issubclass(type(value), Tensor)


def is_module(value: object) -> TypeGuard[nn.Module]:
    """Whether a value is an ``nn.Module``, and no proxy that says so."""
    return issubclass(type(value), nn.Module)


def is_optimizer(value: object) -> TypeGuard[Optimizer]:
    """Whether a value is an optimizer of torch, and no wrapper around one."""
    return issubclass(type(value), Optimizer)


# ------------------------------------------------------------------------------ whose code it is


def of_torch(file: str) -> bool:
    """Whether a file is one of torch's own."""
    return file.startswith(_TORCH)


def own(file: str) -> bool:
    """Whether a file belongs to this package."""
    return file.startswith(_OWN)


def of_library(code: CodeType) -> bool:
    """Whether code is torch's, ours, or of the standard library."""
    file = code.co_filename
    # What dataclasses and the like generate is called "<string>", as is `python -c` and exec.
    generated = file == "<string>" and code.co_name.startswith("__")
    return (
        generated
        or file.startswith((_TORCH, _OWN, "<frozen "))
        or (file.startswith(_LIBRARIES) and not installed(file))
    )


def installed(file: str) -> bool:
    """Whether a file belongs to a package that was installed."""
    return any(part in file.replace(os.sep, "/") for part in _INSTALLED)


def of_program(function: FunctionType) -> bool:
    """Whether a function was written by the author of the program."""
    code = function.__code__
    return not (of_library(code) or installed(code.co_filename))


def function_of(value: object) -> FunctionType | None:
    """The function of the program behind a value; None for one of a library, or none at all."""
    function = unwrapped(value)
    return function if function is not None and of_program(function) else None


def _is_file_of_program(module: object) -> bool:
    """Whether a Python module is a file of the program."""
    file = members(module).get("__file__")
    if type(file) is not str:
        return False
    return not (installed(file) or file.startswith((_TORCH, _OWN, *_LIBRARIES)))


# --------------------------------------------------------------------------- what a value holds


def plain(namespace: object) -> dict[str, Any]:
    """A copy of a dict, whose class may be the program's; of anything else, nothing."""
    if type(namespace) is MappingProxyType:  # of a class
        namespace = dict(namespace)
    if not issubclass(type(namespace), dict):
        return {}
    items = dict.items(cast("dict[object, Any]", namespace))
    return {name: value for name, value in items if type(name) is str}


def members(value: object) -> dict[str, Any]:
    """Attributes that can be read without running code of the program."""
    own = _slots(value)
    try:
        own |= plain(object.__getattribute__(value, "__dict__"))
    except AttributeError:  # a class with __slots__ only, or written in C
        return own
    if is_module(value):
        # Where a module keeps what it registers; empty before Module.__init__ has run.
        for kept in ("_parameters", "_buffers", "_modules"):
            own.update(plain(own.pop(kept, None)))
    return own


def _slots(value: object) -> dict[str, Any]:
    found = {}
    for kind in type(value).__mro__:
        inside = vars(kind)
        if "__slots__" not in inside:
            continue
        for name, slot in inside.items():
            if type(slot) is MemberDescriptorType and name not in found:
                try:
                    found[name] = slot.__get__(value)
                except AttributeError:  # nothing was put there yet
                    continue
    return found


def items_of(value: object) -> list[tuple[str, Any]]:
    """The elements of a container of any kind, with what stands behind its name to reach them.

    No method of a subclass runs; of a mapping whose attributes hold its elements too, as that of
    a model's output, the attribute is the name.

    >>> from collections import OrderedDict, namedtuple
    >>> items_of(namedtuple("Pair", "w b")(1, 2))
    [('.w', 1), ('.b', 2)]
    >>> items_of(OrderedDict(w=1))
    [("['w']", 1)]
    """
    kind = type(value)
    if issubclass(kind, tuple):
        elements = list(islice(tuple.__iter__(cast("tuple[Any, ...]", value)), _MOST_ITEMS))
        fields = vars(kind).get("_fields")
        if type(fields) is tuple and len(fields) == len(elements):
            return [(f".{name}", one) for name, one in zip(fields, elements, strict=True)]
        return [(f"[{number}]", one) for number, one in enumerate(elements)]
    for sequence in (list, deque):
        if issubclass(kind, sequence):
            elements = list(islice(sequence.__iter__(cast("Any", value)), _MOST_ITEMS))
            return [(f"[{number}]", one) for number, one in enumerate(elements)]
    if issubclass(kind, UserDict):
        value = members(value).get("data")
        kind = type(value)
    if issubclass(kind, dict):
        mapping = cast("dict[Any, Any]", value)
        attributes = members(value) if kind is not dict else {}
        return [
            (f".{key}" if attributes.get(key, mapping) is one else f"[{key!r}]", one)
            for key, one in list(islice(dict.items(mapping), _MOST_ITEMS))
            if _is_plain_key(key)
        ]
    return []


def _is_plain_key(key: object) -> bool:
    if type(key) is tuple:
        return all(type(one) in (str, int) for one in key)
    return type(key) in (str, int)


def is_container(value: object) -> bool:
    """Whether a value is a list, a tuple, a dict or the like."""
    return issubclass(type(value), (list, tuple, dict, deque, UserDict))


def registered(module: nn.Module, kind: str) -> dict[str, Any]:
    """What a module itself has registered: its `_parameters`, `_buffers`, `_modules` or hooks."""
    return plain_keys(plain(object.__getattribute__(module, "__dict__")).get(kind))


def plain_keys(mapping: object) -> dict[str, Any]:
    """A copy of a dict with its keys as text."""
    if not issubclass(type(mapping), dict):
        return {}
    return {str(key): one for key, one in dict.items(cast("dict[Any, Any]", mapping))}


def submodules(module: nn.Module) -> dict[str, nn.Module]:
    """A module and all below it by their names, each once; that of the module itself is empty."""
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()
    stack = [("", module)]
    while stack and len(seen) < _MOST_VALUES:
        path, one = stack.pop()
        if not is_module(one) or id(one) in seen:
            continue
        seen.add(id(one))
        found[path] = one
        below = registered(one, "_modules").items()
        stack += [(f"{path}.{key}" if path else key, inner) for key, inner in reversed([*below])]
    return found


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module and of all below it, by their names, each once."""
    return _registered_below(module, "_parameters")


def buffers_of(module: nn.Module) -> dict[str, Tensor]:
    """The buffers of a module and of all below it, by their names, each once."""
    return _registered_below(module, "_buffers")


def _registered_below(module: nn.Module, kind: str) -> dict[str, Tensor]:
    found: dict[int, tuple[str, Tensor]] = {}
    for path, one in submodules(module).items():
        for key, tensor in registered(one, kind).items():
            if is_tensor(tensor):
                found.setdefault(id(tensor), (f"{path}.{key}" if path else key, tensor))
    return dict(found.values())


def modules_behind(value: object, levels: int = 4) -> list[nn.Module]:
    """The modules that a function, a method or an object leads to."""
    if is_module(value):
        return [value]
    if levels <= 0:
        return []
    behind: list[object] = []
    if type(value) is MethodType:
        behind = [value.__self__]
    elif type(value) is partial:
        behind = [value.func, *value.args, *value.keywords.values()]
    elif type(value) is FunctionType:
        behind = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        behind += [value.__globals__.get(name) for name in value.__code__.co_names]
        for cell in value.__closure__ or ():
            with suppress(ValueError):  # not bound yet
                behind.append(cell.cell_contents)
    elif is_container(value):
        behind = [one for _, one in items_of(value)]
    elif not issubclass(type(value), (type, ModuleType, Tensor)):
        behind = [*members(value).values()]
    found = [one for inner in behind for one in modules_behind(inner, levels - 1)]
    return list({id(one): one for one in found}.values())


def resolve(namespace: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """The longest beginning of a dotted name that stands for something, and for what."""
    path, *rest = name.split(".")
    found = namespace.get(path)
    for part in rest:
        inside = members(found)
        if part not in inside:
            inside = {key[1:]: one for key, one in items_of(found) if key[0] == "."}
        if part not in inside:
            break
        found, path = inside[part], f"{path}.{part}"
    return path, found


# ------------------------------------------------------------------------------------ namespaces

# The old results of a notebook.
_OLD_RESULT = re.compile(r"_+\d*|_i+\d*|In|Out|_[iod]h")
# Nothing is looked for in these; what an optimizer holds has better names.
_CLOSED = (type, str, bytes, int, float, FunctionType, BuiltinFunctionType, Optimizer)
_SHELLS = ("IPython.", "ipykernel.", "traitlets.")


def named_tensors(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Tensors in a namespace with the names under which they can be reached.

    Plain names come first, then attributes and elements of containers, level by level.
    """
    for path, value in reachable(namespace):
        if is_tensor(value):
            yield path, value


def modules_in(namespace: Mapping[str, Any]) -> Iterator[tuple[str, nn.Module]]:
    """All modules in a namespace, with their children, by dotted names."""
    for path, value in reachable(namespace):
        if is_module(value):
            yield path, value


def optimizers_in(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Optimizer]]:
    """All optimizers in a namespace, by dotted names."""
    for path, value in reachable(namespace):
        if is_optimizer(value):
            yield path, value


def reachable(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a namespace holds, level by level; each object once, a tensor under each name."""
    queue = deque(
        (name, value) for name, value in namespace.items() if not _OLD_RESULT.fullmatch(name)
    )
    seen: set[int] = set()
    while queue and len(seen) < _MOST_VALUES:
        path, value = queue.popleft()
        kind = type(value)
        if is_tensor(value) or is_optimizer(value):
            yield path, value
        elif not issubclass(kind, _CLOSED) and id(value) not in seen and not _of_shell(kind):
            seen.add(id(value))
            yield path, value
            queue.extend(_parts(path, value))


def _is_inner(value: object, key: str) -> bool:
    """Whether an attribute holds what the elements of a container are kept in."""
    return key == "data" and issubclass(type(value), UserDict)


def _of_shell(kind: type) -> bool:
    """Whether an object belongs to IPython, and not to the program that runs in it."""
    module = vars(kind).get("__module__")
    return type(module) is str and module.startswith(_SHELLS)


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, with the names of its parts."""
    if is_container(value):
        elements = items_of(value)
        yield from ((path + step, one) for step, one in elements)
        known = {id(one) for _, one in elements}
        if type(value) in (list, tuple, dict, deque):
            return
    else:
        known = set()
    if not issubclass(type(value), ModuleType) or _is_file_of_program(value):
        for key, one in members(value).items():
            if not key.startswith("__") and id(one) not in known and not _is_inner(value, key):
                yield f"{path}.{key}", one
