"""Programs on several ranks: a real mpiexec, that of PyPI's mpich where it is installed."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def mpi():
    """The launcher, and what mpi4py must be told: PyPI's mpich where it is installed, wherever."""
    pytest.importorskip("mpi4py")
    try:
        files = {file.name: Path(file.locate()).resolve()
                 for file in importlib.metadata.files("mpich") or []}
        return str(files["mpiexec"]), {"LD_LIBRARY_PATH": str(files["libmpi.so"].parent)}
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return shutil.which("mpiexec") or pytest.skip("there is no mpiexec"), {}


def start(k, *words, **options):
    mpiexec, told = mpi()
    environment = {**os.environ, **told, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                   "PYTHONPATH": str(HERE.parent)}
    return subprocess.Popen(
        [mpiexec, "-n", str(k), sys.executable, *map(str, words)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )
