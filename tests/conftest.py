"""The suite runs the library in its strictest mode; hypothesis repeats itself in CI.

Profiles: ``HYPOTHESIS_PROFILE=dev`` (default), ``ci`` (derandomized), ``long`` (many examples).
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=30, **_common)
settings.register_profile("ci", max_examples=30, derandomize=True, **_common)
settings.register_profile("long", max_examples=1000, **_common)
_profile = "ci" if "CI" in os.environ else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _profile))


@pytest.fixture(autouse=True)
def strict_floating_point():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield
