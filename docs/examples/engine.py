"""An autograd engine for arrays of any shape, to be read in one sitting."""

from collections import Counter

import numpy as np


class Tensor:
    """An array that remembers how it was computed, where gradients are needed."""

    __array_ufunc__ = None  # in `array * tensor`, NumPy leaves the product to us

    def __init__(self, data, requires_grad=False):
        self.data = np.asarray(data, dtype=float)
        self.requires_grad = requires_grad
        self.grad = None
        self.inputs = ()  # the tensors that it was computed from
        self.rule = None  # (incoming, *saved) -> one outgoing gradient an input
        self.saved = ()  # the arrays that the rule needs

    # Each operation: its value, its inputs, its rule, and what the rule needs.

    def __add__(self, other):
        a, b = self, as_tensor(other)
        return record(a.data + b.data, (a, b), lambda g: (g, g))

    def __neg__(self):
        return record(-self.data, (self,), lambda g: (-g,))

    def __mul__(self, other):
        a, b = self, as_tensor(other)
        x, y = a.data, b.data
        return record(x * y, (a, b), lambda g, x, y: (g * y, g * x), x, y)

    def __matmul__(self, other):  # of matrices, or of stacks of them
        a, b = self, as_tensor(other)
        x, y = a.data, b.data
        return record(x @ y, (a, b), lambda g, x, y: (g @ y.mT, x.mT @ g), x, y)

    def __pow__(self, n):
        x = self.data
        return record(x**n, (self,), lambda g, x: (g * n * x ** (n - 1),), x)

    def exp(self):
        y = np.exp(self.data)
        return record(y, (self,), lambda g, y: (g * y,), y)

    def log(self):
        x = self.data
        return record(np.log(x), (self,), lambda g, x: (g / x,), x)

    def tanh(self):
        y = np.tanh(self.data)
        return record(y, (self,), lambda g, y: (g * (1 - y * y),), y)

    def relu(self):
        y = np.maximum(self.data, 0)
        return record(y, (self,), lambda g, y: (g * (y > 0),), y)

    def reshape(self, *shape):
        before = self.data.shape
        y = self.data.reshape(shape)
        return record(y, (self,), lambda g: (g.reshape(before),))

    def sum(self, axis=None):
        before = self.data.shape
        kept = self.data.sum(axis, keepdims=True).shape

        def rule(g):
            return (np.broadcast_to(g.reshape(kept), before),)

        return record(self.data.sum(axis), (self,), rule)

    # The others are made of these.

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other):
        return self + -as_tensor(other)

    def __rsub__(self, other):
        return -self + other

    def __truediv__(self, other):
        return self * as_tensor(other) ** -1

    def __rtruediv__(self, other):
        return self**-1 * other

    def backward(self, gradient=None, retain_graph=False):
        """Add to `.grad` of each leaf the gradient of this tensor."""
        if not self.requires_grad:
            raise RuntimeError("nothing behind this tensor requires a gradient")
        if gradient is None and self.data.size == 1:
            gradient = np.ones(self.data.shape)
        if np.shape(gradient) != self.data.shape:
            raise RuntimeError(f"gradient must have the shape {self.data.shape}")
        arrived = {self: np.asarray(gradient, dtype=float)}
        for tensor in in_order(self):
            incoming = arrived.pop(tensor)
            if not tensor.inputs:
                if tensor.requires_grad:  # a leaf, not a constant
                    before = 0 if tensor.grad is None else tensor.grad
                    tensor.grad = before + incoming
                continue
            if tensor.saved is None:
                raise RuntimeError("a second time: what the rule needs was freed")
            outgoing = tensor.rule(incoming, *tensor.saved)
            if tensor.saved and not retain_graph:
                tensor.saved = None
            for source, its in zip(tensor.inputs, outgoing, strict=True):
                fitting = sum_to(its, source.data.shape)
                arrived[source] = arrived.get(source, 0) + fitting


def as_tensor(value):
    return value if isinstance(value, Tensor) else Tensor(value)


def record(data, inputs, rule, *saved):
    """Make a result, which remembers the rest if an input requires a gradient."""
    result = Tensor(data, requires_grad=any(one.requires_grad for one in inputs))
    if result.requires_grad:
        result.inputs, result.rule, result.saved = inputs, rule, saved
    return result


def in_order(result):
    """Yield what `result` was made from, each after all made from it."""
    uses, found, stack = Counter(), {result}, [result]
    while stack:
        for source in stack.pop().inputs:
            uses[source] += 1
            if source not in found:
                found.add(source)
                stack.append(source)
    ready = [result]
    while ready:
        complete = ready.pop()
        yield complete
        for source in complete.inputs:
            uses[source] -= 1
            if uses[source] == 0:
                ready.append(source)


def sum_to(gradient, shape):
    """Undo broadcasting: what was used several times gets the sum."""
    new = gradient.ndim - len(shape)
    stretched = [new + axis for axis, size in enumerate(shape) if size == 1]
    return gradient.sum(axis=(*range(new), *stretched)).reshape(shape)
