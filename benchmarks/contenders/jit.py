"""This project, the same step under ``tg.jit``."""

import contextlib

import tinygrad_rnn as tg

with contextlib.suppress(ImportError):
    import numba  # noqa: F401  (memory is counted from the imports on)

from . import eager


class Contender(eager.Contender):
    recorded_at = 3  # calls: without a state, with one, and once more to compare

    def __init__(self, workload, dropout):
        super().__init__(workload, dropout)
        self.train = tg.jit(self.train)
