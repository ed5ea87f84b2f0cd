"""Gradbook shows, explains and uses the gradients of PyTorch autograd."""

from gradbook import check, data
from gradbook.compare import GradientEntry, GradientReport, compare_gradients
from gradbook.expect import expect_error
from gradbook.graph import BackwardGraph, Edge, Node, SavedTensor, graph
from gradbook.lines import record_lines
from gradbook.seeding import seed_everything

__version__ = "0.1.0"

__all__ = [
    "BackwardGraph",
    "Edge",
    "GradientEntry",
    "GradientReport",
    "Node",
    "SavedTensor",
    "check",
    "compare_gradients",
    "data",
    "expect_error",
    "graph",
    "record_lines",
    "seed_everything",
]
