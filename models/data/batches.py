"""Batches of pairs and of running text, from a position that can be saved and resumed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np

from .mapped import forget
from .reading import DataError
from .vocabulary import Ids


class Batches(ABC):
    """Batches (xs, ts), epoch after epoch, from a position that can be saved and resumed.

    ``len(batches)`` is the number of batches in an epoch; iterating gives those that remain in
    the current one. The position is that of the *next* batch: it has moved on when the body of
    the loop runs, so that a checkpoint written there resumes after the batch just trained on.
    A batch depends on nothing but the position: the position is all there is to save.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self.epoch = 0
        self.index = 0

    @abstractmethod
    def batch(self, epoch: int, index: int) -> tuple[Ids, Ids]:
        """Batch ``index`` of ``epoch``, both from 0."""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Ids, Ids]]:
        epoch = self.epoch
        while self.epoch == epoch:
            xs, ts = self.batch(epoch, self.index)
            self.index += 1
            if self.index == len(self):
                self.epoch, self.index = epoch + 1, 0
            yield xs, ts

    def state_dict(self) -> dict[str, int]:
        """The position: ``epoch`` and ``index`` of the next batch, both from 0."""
        return {"epoch": self.epoch, "index": self.index, "length": len(self)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a saved position. ValueError when it was saved over other data or sizes."""
        here = self.state_dict()
        fixed = here.keys() - {"epoch", "index"}
        if (
            state.keys() != here.keys()
            or any(state[name] != here[name] for name in fixed)
            or state["epoch"] < 0
            or not 0 <= state["index"] < len(self)
        ):
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: {dict(state)} is no position in these "
                f"batches, which are now at {here}"
            )
        self.epoch, self.index = state["epoch"], state["index"]


class PairBatches(Batches):
    """Shuffled batches xs (B, Tx), ts (B, Ty) of encoded pairs; each epoch in another order.

    The order of an epoch is drawn from a generator seeded with (seed, epoch). What does not fill
    a batch at the end is left out of that epoch, as in the book. ValueError when xs and ts differ
    in length, DataError when they are shorter than one batch.
    """

    def __init__(self, xs: Ids, ts: Ids, batch_size: int, seed: int) -> None:
        if len(xs) != len(ts):
            raise ValueError(f"PairBatches: {len(xs)} inputs, but {len(ts)} answers")
        _check_batch_size(batch_size)
        if len(xs) < batch_size:
            raise DataError(f"{len(xs)} pairs are fewer than one batch of {batch_size}")
        super().__init__(len(xs) // batch_size)
        self._xs, self._ts, self._batch_size, self._seed = xs, ts, batch_size, seed
        self._order: tuple[int, Ids] | None = None

    def batch(self, epoch: int, index: int) -> tuple[Ids, Ids]:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            self._order = epoch, rng.permutation(len(self._xs))
        rows = self._order[1][index * self._batch_size : (index + 1) * self._batch_size]
        return self._xs[rows], self._ts[rows]

    def state_dict(self) -> dict[str, int]:
        """The position, and the seed that the orders are drawn from."""
        return super().state_dict() | {"seed": self._seed}


class TextBatches(Batches):
    """Batches xs (N, T), ts (N, T) of a text for truncated BPTT; ts is the symbol after xs.

    Row i of every batch reads its own stream, which begins at ``i * ((len(ids) - 1) // N)`` and
    goes on from batch to batch, so that a stateful layer sees N long texts (the book, chapter
    5). As in the book, the streams also go on over the epochs, and around the end of the text.
    DataError when the text is shorter than one batch.
    """

    def __init__(self, ids: Ids, batch_size: int, time_size: int) -> None:
        _check_batch_size(batch_size)
        if time_size < 1:
            raise ValueError(f"TextBatches: time_size is {time_size}, wanted at least 1")
        places = len(ids) - 1  # the last symbol has no next one
        if places < batch_size * time_size:
            raise DataError(
                f"a text of {len(ids)} symbols is shorter than one batch: {batch_size} streams "
                f"of {time_size} steps need {batch_size * time_size + 1}"
            )
        super().__init__(places // (batch_size * time_size))
        self._ids, self._time_size, self._places = ids, time_size, places
        starts = np.arange(batch_size)[:, None] * (places // batch_size)
        self._first = starts + np.arange(time_size)

    def batch(self, epoch: int, index: int) -> tuple[Ids, Ids]:
        step = epoch * len(self) + index
        at = (self._first + step * self._time_size) % self._places
        xs, ts = (np.asarray(self._ids[i], np.int64) for i in (at, at + 1))
        forget(self._ids)
        return xs, ts


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, wanted at least 1")
