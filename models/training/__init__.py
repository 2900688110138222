"""Runs of training, and the models that they leave.

Imports run downwards: watch, ranks, config, inference, tasks, load, then log, signals, output, run.
"""

from .config import Config, PairsConfig, TextConfig, build_model, make_config
from .inference import Reader, Writer, perplexity
from .load import (
    BEST,
    MODEL,
    begin_with,
    data_there,
    load_config,
    load_model,
    load_task,
    model_file,
)
from .log import LOG
from .run import Run
from .signals import Interrupted
from .tasks import PairsTask, Task, TextTask, make_task

__all__ = [
    "BEST", "LOG", "MODEL", "Config", "Interrupted", "PairsConfig", "PairsTask", "Reader", "Run",
    "Task", "TextConfig", "TextTask", "Writer", "begin_with", "build_model", "data_there",
    "load_config", "load_model", "load_task", "make_config", "make_task", "model_file",
    "perplexity",
]  # fmt: skip
