"""Gradbook shows, explains and uses the gradients of PyTorch autograd."""

from gradbook import check, data
from gradbook.accumulate import GradientAccumulator
from gradbook.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gradbook.compare import GradientEntry, GradientReport, compare_gradients
from gradbook.expect import expect_error
from gradbook.explain import explain
from gradbook.explanation import Explanation
from gradbook.graph import BackwardGraph, Edge, Node, SavedTensor, graph
from gradbook.lines import record_lines
from gradbook.memory import MemoryReport, MemoryRow, saved_memory
from gradbook.notes import (
    install,
    load_ipython_extension,
    uninstall,
    unload_ipython_extension,
)
from gradbook.replay import Accumulated, Replay, Step, replay
from gradbook.seeding import seed_everything
from gradbook.training import Epoch, History, evaluate, fit
from gradbook.values import Value

__version__ = "0.1.0"

__all__ = [
    "Accumulated",
    "BackwardGraph",
    "Checkpoint",
    "Edge",
    "Epoch",
    "Explanation",
    "GradientAccumulator",
    "GradientEntry",
    "GradientReport",
    "History",
    "MemoryReport",
    "MemoryRow",
    "Node",
    "Replay",
    "SavedTensor",
    "Step",
    "Value",
    "check",
    "compare_gradients",
    "data",
    "evaluate",
    "expect_error",
    "explain",
    "fit",
    "graph",
    "install",
    "load_checkpoint",
    "load_ipython_extension",
    "record_lines",
    "replay",
    "save_checkpoint",
    "saved_memory",
    "seed_everything",
    "uninstall",
    "unload_ipython_extension",
]
