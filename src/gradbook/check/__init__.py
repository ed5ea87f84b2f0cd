"""Checks for the exercises: one module a page, one function an exercise.

A check prints why a right answer is right, and raises `WrongAnswer` with what is wrong
otherwise. Numbers are taken in each form that a learner would write: a tensor, a float, a list,
a NumPy array. Given ``...`` (no answer yet), a check says so and returns.
"""

from gradbook.check import (
    accumulation,
    anomaly_mode,
    autograd_grad,
    backward,
    build_your_own,
    complex,  # noqa: A004 -- each module has the name of its page
    custom_function,
    detach,
    digits,
    distributed,
    grad_fn,
    gradient_by_hand,
    graph_lifetime,
    hooks,
    in_place,
    jacobians,
    kinks_and_nans,
    linear_regression,
    micro_batches,
    mixed_precision,
    requires_grad,
    saved_tensors,
    training_loop,
    turning_autograd_off,
)
from gradbook.check.answers import WrongAnswer

__all__ = [
    "WrongAnswer",
    "accumulation",
    "anomaly_mode",
    "autograd_grad",
    "backward",
    "build_your_own",
    "complex",
    "custom_function",
    "detach",
    "digits",
    "distributed",
    "grad_fn",
    "gradient_by_hand",
    "graph_lifetime",
    "hooks",
    "in_place",
    "jacobians",
    "kinks_and_nans",
    "linear_regression",
    "micro_batches",
    "mixed_precision",
    "requires_grad",
    "saved_tensors",
    "training_loop",
    "turning_autograd_off",
]
