"""What a graph does not show before backward: parts that a node computes again when it runs.

A reentrant checkpoint is one node. Behind it a graph is built only during the backward pass, and
the parameters of the part get their gradient then; they are not in the graph of the loss.
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.understand.culprit.names import is_module, modules_behind, parameters_of
from gradbook.understand.culprit.source import calls, dotted, last_name, scope_of, unwrapped


class Hidden(NamedTuple):
    """The nodes of a graph that run a backward pass of their own.

    Attributes:
        kinds: their names.
        modules: the modules that they hold.
        readable: whether each one's modules could be read.
    """

    kinds: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    readable: bool

    def parameters(self) -> set[int]:
        """The ids of the parameters that may get a gradient though no node shows them."""
        return {id(one) for module in self.modules for one in parameters_of(module).values()}


def hidden_in(graph: Iterable[Node]) -> Hidden:
    """The nodes that run a backward pass of their own, and what they hold."""
    kinds: dict[str, None] = {}
    modules: dict[int, nn.Module] = {}
    readable = True
    for node in graph:
        function = torch_internals.function_of(node)
        if function is None or not _runs_backward(function):
            continue
        kinds[torch_internals.node_name(node)] = None
        found = [one for value in torch_internals.kept_on(node) for one in modules_behind(value)]
        modules |= {id(one): one for one in found if is_module(one)}
        readable = readable and bool(found)
    return Hidden(tuple(kinds), tuple(modules.values()), readable)


def _runs_backward(function: type) -> bool:
    """Whether the backward of a Function calls the engine itself."""
    for name in ("backward", "vjp"):
        body = unwrapped(vars(function).get(name))
        scope = scope_of(body) if body is not None else None
        for statement in scope.statements if scope is not None else ():
            for _, call in calls(statement):
                given = dotted(call.args[0]) if call.args else None
                if last_name(call.func) == "backward" and given != "ctx":
                    return True
    return False
