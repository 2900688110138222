"""Learning rates over time, under PyTorch's names and with its defaults.

A schedule sets ``lr`` of every group of an optimizer, from the one that it had when the schedule
was made: once when it is made, then at each ``step()``, which comes after the optimizer's:

    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=100),
                                        CosineAnnealingLR(optimizer, 900)], [100])

Each is a formula of the number of steps, on Python numbers, and so works inside a function under
``tg.jit`` as well as outside.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..primitive import own_function
from ..tensor import host, plain
from .optimizers import Optimizer

__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LinearLR", "OneCycleLR", "ReduceLROnPlateau", "Schedule",
    "SequentialLR", "StepLR",
]  # fmt: skip


@own_function
def _formula(steps: float, base: float, *, of: Any) -> float:
    """A rate, as one call that a recording can hold."""
    return float(of(steps, base))


class Schedule:
    """Base of the schedules: ``rate(steps, base)`` is the learning rate after so many steps, for a
    group that began with ``base``. NotImplementedError for one that does not say it.

    TypeError for what is no optimizer.
    """

    changing: tuple[str, ...] = ("steps",)  # a number that a recorded step reads anew (tg.jit)

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: {type(optimizer).__name__} came, wanted an"
                            " optimizer")
        self.optimizer, self.steps = optimizer, 0
        self.bases = [group.lr for group in optimizer.groups]
        self._set()

    def rate(self, steps: int, base: float) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not define rate")

    def step(self) -> None:
        """Go on by one step."""
        self.steps += 1
        self._set()

    def _set(self) -> None:
        late = self.optimizer.groups[len(self.bases) :]
        self.bases += [group.lr for group in late]  # they begin with their own
        for group, base in zip(self.optimizer.groups, self.bases, strict=True):
            group.lr = _formula(self.steps, base, of=self.rate)

    def state_dict(self) -> dict[str, Any]:
        """The number of steps, and the rates that the groups began with."""
        return {"steps": self.steps, "bases": list(self.bases)}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``; ValueError for another number of groups."""
        if len(saved["bases"]) != len(self.optimizer.groups):
            raise ValueError(f"{type(self).__name__}.load_state_dict: {len(saved['bases'])} groups,"
                             f" wanted {len(self.optimizer.groups)}")
        self.steps, self.bases = saved["steps"], list(saved["bases"])
        self._set()


class StepLR(Schedule):
    """base gamma^(steps // step_size): a staircase. PyTorch's; chapter 6 lowers its rate so.
    ValueError for a step_size below 1, TypeError for what is no optimizer."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size={step_size}, wanted at least 1")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        return float(base * self.gamma ** (steps // self.step_size))


class ExponentialLR(Schedule):
    """base gamma^steps, as PyTorch has it (2016). TypeError for what is no optimizer."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        return float(base * self.gamma**steps)


class LinearLR(Schedule):
    """From base start_factor to base end_factor in total_iters steps, along a line; then it stays:
    a warm-up. Goyal et al. (2017). ValueError for total_iters below 1, TypeError for what is no
    optimizer."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0,
                 total_iters: int = 5) -> None:
        if total_iters < 1:
            raise ValueError(f"LinearLR: total_iters={total_iters}, wanted at least 1")
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        done = min(steps, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(Schedule):
    """eta_min + (base - eta_min) (1 + cos(pi steps / T_max)) / 2: down to eta_min in T_max steps.
    Loshchilov & Hutter (2017). ValueError for T_max below 1, TypeError for what is no optimizer."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max={T_max}, wanted at least 1")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        return _cosine(base, self.eta_min, steps / self.T_max)


class OneCycleLR(Schedule):
    """Up from max_lr / div_factor to max_lr in pct_start of all steps, then down to what it began
    with / final_div_factor; momentum (beta1 of Adam) goes the other way. Smith & Topin (2019).

    ``anneal_strategy``: "cos" or "linear". ValueError for another one, for fewer steps than 1, a
    pct_start that is not from 0 to 1, and a step beyond the last one; TypeError for what is no
    optimizer.
    """

    def __init__(self, optimizer: Optimizer, max_lr: float, total_steps: int,
                 pct_start: float = 0.3, anneal_strategy: str = "cos", cycle_momentum: bool = True,
                 base_momentum: float = 0.85, max_momentum: float = 0.95, div_factor: float = 25.0,
                 final_div_factor: float = 1e4) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy={anneal_strategy!r}, wanted 'cos' or"
                             " 'linear'")
        if total_steps < 1:
            raise ValueError(f"OneCycleLR: total_steps={total_steps}, wanted at least 1")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start={pct_start}, wanted 0 to 1")
        self.max_lr, self.total_steps, self.pct_start = max_lr, total_steps, pct_start
        self.between = _cosine if anneal_strategy == "cos" else _line
        self.cycle_momentum = cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        super().__init__(optimizer)

    def rate(self, steps: int, base: float) -> float:
        first = self.max_lr / self.div_factor
        return self._cycle(steps, first, self.max_lr, first / self.final_div_factor)

    def momentum(self, steps: int, base: float) -> float:
        """What rate is to lr, for momentum or beta1."""
        return self._cycle(steps, self.max_momentum, self.base_momentum, self.max_momentum)

    def _cycle(self, steps: int, first: float, middle: float, last: float) -> float:
        if steps >= self.total_steps:
            raise ValueError(f"OneCycleLR: step {steps + 1} of {self.total_steps} steps")
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if steps <= top:
            return self.between(first, middle, steps / top if top else 1.0)
        return self.between(middle, last, (steps - top) / (end - top))

    def _set(self) -> None:
        super()._set()
        for group in self.optimizer.groups if self.cycle_momentum else ():
            for name in ("momentum", "beta1"):
                if name in vars(group):
                    setattr(group, name, _formula(self.steps, 0.0, of=self.momentum))


class SequentialLR(Schedule):
    """Several schedules one after the other: the k-th from step ``milestones[k - 1]`` on, each
    counting its own steps. PyTorch's (2021). ValueError unless there is one milestone less than
    schedules and they grow, TypeError for what is no optimizer.

    The rates that the groups had before the first of these was made are the bases of all.
    """

    def __init__(self, optimizer: Optimizer, schedules: Sequence[Schedule],
                 milestones: Sequence[int]) -> None:
        if len(milestones) != len(schedules) - 1 or sorted(milestones) != list(milestones):
            raise ValueError(f"SequentialLR: {len(schedules)} schedules and milestones"
                             f" {list(milestones)}, wanted one less, in order")
        self.schedules, self.milestones = list(schedules), list(milestones)
        super().__init__(optimizer)
        self.bases = list(self.schedules[0].bases)
        self._set()

    def rate(self, steps: int, base: float) -> float:
        k = bisect.bisect_right(self.milestones, steps)
        return self.schedules[k].rate(steps - (self.milestones[k - 1] if k else 0), base)


class ReduceLROnPlateau(Schedule):
    """lr times ``factor`` when a measure has not improved for more than ``patience`` steps:
    ``step(measure)``, of a loss or an accuracy. PyTorch's; the book's chapter 6 divides by 4.

    Args:
        mode: "min" or "max": whether less or more is better.
        threshold: what counts as better: by this part of the best ("rel"), or by this much ("abs").
        cooldown: steps after a reduction in which bad ones are not counted.
        min_lr: lr goes no lower.
        eps: a reduction by less than this is left out.

    ValueError for other words, and unless 0 < factor < 1; TypeError for what is no optimizer.
    """

    changing = ("steps", "best", "bad", "cooling")

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1,
                 patience: int = 10, threshold: float = 1e-4, threshold_mode: str = "rel",
                 cooldown: int = 0, min_lr: float = 0.0, eps: float = 1e-8) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: mode={mode!r}, threshold_mode={threshold_mode!r};"
                             " wanted 'min' or 'max', 'rel' or 'abs'")
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor={factor}, wanted 0 < factor < 1")
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = 0
        super().__init__(optimizer)

    def _set(self) -> None:
        pass  # the rate hangs on measures, not on steps

    def step(self, measure: Any = None) -> None:
        """Go on by one step, in which this was measured: a number or a Tensor of one element."""
        if measure is None:
            raise TypeError("ReduceLROnPlateau.step: the measure is missing: step(loss)")
        self.steps += 1
        now = (plain(measure), self.best, self.bad, self.cooling)
        reduce, self.best, self.bad, self.cooling = (
            _plateau(*now, of=self, what=what) for what in ("reduce", "best", "bad", "cooling"))
        for group in self.optimizer.groups:
            group.lr = _reduced(group.lr, reduce, of=self)

    def after(self, measure: float, best: float, bad: int, cooling: int) -> dict[str, Any]:
        """What a measure makes of the best one, the bad steps and those of the cooldown, and
        whether the rate is reduced."""
        by = self.threshold * (abs(best) if self.threshold_mode == "rel" else 1)
        by = 0.0 if math.isinf(best) else by
        better = measure < best - by if self.mode == "min" else measure > best + by
        best, bad = (measure, 0) if better else (best, bad + 1)
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        reduce = bad > self.patience
        if reduce:
            cooling, bad = self.cooldown, 0
        return {"best": best, "bad": bad, "cooling": cooling, "reduce": int(reduce)}

    def state_dict(self) -> dict[str, Any]:
        """The number of steps, the best measure, and how many bad ones and steps of cooldown."""
        return {**super().state_dict(), "best": self.best, "bad": self.bad,
                "cooling": self.cooling}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``; ValueError for another number of groups."""
        super().load_state_dict(saved)
        self.best, self.bad, self.cooling = saved["best"], saved["bad"], saved["cooling"]


@own_function
def _plateau(measure: Any, best: float, bad: int, cooling: int, *, of: Any, what: str) -> float:
    """One of the numbers of ``ReduceLROnPlateau.after``, as a call that a recording can hold."""
    found: float = of.after(host(measure).item(), best, bad, cooling)[what]
    return found


@own_function
def _reduced(lr: float, reduce: int, *, of: Any) -> float:
    new: float = max(lr * of.factor, of.min_lr)
    return new if reduce and lr - new > of.eps else lr


def _cosine(first: float, last: float, part: float) -> float:
    """From first to last along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * part)) / 2


def _line(first: float, last: float, part: float) -> float:
    return first + (last - first) * part
