"""The suite runs the library in its strictest mode; hypothesis repeats itself in CI.

Profiles: ``HYPOTHESIS_PROFILE=dev`` (default), ``ci`` (derandomized), ``few`` (with a sixth of the
examples: for one more Python or NumPy), ``long`` (many examples).
"""

import os
import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=30, **_common)
settings.register_profile("ci", max_examples=30, derandomize=True, **_common)
settings.register_profile("few", max_examples=5, derandomize=True, **_common)
settings.register_profile("long", max_examples=1000, **_common)
_profile = "ci" if "CI" in os.environ else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _profile))


@pytest.fixture(autouse=True)
def strict_floating_point():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, which it does not in a process that a shell has started in
    the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
