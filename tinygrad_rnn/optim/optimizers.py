"""Update rules: each is its formula on arrays, edited in place."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from ..errors import Named
from ..tensor import Tensor, beside, host

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer", "RMSprop"]

Params: TypeAlias = Iterable[Tensor | dict[str, Any]]  # parameters, or groups of them


def tensors(name: str, params: Any) -> list[Tensor]:
    """The parameters as a list, a shared one once; TypeError for what holds them."""
    if hasattr(params, "parameters"):
        raise TypeError(f"{name}: a {type(params).__name__} came, wanted its parameters:"
                        " model.parameters()")
    return [params] if isinstance(params, Tensor) else list({id(p): p for p in params}.values())


class Group:
    """The numbers that hold for some parameters: lr, weight_decay, and those of the rule."""

    changing = ("lr", "momentum", "beta1")  # that a recorded step reads anew (tg.jit)

    def __init__(self, numbers: Mapping[str, Any]) -> None:
        vars(self).update(numbers)

    if TYPE_CHECKING:  # all that it has is set above

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __repr__(self) -> str:
        return f"Group({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class State(dict[str, np.ndarray]):
    """What a rule keeps of one parameter: arrays by name, how many steps it has made with it, and
    the group whose numbers hold for it."""

    changing = ("steps",)

    def __init__(self, arrays: Mapping[str, np.ndarray], group: Group) -> None:
        super().__init__(arrays)
        self.steps, self.group = 0, group


class Optimizer(Named):
    """Parameters, in groups with numbers of their own, and for each the arrays that a rule keeps.

    A rule is ``update(p, g, state)`` on arrays: it edits ``p`` in place and never ``g``, and reads
    its numbers from ``state.group``. Parameters without a gradient are left as they are.

    ``optimizer.lr``, and every other number, is that of the first group; to set it sets it for all.
    """

    slots: tuple[str, ...] = ()
    changing: tuple[str, ...] = ("steps",)  # a number that a recorded step reads anew (tg.jit)
    decoupled = False  # weights decay apart from the gradient
    elsewhere: ClassVar[dict[str, str]] = {
        "momentum": "that is Momentum(params, lr, momentum)",
        "dampening": "that is Momentum(params, lr, momentum, dampening=...)",
        "nesterov": "that is Nesterov(params, lr, momentum)",
        "lr_decay": "a schedule changes lr: tg.optim.LinearLR and others",
        "decoupled_weight_decay": "that is AdamW",
        **dict.fromkeys(("foreach", "fused", "capturable", "differentiable"),
                        "there is one way of computing: leave it out"),
    }  # fmt: skip

    def __init__(self, params: Params, lr: float, weight_decay: float = 0.0,
                 maximize: bool = False, **numbers: float) -> None:
        name = type(self).__name__
        self.numbers = {"lr": lr, "weight_decay": weight_decay, "maximize": maximize, **numbers}
        self.groups: list[Group] = []
        self.params: list[Tensor] = []
        self.state: list[State] = []
        self.steps = 0
        groups = params if isinstance(params, (Tensor, list, tuple)) or hasattr(
            params, "parameters") else list(params)
        if not (isinstance(groups, (list, tuple)) and groups and all(
                isinstance(g, dict) for g in groups)):
            groups = [{"params": groups}]
        for group in groups:
            self.add_group(**group)
        if not self.params:
            raise ValueError(f"{name}: no parameters")

    def add_group(self, params: Any, **numbers: Any) -> None:
        """More parameters, with numbers of their own; those that are not given are the
        optimizer's. Errors as for a new optimizer: TypeError, ValueError."""
        name = type(self).__name__
        added = tensors(name, params)
        for i, p in enumerate(added, start=len(self.params)):
            if not isinstance(p, Tensor) or not p.is_leaf:
                came = "Tensor that was computed" if isinstance(p, Tensor) else type(p).__name__
                raise TypeError(f"{name}: parameter {i} is a {came}, wanted a leaf Tensor: only"
                                " that gets a gradient")
            if any(p is held for held in self.params):
                raise ValueError(f"{name}: parameter {i}, of shape {p.shape}, is in two groups")
        if "betas" in numbers:
            numbers["beta1"], numbers["beta2"] = _two(name, numbers.pop("betas"))
        if numbers.keys() - self.numbers.keys():
            raise TypeError(f"{name}: a group with {sorted(numbers.keys() - self.numbers.keys())},"
                            f" wanted some of {list(self.numbers)}")
        group = Group({**self.numbers, **numbers})
        _check_numbers(name, vars(group))
        self.groups.append(group)
        self.params += added
        self.state += [State({slot: np.zeros_like(p.detach().numpy(), dtype=_kept_as(p))
                              for slot in self.slots}, group) for p in added]

    def __getattr__(self, name: str) -> Any:
        if name in vars(self).get("numbers", ()):
            return getattr(self.groups[0], name)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self).get("numbers", ()):
            for group in self.groups:
                setattr(group, name, value)
        else:
            super().__setattr__(name, value)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.steps += 1
        for p, state in zip(self.params, self.state, strict=True):
            if p.grad is None:
                continue
            state.steps += 1
            group = state.group
            data, g = p.data, p.grad.data
            half = data.dtype.char == "e"
            if half:
                data, g = np.astype(data, np.float32), np.astype(g, np.float32)
            if group.maximize:
                g = -g
            if group.weight_decay:
                if self.decoupled:
                    data *= 1 - group.lr * group.weight_decay
                else:
                    g = g + group.weight_decay * data
            self.update(data, g, state)
            if half:
                p.data[...] = data

    def update(self, p: np.ndarray, g: np.ndarray, state: Any) -> None:
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What the optimizer needs to go on: numbers of steps, the numbers of each group and which
        parameters are in it, the first learning rate, arrays (copies)."""
        groups = [{**vars(group), "params": [i for i, state in enumerate(self.state)
                                             if state.group is group]} for group in self.groups]
        return {"steps": self.steps, "lr": self.lr, "groups": groups,
                "counts": [state.steps for state in self.state],
                "state": [{k: host(v).copy() for k, v in state.items()} for state in self.state]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()`` of the same rule for parameters of the same shapes in the
        same groups; ValueError for another, and then nothing changes.

        Of a dict without ``groups`` (version 0.1.0) the learning rate is taken over, and the other
        numbers stay; one without ``counts`` counts the same steps for every parameter.
        """
        name = f"{type(self).__name__}.load_state_dict"
        ours = [{k: v.shape for k, v in state.items()} for state in self.state]
        theirs = [{k: np.shape(v) for k, v in state.items()} for state in saved["state"]]
        if ours != theirs:
            raise ValueError(f"{name}: arrays of shapes {theirs}, wanted {ours}")
        arrays = [{k: np.array(host(v), state[k].dtype) for k, v in new.items()}
                  for state, new in zip(self.state, saved["state"], strict=True)]
        lr, steps = saved["lr"], saved["steps"]
        counts = list(saved.get("counts", [steps] * len(self.state)))
        now = self.state_dict()["groups"]
        groups = saved.get("groups", [{**group, "lr": lr} for group in now])
        members = [list(group["params"]) for group in groups]
        if members != [group["params"] for group in now] or len(counts) != len(self.state):
            raise ValueError(f"{name}: groups of the parameters {members}, wanted"
                             f" {[group['params'] for group in now]}")
        self.steps = steps
        for group, new in zip(self.groups, groups, strict=True):
            vars(group).update({k: v for k, v in new.items() if k in self.numbers})
        for state, count, new in zip(self.state, counts, arrays, strict=True):
            state.steps = count
            for k, v in new.items():
                state[k][...] = beside(v, state[k])


def _kept_as(p: Tensor) -> Any:
    """float16 is too coarse for sums of small numbers, and for eps."""
    return np.float32 if p.dtype == np.float16 else p.dtype


def _two(name: str, betas: Any) -> Any:
    if np.shape(betas) != (2,):
        raise ValueError(f"{name}: betas={betas!r}, wanted two numbers")
    return betas


def _check_numbers(name: str, numbers: Mapping[str, Any]) -> None:
    """ValueError for what makes no sense: a rate below 0, a mean that weighs more than 1."""
    for k, v in numbers.items():
        below_one = k in ("beta1", "beta2", "alpha")
        if isinstance(v, str) or v is None:
            raise TypeError(f"{name}: {k}={v!r}, wanted a number")
        if not v >= 0 or (below_one and v >= 1):
            what = {"beta1": "betas[0]", "beta2": "betas[1]"}.get(k, k)
            raise ValueError(f"{name}: {what}={v}, wanted {'0 <=' if below_one else 'at least 0'}"
                             f"{f' {what} < 1' if below_one else ''}")


class SGD(Optimizer):
    """p -= lr g. Robbins & Monro (1951); chapter 1."""

    def __init__(self, params: Params, lr: float = 0.01, *, weight_decay: float = 0.0,
                 maximize: bool = False) -> None:
        super().__init__(params, lr, weight_decay, maximize)

    def update(self, p: np.ndarray, g: np.ndarray, state: Any) -> None:
        p -= state.group.lr * g


class Momentum(Optimizer):
    """v = momentum v + (1 - dampening) g; p -= lr v. Polyak (1964). The first g is not dampened."""

    slots = ("v",)

    def __init__(self, params: Params, lr: float = 0.01, momentum: float = 0.9,
                 weight_decay: float = 0.0, *, dampening: float = 0.0,
                 maximize: bool = False) -> None:
        super().__init__(params, lr, weight_decay, maximize, momentum=momentum, dampening=dampening)

    def update(self, p: np.ndarray, g: np.ndarray, state: Any) -> None:
        self._velocity(g, state)
        p -= state.group.lr * state["v"]

    def _velocity(self, g: np.ndarray, state: Any) -> None:
        v = state["v"]
        v *= state.group.momentum
        if state.group.dampening:
            g = (1 - state.group.dampening * (state.steps > 1)) * g
        v += g


class Nesterov(Momentum):
    """v = momentum v + g; p -= lr (g + momentum v). Sutskever et al. (2013)."""

    def __init__(self, params: Params, lr: float = 0.01, momentum: float = 0.9,
                 weight_decay: float = 0.0, *, maximize: bool = False) -> None:
        super().__init__(params, lr, momentum, weight_decay, maximize=maximize)

    def update(self, p: np.ndarray, g: np.ndarray, state: Any) -> None:
        self._velocity(g, state)
        p -= state.group.lr * (g + state.group.momentum * state["v"])


class AdaGrad(Optimizer):
    """h += g²; p -= lr g / (sqrt(h) + eps). Duchi et al. (2011)."""

    slots = ("h",)

    def __init__(self, params: Params, lr: float = 0.01, *, eps: float = 1e-10,
                 weight_decay: float = 0.0, maximize: bool = False) -> None:
        super().__init__(params, lr, weight_decay, maximize, eps=eps)

    def update(self, p: np.ndarray, g: np.ndarray, state: Any) -> None:
        h, group = state["h"], state.group
        h += g * g
        p -= group.lr * g / (np.sqrt(h) + group.eps)


class RMSprop(Optimizer):
    """h = alpha h + (1 - alpha) g²; p -= lr g / (sqrt(h) + eps). Hinton (2012).

    ``centered``: h less the square of the mean gradient, m = alpha m + (1 - alpha) g: the variance
    of g. Graves (2013). ``momentum``: the step is lr v, v = momentum v + g / (...).
    """

    def __init__(self, params: Params, lr: float = 0.01, alpha: float = 0.99,
                 eps: float = 1e-8, weight_decay: float = 0.0, *, momentum: float = 0.0,
                 centered: bool = False, maximize: bool = False) -> None:
        self.slots = ("h", *(("m",) if centered else ()), *(("v",) if momentum else ()))
        self.centered = centered
        super().__init__(params, lr, weight_decay, maximize, alpha=alpha, eps=eps,
                         momentum=momentum)

    def add_group(self, params: Any, **numbers: Any) -> None:
        """As for every optimizer; ValueError for momentum in a group of one without."""
        if numbers.get("momentum") and "v" not in self.slots:
            raise ValueError("RMSprop: momentum of one group: give the optimizer one, too")
        super().add_group(params, **numbers)

    def update(self, p: np.ndarray, g: np.ndarray, state: Any) -> None:
        h, group = state["h"], state.group
        h *= group.alpha
        h += (1 - group.alpha) * g * g
        variance = h
        if self.centered:
            m = state["m"]
            m *= group.alpha
            m += (1 - group.alpha) * g
            variance = np.maximum(h - m * m, 0)  # less than 0 by rounding alone
        step = g / (np.sqrt(variance) + group.eps)
        if "v" in state:
            v = state["v"]
            v *= group.momentum
            v += step
            step = v
        p -= group.lr * step


class Adam(Optimizer):
    """Kingma & Ba (2015), algorithm 1, eps inside the denominator after the bias correction, which
    counts the steps of each parameter.

    ``book=True``: as in the book, lr sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + 1e-7).
    ``amsgrad``: the largest v so far in the place of v. Reddi, Kale & Kumar (2018).
    """

    def __init__(self, params: Params, lr: float = 0.001,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, *, book: bool = False, amsgrad: bool = False,
                 maximize: bool = False) -> None:
        self.slots = ("m", "v", "top") if amsgrad else ("m", "v")
        self.book, self.amsgrad = book, amsgrad
        beta1, beta2 = _two(type(self).__name__, betas)
        super().__init__(params, lr, weight_decay, maximize, beta1=beta1, beta2=beta2, eps=eps)

    @property
    def betas(self) -> tuple[float, float]:
        """beta1 and beta2 of the first group; to set them sets those of all."""
        return self.beta1, self.beta2

    @betas.setter
    def betas(self, betas: tuple[float, float]) -> None:
        self.beta1, self.beta2 = _two(type(self).__name__, betas)

    def update(self, p: np.ndarray, g: np.ndarray, state: Any) -> None:
        m, v, group, steps = state["m"], state["v"], state.group, state.steps
        b1, b2 = group.beta1, group.beta2
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        rate, root = group.lr / (1 - b1**steps), (1 - b2**steps) ** 0.5
        if self.amsgrad:
            v = state["top"]
            np.maximum(v, state["v"], out=v)
        if self.book:
            p -= rate * root * m / (np.sqrt(v) + 1e-7)
        else:
            p -= rate * m / (np.sqrt(v) / root + group.eps)


class AdamW(Adam):
    """Adam with the decay of the weights apart from the gradient. Loshchilov & Hutter (2019)."""

    decoupled = True

    def __init__(self, params: Params, lr: float = 0.001,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.01, *, amsgrad: bool = False,
                 maximize: bool = False) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad=amsgrad, maximize=maximize)
