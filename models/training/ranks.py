"""A run on several processes: what the ranks say to each other besides gradients.

Alone, a process is rank 0 of 1, and all of this is what one would write without it. Whatever ends
or saves a run is decided by all ranks at once, from what they told each other after a step.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from tinygrad_rnn import distributed, nn

from ..data import DataError
from . import watch

T = TypeVar("T")


class Common(DataError):
    """An error that every rank has met, and raises; rank 0 says it."""


class Apart(Common):
    """Ranks have other parameters than rank 0: nothing that they compute is worth saving."""


class Word(NamedTuple):
    """What the ranks have told each other."""

    loss: float  # of the whole batch
    spoilt: list[int]  # ranks whose loss is no number
    ending: int | None  # the signal that ends the run
    saving: bool
    over: bool  # the time
    since: float  # seconds since the last checkpoint


def tell(loss: float = 0.0, rows: int = 0, ending: int | None = None, saving: bool = False,
         over: bool = False, since: float = 0.0) -> Word:
    """Tell the others, and hear them. ``loss`` is the mean over so many ``rows``; of what hangs on
    time, rank 0 decides."""
    own = np.array([loss, rows, ending or 0, saving, over, since])
    told = own[None]
    if distributed.size() > 1:
        told = np.empty((distributed.size(), own.size))
        distributed.arrive().Allgather(own, told)
        loss = float(told[:, 0] @ told[:, 1] / max(told[:, 1].sum(), 1.0))
    return Word(loss, np.flatnonzero(~np.isfinite(told[:, 0])).tolist(),
                int(told[:, 2].max()) or None, bool(told[:, 3].any()), bool(told[0, 4]),
                float(told[0, 5]))


def compare(model: nn.Module, where: str) -> None:
    """Apart unless the parameters of all ranks are the same, bit for bit."""
    if distributed.size() > 1:
        sha = hashlib.sha256()
        for p in model.parameters():
            sha.update(np.ascontiguousarray(p.numpy()).data)
        if rank := _another(sha.digest()):
            raise Apart(f"{where} the parameters of rank {rank} are not those of rank 0, bit for"
                        " bit; the processor is of another kind, or memory has a fault.")


def same_data(task: Any) -> None:
    """Common unless all ranks have the same data."""
    if distributed.size() > 1 and (rank := _another(task.digest)):
        raise Common(f"the data of rank {rank} are not those of rank 0")


def _another(value: Any) -> int:
    """The first rank that has another value than rank 0; 0 if none has."""
    first, *others = distributed.arrive().allgather(value)
    return next((rank for rank, other in enumerate(others, 1) if other != first), 0)


def mean(value: float, weight: int) -> float:
    """The mean of what the ranks have found, each about so many rows."""
    return value if distributed.size() == 1 else tell(value, weight).loss


def from_first(f: Callable[[], T]) -> T:
    """What ``f()`` gives on rank 0, which alone calls it. Its DataError is everybody's."""
    if distributed.size() == 1:
        return f()
    result, error = _tried(f, distributed.rank() == 0)
    result, error = distributed.arrive().bcast((result, error))
    if error is not None:
        raise Common(error)
    return cast(T, result)


def together(f: Callable[[], T], first: bool = False) -> T:
    """What ``f()`` gives on each rank. The DataError of one is everybody's. With ``first`` rank 0
    is done before the others begin: what it has downloaded is there for them."""
    if distributed.size() == 1:
        return f()
    found, here = None, distributed.rank() == 0
    for turn in (here, not here) if first else (True,):
        result, error = _tried(f, turn)
        found = result if turn else found
        for rank, said in enumerate(distributed.arrive().allgather(error)):
            if said is not None:
                raise Common(said if rank == 0 else f"rank {rank}: {said}")
    return cast(T, found)


def _tried(f: Callable[[], T], turn: bool) -> tuple[T | None, str | None]:
    try:
        return f() if turn else None, None
    except (DataError, ImportError) as error:
        return None, str(error)


# ---- rows of the batch, and what belongs to them ---------------------------------------------


def gather_rows(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """States (..., rows, size) of this rank's rows -> of the whole batch, on rank 0."""
    if distributed.size() == 1:
        return arrays
    parts = distributed.arrive().gather(arrays)
    return {name: np.concatenate([part[name] for part in parts], axis=-2)
            for name in arrays} if parts else {}


class WholeBatch(np.random.Generator):
    """Draws for all ``rows`` of a batch, on every rank the same, and gives this rank those of its
    own: so the masks of dropout are those of one process. Rows are the first axis of what is drawn.
    """

    def __init__(self, bit_generator: np.random.BitGenerator, rows: int) -> None:
        super().__init__(bit_generator)
        self._rows, self._own = rows, distributed.share(rows)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        if not isinstance(size, tuple) or size[:1] != (self._own.stop - self._own.start,):
            return super().random(size, dtype, out)
        return super().random((self._rows, *size[1:]), dtype)[self._own].copy()


def draw_for_all(model: nn.Module, rows: int) -> None:
    """Let everything in the model that draws numbers draw them for the whole batch."""
    if distributed.size() == 1:
        return
    for module in model.modules():
        rng: Any = getattr(module, "rng", None)
        if isinstance(rng, np.random.Generator):
            module.rng = WholeBatch(rng.bit_generator, rows)  # type: ignore[attr-defined]


# ---- a rank that dies or hangs ---------------------------------------------------------------


@contextmanager
def watched(timeout: float, file: Path) -> Iterator[watch.Line | None]:
    """Until it is left, a rank that dies, or does not answer for ``timeout`` seconds, ends all; a
    sentence names it and the checkpoint ``file`` that is left. None alone, and where ranks do
    not reach the machine of rank 0."""
    if distributed.size() == 1:
        yield None
        return
    comm = distributed.arrive()
    where = watch.start(comm.size, timeout, file) if comm.rank == 0 else None
    (port, token), hosts = comm.bcast((where, watch.addresses()))
    if hosts[0] == socket.gethostname():
        hosts = ["127.0.0.1", *hosts]

    def abort() -> None:
        distributed.end_all(1)
        os._exit(1)

    try:
        line = watch.Line(comm.rank, hosts, port, token, timeout, distributed.arrivals, abort)
    except OSError:
        line = None
    if not all(comm.allgather(line is not None)):
        if line is not None:
            line.close()
        yield None
        return
    assert line is not None
    try:
        yield line
    except (Common, KeyboardInterrupt):
        line.close()
        raise
    except BaseException:
        line.close(watch.SPOKEN)  # for this rank will say it, and end the others
        raise
    line.close()
