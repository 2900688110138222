"""One training step on many processes: each takes a share of the batch, and MPI averages the
gradients. The extra [mpi]; three lines in a loop of one's own:

    xs, ts = tg.distributed.shard((xs, ts))            # this rank's rows
    model.loss(xs, ts).backward()
    tg.distributed.average_gradients(model.parameters())  # the gradient of the whole batch

started with ``mpiexec -n 4 python train.py``. Alone, a process is rank 0 of 1: then nothing is
imported, and all of this does nothing. A loss is taken to be the mean over the rows of its batch.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import numpy as np

from .jit.once import exchange
from .nn import Module
from .optim.optimizers import tensors
from .primitive import own_function
from .tensor import Tensor, beside, host

__all__ = ["average_gradients", "broadcast", "communicator", "rank", "shard", "share", "size"]

# What launchers tell the processes that they start: MPICH and Intel MPI, Open MPI, PMIx.
LAUNCHED = ("PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")

_weight = 1.0  # of this rank: the rows of its last share
_arrivals = 0  # where ranks wait for each other


@cache
def communicator() -> Any:
    """mpi4py's communicator of all ranks; None for a process that no MPI has started.

    ImportError, which says what to install, where one has and mpi4py is missing.
    """
    if "mpi4py.MPI" not in sys.modules and not any(name in os.environ for name in LAUNCHED):
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no MPI
        raise ImportError("this process was started by MPI, which mpi4py cannot join: pip install"
                          f" 'tinygrad-rnn[mpi]' ({str(error).partition(chr(10))[0]})") from None
    comm = MPI.COMM_WORLD
    if comm.size == 1:
        return None
    before = sys.excepthook

    def last_words(kind: Any, error: Any, trace: Any) -> None:
        """A rank that ends with an error ends the others, who would wait for it for ever."""
        before(kind, error, trace)
        end_all(1)

    sys.excepthook = last_words
    return comm


def end_all(status: int) -> None:
    """End all ranks with this exit status, when their launcher has read what this one wrote: of
    what is still on its way to it nothing would be seen."""
    if sys.stderr is not None:
        sys.stderr.flush()
    time.sleep(0.5)
    communicator().Abort(status)


def rank() -> int:
    """Which of ``size()`` processes this one is, from 0."""
    comm = communicator()
    return 0 if comm is None else int(comm.rank)


def size() -> int:
    """How many processes work together; 1 where no MPI has started them."""
    comm = communicator()
    return 1 if comm is None else int(comm.size)


def arrive() -> Any:
    """The communicator, for a call in which ranks wait for each other: ``arrivals`` counts it."""
    global _arrivals
    _arrivals += 1
    return communicator()


def arrivals() -> int:
    """How often this rank has come to such a call: one that is behind keeps the others waiting."""
    return _arrivals


def share(n: int) -> slice:
    """Which of ``n`` rows are this rank's: shares differ by one row at most."""
    return slice(n * rank() // size(), n * (rank() + 1) // size())


def shard(batch: Any) -> Any:
    """This rank's rows of a batch: of every array and Tensor (N, ...) in nested tuples, lists and
    dicts, which all have one N. What has no axes stays as it is.

    The number of rows is what ``average_gradients`` weighs this rank with; with N < size() some
    have none. ValueError for arrays of several N.
    """
    global _weight
    found = {len(x) for x in _arrays(batch)}
    if len(found) > 1:
        raise ValueError(f"shard: arrays of {sorted(found)} rows, wanted one number of rows")
    if size() == 1 or not found:
        return batch
    rows = share(*found)
    _weight = float(rows.stop - rows.start)
    return _cut(batch, rows)


def _arrays(x: Any) -> list[Any]:
    if isinstance(x, (tuple, list)):
        return [array for item in x for array in _arrays(item)]
    if isinstance(x, dict):
        return _arrays(list(x.values()))
    return [x] if getattr(x, "shape", ()) else []


def _cut(x: Any, rows: slice) -> Any:
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(_cut(item, rows) for item in x))
    if isinstance(x, (tuple, list)):
        return type(x)(_cut(item, rows) for item in x)
    if isinstance(x, dict):
        return {key: _cut(item, rows) for key, item in x.items()}
    return x[rows] if getattr(x, "shape", ()) else x


def average_gradients(params: Iterable[Tensor], weight: float | None = None) -> None:
    """Put the mean over all ranks into ``.grad`` of every parameter, in place, in one ``Allreduce``
    of all of them; every rank gets the same bits.

    Args:
        params: in the same order on every rank; one without a gradient is left as it is.
        weight: what this rank counts for, such as its number of targets; by default the rows that
            its last ``shard`` gave it, or 1. Together they must not be 0 (ValueError).

    Call it between ``backward`` and clipping; ``tg.jit`` records it like any other call.
    RuntimeError, on every rank, where a parameter has a gradient on some of them only. TypeError
    for a Module in the place of its parameters, also where there is one rank.
    """
    params = tensors("average_gradients", params)
    if size() == 1:
        return
    grads = [p.grad.data for p in params if p.grad is not None]
    if not grads:  # also the others have none, or they are told
        grads = [np.zeros_like(p.detach().numpy(), shape=(0,)) for p in params[:1]]
    flat = np.concatenate([np.reshape(g, (-1,)) for g in grads])
    mean = _mean_over_ranks(flat, sizes=tuple(p.size for p in params),
                            there=tuple(p.grad is not None for p in params), weight=weight)
    start = 0
    for g in grads:
        g[...] = np.reshape(mean[start : start + g.size], g.shape)
        start += g.size


@partial(own_function, checks=True)
def _mean_over_ranks(flat: np.ndarray, *, sizes: tuple[int, ...], there: tuple[bool, ...],
                     weight: float | None) -> np.ndarray:
    """The weighted mean of ``flat`` (n,) over all ranks, (n,).

    What is sent: weighted values, for each parameter whether it is ``there``, and the weight; from
    a device by way of the host, in one copy there and one back, with which any MPI can do.
    """
    given, flat, weight = flat, host(flat), _weight if weight is None else weight
    wide = np.result_type(flat.dtype, np.float32)  # MPI knows no halves
    n, k = sum(sizes), len(sizes)
    buffer = np.zeros(n + k + 1, wide)
    at = np.repeat(there, sizes) if not all(there) else slice(n)
    buffer[:n][at] = flat * wide.type(weight) if weight else 0.0  # 0 * NaN of an empty mean
    buffer[n:-1], buffer[-1] = there, weight
    total: np.ndarray = exchange(_sum_over_ranks, buffer)
    holders = total[n:-1]
    if (odd := np.flatnonzero((holders != 0) & (holders != size()))).size:
        raise RuntimeError(f"average_gradients: parameter {odd[0]} has a gradient on"
                           f" {holders[odd[0]]:.0f} of {size()} ranks")
    if total[-1] == 0:
        raise ValueError("average_gradients: the weights of all ranks are 0")
    mean: np.ndarray = (total[:n][at] / total[-1]).astype(flat.dtype)
    shared: np.ndarray = beside(mean, given)
    return shared


def _sum_over_ranks(buffer: np.ndarray) -> np.ndarray:
    total = np.empty_like(buffer)
    arrive().Allreduce(buffer, total)
    return total


def broadcast(module: Module) -> None:
    """Give the parameters of ``module`` the values that they have on rank 0. The errors of
    ``load_state_dict`` where it is another module there; TypeError for no Module."""
    if not isinstance(module, Module):
        raise TypeError(f"broadcast: a {type(module).__name__} came, wanted a Module")
    comm = communicator()
    if comm is not None:
        module.load_state_dict(arrive().bcast(module.state_dict() if comm.rank == 0 else None))
