"""The suite runs the library in its strictest mode; hypothesis repeats itself in CI.

Profiles: ``HYPOTHESIS_PROFILE=dev`` (default), ``ci`` (derandomized), ``few`` (with a sixth of the
examples: for one more Python or NumPy), ``long`` (many examples).
"""

import contextlib
import gc
import os
import signal

if "PYTEST_XDIST_WORKER" in os.environ:  # beside other workers, threads of BLAS wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import customs
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from tinygrad_rnn.jit import loops

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=30, **_common)
settings.register_profile("ci", max_examples=30, derandomize=True, **_common)
settings.register_profile("few", max_examples=5, derandomize=True, **_common)
settings.register_profile("long", max_examples=1000, **_common)
_profile = "ci" if "CI" in os.environ else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _profile))


# For daily work, ``pytest -m fast``: the mathematics, the layers against the hand-derived ones, and
# what a reader sees first. Chosen by their time; CONTRIBUTING.md says how long it takes.
FAST = {
    "test_address", "test_clipping", "test_draw", "test_functional", "test_losses", "test_manual",
    "test_manual_edges", "test_manual_formulas", "test_manual_on_tensors", "test_modules",
    "test_nn", "test_optim", "test_packaging", "test_pictures", "test_protocols", "test_readme",
    "test_schedules", "test_sequences", "test_sixty", "test_transforms", "test_writing",
}  # fmt: skip


# Searches over many layers, what is broken on purpose, what trains, is killed and goes on,
# notebooks and examples too, and what hangs neither on Python nor on NumPy: far more than half of
# the time, with the tests that are marked so where they stand. CI runs them with the first Python
# alone.
SLOW = {
    "test_benchmarks", "test_browser", "test_check_files", "test_check_forms",
    "test_check_mistakes", "test_check_mutants", "test_check_shown", "test_check_students",
    "test_command_line_interrupted", "test_command_line_odd", "test_cores", "test_device",
    "test_device_jit", "test_examples", "test_jit_breaks", "test_jit_lanes", "test_jit_team",
    "test_large_text", "test_memory_and_depth", "test_notebooks", "test_plots",
    "test_reliability", "test_structure", "test_sweep", "test_training", "test_wasi",
}  # fmt: skip


def pytest_addoption(parser):
    parser.addoption("--device", action="store_true",
                     help="tests of whole files on arrays that are not NumPy's; tests/customs.py")


def pytest_configure(config):
    if config.option.device:
        settings.register_profile("device", settings.get_profile("few"), phases=[Phase.generate])
        settings.load_profile("device")
        customs.open_doors()


def pytest_ignore_collect(collection_path, config):
    """Importing the others, with all that they import, would take longer than the fast ones run."""
    name, which = collection_path.stem, config.option.markexpr
    files = customs.FILES if config.option.device else FAST if which == "fast" else {name}
    left_out = name not in files or (which == "not slow" and name in SLOW)
    return True if left_out and name.startswith("test_") else None


def pytest_collection_modifyitems(config, items):
    if config.option.device:
        exempt = [i for i in items if i.name.startswith(tuple(customs.EXEMPT))]
        config.hook.pytest_deselected(items=exempt)
        items[:] = [i for i in items if i not in exempt]
    for item in items:
        assert " at 0x" not in item.nodeid, f"another name in each process: {item.nodeid}"
        for mark, files in (("fast", FAST), ("slow", SLOW)):
            if item.path.stem in files:
                item.add_marker(mark)


def pytest_collection_finish(session):
    """What stands now stays: collections of garbage, of which tests ask for many, skip it."""
    gc.freeze()


@pytest.fixture(autouse=True)
def strict_floating_point():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


@pytest.fixture(autouse=True)
def searches_do_not_fail(request, monkeypatch):
    """What is raised while a cause is looked for ends the test, and is no note in a report."""
    if request.module.__name__.startswith("test_check"):
        from tinygrad_rnn.check import layer
        monkeypatch.setattr(layer, "_search", lambda report: contextlib.nullcontext())


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, which it does not in a process that a shell has started in
    the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def eager_to_fuse(monkeypatch, tmp_path):
    """Chains of any size become loops, kept in a folder of this test."""
    monkeypatch.setattr(loops, "MANY", 1)
    monkeypatch.setattr(loops, "WORTH", 0)
    monkeypatch.setattr(loops, "cache_folder", lambda: tmp_path)
    loops.load.cache_clear()
    yield tmp_path
    loops.load.cache_clear()


@pytest.fixture
def as_python(eager_to_fuse, monkeypatch):
    """The loops run as Python: what is in them, without the time to compile it."""
    monkeypatch.setattr(loops, "PRELUDE", loops.PRELUDE.replace(
        "from numba import njit", "njit = lambda **options: lambda function: function"))
