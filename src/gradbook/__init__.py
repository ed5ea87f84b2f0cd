"""Gradbook shows, explains and uses the gradients of PyTorch autograd."""

from gradbook import check, data
from gradbook.compare import GradientEntry, GradientReport, compare_gradients
from gradbook.expect import expect_error
from gradbook.graph import BackwardGraph, Edge, Node, SavedTensor, graph
from gradbook.lines import record_lines
from gradbook.replay import Accumulated, Replay, Step, replay
from gradbook.seeding import seed_everything
from gradbook.values import Value

__version__ = "0.1.0"

__all__ = [
    "Accumulated",
    "BackwardGraph",
    "Edge",
    "GradientEntry",
    "GradientReport",
    "Node",
    "Replay",
    "SavedTensor",
    "Step",
    "Value",
    "check",
    "compare_gradients",
    "data",
    "expect_error",
    "graph",
    "record_lines",
    "replay",
    "seed_everything",
]
