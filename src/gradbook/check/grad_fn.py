"""Exercises of the page *grad_fn*."""

import math
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
)
from gradbook.check.traces import leaves_no_trace
from gradbook.see.graph import graph

# Exercise 2: elements of a, and of b.
ELEMENTS = 100


def number_of_nodes(answer: Numbers) -> None:
    """Check how many nodes ``(d * d + d).sum()`` has for ``d = x - 1``, the leaf's included.

    Raises:
        WrongAnswer: not that number; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> number_of_nodes(5)
    Right. One for each operation (-, *, +, sum), and AccumulateGrad for the leaf x.
    >>> number_of_nodes(4)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The leaf x has a node too: AccumulateGrad.
    """
    with torch.inference_mode(False), torch.enable_grad():
        d = torch.ones(3, requires_grad=True) - 1
        out = (d * d + d).sum()
    nodes = graph(out).nodes
    constants = sum(node.constants for node in nodes)
    judge_numbers(
        answer,
        float(len(nodes)),
        right="One for each operation (-, *, +, sum), and AccumulateGrad for the leaf x.",
        mistakes={
            "The leaf x has a node too: AccumulateGrad.": len(nodes) - 1,
            "A constant has no node: its edge is (None, 0).": len(nodes) + constants,
            "That counts the visits along all paths. d is used three times, but its node is one "
            "node: count each node once.": _visits(out.grad_fn),
        },
        counts=True,
    )


def saved_elements(answer: Numbers) -> None:
    """Check how many elements the nodes of ``(a * b + b).exp().sum()`` save; b is a constant.

    `a` and `b` have 100 elements each; only `a` requires a gradient.

    Raises:
        WrongAnswer: not that number; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> saved_elements(200)
    Right. The product saves b, exp saves its result; + and sum save no tensor.
    >>> saved_elements(300)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: a is not saved: it would serve the gradient of b, ...
    """
    with torch.inference_mode(False), torch.enable_grad():
        a = torch.ones(ELEMENTS, requires_grad=True)
        b = torch.ones(ELEMENTS)
        product = a * b
        grown = (product + b).exp()
        out = grown.sum()
    by_node = [
        sum(math.prod(one.shape or ()) for one in node.saved.values()) for node in graph(out).nodes
    ]
    total = sum(by_node)
    judge_numbers(
        answer,
        float(total),
        right="The product saves b, exp saves its result; + and sum save no tensor.",
        mistakes={
            "a is not saved: it would serve the gradient of b, and b needs none.": total
            + a.numel(),
            "That is one of them. Which two operations have a derivative that depends on "
            "values?": max(by_node),
            "That counts tensors: count their elements.": sum(count > 0 for count in by_node),
            "Not every node saves: the derivative of a sum is 1, whatever the values are.": total
            + 2 * a.numel(),
        },
        counts=True,
    )


def leaves_of(answer: object) -> None:
    """Check ``leaves(tensor)``: the list of the leaf tensors that a graph ends in, each once.

    Raises:
        WrongAnswer: other tensors than these, or it fails; the message says what is wrong.
        TypeError: `answer` is not a function, or does not return a list of tensors.

    >>> def leaves(tensor):
    ...     found, seen, waiting = [], set(), [tensor.grad_fn]
    ...     while waiting:
    ...         node = waiting.pop()
    ...         if node is not None and node not in seen:
    ...             seen.add(node)
    ...             found += [node.variable] if hasattr(node, "variable") else []
    ...             waiting += [following for following, _ in node.next_functions]
    ...     return found
    >>> leaves_of(leaves)
    Right. Each leaf once, also for a long chain and for a tensor used many times.
    >>> leaves_of(lambda tensor: [])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: leaves(w * v + c) left out w and v.
    """
    leaves = answer_function(answer, "(tensor)")
    if leaves is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        v = torch.tensor([3.0, 4.0], requires_grad=True)
        c = torch.tensor([5.0, 6.0])
        power = w
        for _ in range(10):
            power = power * power
        chain = w * v
        # Longer than Python's limit on nested calls, and far below what dropping a graph can take.
        for _ in range(min(sys.getrecursionlimit() + 200, 10_000)):
            chain = chain + 1
        graphs = {
            "w * v + c": (w * v + c, "wv"),
            "w + w": (w + w, "w"),
            "w after ten squarings": (power, "w"),
            "w * v after a long chain of + 1": (chain, "wv"),
        }
    names = {id(w): "w", id(v): "v"}
    for text, (tensor, expected) in graphs.items():
        try:
            with leaves_no_trace(f"leaves({text})", w=w, v=v):
                returned = leaves(tensor)
        except RecursionError:
            raise WrongAnswer(
                f"leaves({text}) calls itself too deeply: use a loop and a list of nodes to visit."
            ) from None
        found = _tensors(returned)
        given = [names.get(id(one), "?") for one in found]
        if "?" in given:
            raise WrongAnswer(
                f"leaves({text}) returned a tensor that is not a leaf of the graph: "
                "return node.variable of each AccumulateGrad, without a copy."
            )
        for name in given:
            if name not in expected:
                raise WrongAnswer(
                    f"leaves({text}) returned {name}, which that graph does not use: "
                    "start each call with an empty list."
                )
            if given.count(name) > 1:
                raise WrongAnswer(
                    f"leaves({text}) returned {name} {given.count(name)} times: "
                    "remember which nodes you have seen."
                )
        missing = [name for name in expected if name not in given]
        if missing:
            raise WrongAnswer(f"leaves({text}) left out {' and '.join(missing)}.")
    print("Right. Each leaf once, also for a long chain and for a tensor used many times.")


def _tensors(returned: object) -> list[Tensor]:
    if returned is None:
        raise TypeError("leaves(tensor) must return a list of tensors, got None: end with return")
    if isinstance(returned, Tensor) or not isinstance(returned, Iterable):
        raise TypeError(
            f"leaves(tensor) must return a list of tensors, got {type(returned).__name__}"
        )
    found = list(returned)
    for one in found:
        if not isinstance(one, Tensor):
            raise TypeError(
                f"leaves(tensor) must return a list of tensors, got a list with "
                f"{type(one).__name__}: take .variable of an AccumulateGrad node"
            )
    return found


def _visits(node: Any) -> int:
    return 1 + sum(_visits(following) for following, _ in node.next_functions if following)
