"""The command line with a fault in it, for test_ranks.py: ``faulty.py FAULT RANK STEP arguments``;
rank RANK meets the fault in its step STEP."""

import os
import signal
import sys
import time

import numpy as np

from models.commands.main import main
from models.training import Run
from tinygrad_rnn import distributed

FAULT, RANK, STEP = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def weights_of(run):
    return run.task.model.parameters()[0].data


FAULTS = {
    "dies": lambda run: os.kill(os.getpid(), signal.SIGKILL),
    "stops": lambda run: os.kill(os.getpid(), signal.SIGSTOP),
    "sleeps": lambda run: time.sleep(1000),
    "raises": lambda run: {}["a mistake"],
    "nan": lambda run: np.copyto(weights_of(run), np.nan),
    "flips": lambda run: np.copyto(weights_of(run)[-1:], weights_of(run)[-1:] + 1e-7),
    "interrupted": lambda run: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)],
    "terminated": lambda run: os.kill(os.getpid(), signal.SIGTERM),
}
original = Run._one_step


def step(self, xs, ts):
    if (distributed.rank(), self.step + 1) == (RANK, STEP):
        FAULTS[FAULT](self)
    return original(self, xs, ts)


Run._one_step = step
sys.exit(main(sys.argv[4:]))
