"""Gradbook shows, explains and uses the gradients of PyTorch autograd."""

# Names are imported when they are first asked for: the site's extensions read the catalogue and
# draw without torch, whose import takes longer than a build in which no page changed.
from importlib import import_module

__version__ = "0.1.0"

# What type checkers and editors see of these stands in __init__.pyi; a test holds both equal.
_PLACES = {
    "see.graph": ("BackwardGraph", "graph"),
    "see.lines": ("record_lines",),
    "see.memory": ("MemoryReport", "MemoryRow", "saved_memory"),
    "see.modules": ("record_modules",),
    "see.nodes": ("Edge", "Node", "SavedTensor"),
    "see.replay": ("Replay", "replay"),
    "see.steps": ("Accumulated", "Step"),
    "see.values": ("Operand", "Value"),
    "understand.compare": ("GradientEntry", "GradientReport", "compare_gradients"),
    "understand.expect": ("expect_error",),
    "understand.explain": ("explain",),
    "understand.explanation": ("Explanation",),
    "understand.notes": (
        "install",
        "load_ipython_extension",
        "uninstall",
        "unload_ipython_extension",
    ),
    "train.accumulate": ("GradientAccumulator",),
    "train.checkpoint": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "train.history": ("Epoch", "History"),
    "train.loop": ("evaluate", "fit"),
    "train.seeding": ("seed_everything",),
}
_MODULES = ("check", "data")
_HOMES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = sorted([*_HOMES, *_MODULES])  # noqa: PLE0605 -- the checker knows literal lists only


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"gradbook.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'gradbook' has no attribute {name!r}", name=name, obj=None)
    value = getattr(import_module(f"gradbook.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
