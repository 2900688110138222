"""Update rules, in PyTorch's form and with its defaults. Updates are made in place.

p is a parameter of any shape, g its gradient; what a rule keeps has their shape and dtype.
``weight_decay`` adds ``weight_decay * p`` to g. ValueError for an optimizer of no parameters,
TypeError for one of anything but leaf Tensors.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .tensor import Tensor

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "Momentum", "Nesterov", "RMSprop", "clip_grad_norm_"]


def clip_grad_norm_(params: Iterable[Tensor], max_norm: float) -> Any:
    """Scale all gradients so that their common 2-norm is at most ``max_norm``.

    Pascanu et al. (2013); chapter 6. Gradients of any shape are edited in place; a parameter
    without one counts as 0. Returns the norm before clipping, in float64: a number, 0-d under
    ``tg.jit``.
    """
    grads = [p.grad.data for p in params if p.grad is not None]
    norm = np.sqrt(sum(np.astype(np.vdot(g, g), np.float64) for g in grads))
    # A choice without a branch can be recorded.
    scale = np.where(norm > max_norm, max_norm / (norm + 1e-6), 1.0)
    if not isinstance(scale, np.ndarray) or scale != 1:
        for g in grads:
            g *= np.astype(scale, g.dtype)
    return norm


class Optimizer:
    """Parameters and, for each, the arrays that an update rule keeps.

    A rule is ``update(p, g, state)`` on arrays: it edits ``p`` in place and never ``g``.
    Parameters without a gradient are left as they are.
    """

    slots: tuple[str, ...] = ()
    changing = ("lr", "steps")  # numbers that a recorded step reads anew (tg.jit)

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        self.params = list({id(p): p for p in params}.values())  # a shared one is updated once
        if not self.params:
            raise ValueError(f"{type(self).__name__}: no parameters")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor) or not p.is_leaf:
                came = "Tensor that was computed" if isinstance(p, Tensor) else type(p).__name__
                raise TypeError(f"{type(self).__name__}: parameter {i} is a {came}, wanted a leaf"
                                " Tensor: only that gets a gradient")
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self.state = [
            {name: np.zeros_like(p.detach().numpy()) for name in self.slots} for p in self.params
        ]

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.steps += 1
        for p, state in zip(self.params, self.state, strict=True):
            if p.grad is not None:
                data, g = p.data, p.grad.data
                self.update(data, g + self.weight_decay * data if self.weight_decay else g, state)

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What the optimizer needs to go on: number of steps, learning rate, arrays (copies)."""
        arrays = [{k: v.copy() for k, v in state.items()} for state in self.state]
        return {"steps": self.steps, "lr": self.lr, "state": arrays}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from ``state_dict()`` of the same rule for parameters of the same shapes;
        ValueError for another."""
        ours = [{k: v.shape for k, v in state.items()} for state in self.state]
        theirs = [{k: v.shape for k, v in state.items()} for state in saved["state"]]
        if ours != theirs:
            raise ValueError(f"{type(self).__name__}.load_state_dict: arrays of shapes {theirs},"
                             f" wanted {ours}")
        self.steps, self.lr = saved["steps"], saved["lr"]
        for state, arrays in zip(self.state, saved["state"], strict=True):
            for k, v in arrays.items():
                state[k][...] = v


class SGD(Optimizer):
    """p -= lr g. Robbins & Monro (1951); chapter 1."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01,
                 weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay)

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        p -= self.lr * g


class Momentum(Optimizer):
    """v = momentum v + g; p -= lr v. Polyak (1964)."""

    slots = ("v",)

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01, momentum: float = 0.9,
                 weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay)
        self.momentum = momentum

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        v = state["v"]
        v *= self.momentum
        v += g
        p -= self.lr * v


class Nesterov(Momentum):
    """v = momentum v + g; p -= lr (g + momentum v). Sutskever et al. (2013)."""

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        v = state["v"]
        v *= self.momentum
        v += g
        p -= self.lr * (g + self.momentum * v)


class AdaGrad(Optimizer):
    """h += g²; p -= lr g / (sqrt(h) + eps). Duchi et al. (2011)."""

    slots = ("h",)

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01, eps: float = 1e-10,
                 weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay)
        self.eps = eps

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        h = state["h"]
        h += g * g
        p -= self.lr * g / (np.sqrt(h) + self.eps)


class RMSprop(Optimizer):
    """h = alpha h + (1 - alpha) g²; p -= lr g / (sqrt(h) + eps). Hinton (2012)."""

    slots = ("h",)

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01, alpha: float = 0.99,
                 eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr, weight_decay)
        self.alpha, self.eps = alpha, eps

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        h = state["h"]
        h *= self.alpha
        h += (1 - self.alpha) * g * g
        p -= self.lr * g / (np.sqrt(h) + self.eps)


class Adam(Optimizer):
    """Kingma & Ba (2015), algorithm 1, eps inside the denominator after the bias correction.

    ``book=True``: as in the book, lr sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + 1e-7).
    """

    slots = ("m", "v")

    def __init__(self, params: Iterable[Tensor], lr: float = 0.001,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, book: bool = False) -> None:
        super().__init__(params, lr, weight_decay)
        self.betas, self.eps, self.book = betas, eps, book

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        m, v = state["m"], state["v"]
        b1, b2 = self.betas
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        rate, root = self.lr / (1 - b1**self.steps), (1 - b2**self.steps) ** 0.5
        if self.book:
            p -= rate * root * m / (np.sqrt(v) + 1e-7)
        else:
            p -= rate * m / (np.sqrt(v) / root + self.eps)


class AdamW(Adam):
    """Adam with the decay of the weights apart from the gradient. Loshchilov & Hutter (2019)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.001,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.01) -> None:
        super().__init__(params, lr, betas, eps)
        self.decay = weight_decay

    def update(self, p: np.ndarray, g: np.ndarray, state: dict[str, np.ndarray]) -> None:
        p *= 1 - self.lr * self.decay
        super().update(p, g, state)
