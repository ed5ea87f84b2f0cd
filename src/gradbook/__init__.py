"""Gradbook shows, explains and uses the gradients of PyTorch autograd."""

from gradbook import check, data
from gradbook.compare import GradientEntry, GradientReport, compare_gradients
from gradbook.expect import expect_error
from gradbook.seeding import seed_everything

__version__ = "0.1.0"

__all__ = [
    "GradientEntry",
    "GradientReport",
    "check",
    "compare_gradients",
    "data",
    "expect_error",
    "seed_everything",
]
