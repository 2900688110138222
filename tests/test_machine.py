"""``tinygrad-rnn info`` and the choice of OpenBLAS's kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.commands import machine
from models.commands.main import main

AVX512 = {"avx2", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def finds(monkeypatch):
    """Let machine.py find this CPU, these kernels of OpenBLAS, and this environment."""

    def setting(flags, kernels, given=None, api="openblas", threads=2, timeout=None):
        monkeypatch.setattr(machine, "cpu", lambda: ("Some CPU", flags))
        found = {"user_api": "blas", "internal_api": api, "version": "1", "num_threads": threads,
                 "architecture": kernels, "filepath": "numpy.libs"}  # fmt: skip
        monkeypatch.setattr(machine, "blas", lambda: found)
        monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
        if given:
            monkeypatch.setenv("OPENBLAS_CORETYPE", given)
        monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
        if timeout:
            monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", timeout)

    return setting


@pytest.fixture
def started(monkeypatch):
    """The programs that would have been started in place of this one."""
    programs = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: programs.append(arguments))
    return programs


def test_the_command_line_starts_again_with_the_kernels_of_the_cpu(finds, started, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "tinygrad_rnn", "info"])
    finds(AVX512, "Haswell")
    machine.tune_blas()
    assert started == [[sys.executable, "-m", "tinygrad_rnn", "info"]]
    assert os.environ["OPENBLAS_CORETYPE"] == "SkylakeX"
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "20"
    machine.tune_blas()
    assert len(started) == 1  # and only once


@pytest.mark.parametrize("flags, kernels, given", [
    (AVX512, "SkylakeX", None), (AVX512, "Cooperlake", None), (AVX512, "Haswell", "Haswell"),
    (AVX512 - {"avx512dq"}, "Haswell", None), ({"avx2"}, "Zen", None), (set(), "armv8", None),
])  # fmt: skip
def test_threads_that_spin_for_too_long_are_told_to_sleep(finds, started, flags, kernels, given):
    finds(flags, kernels, given)
    machine.tune_blas()
    assert len(started) == 1 and os.environ["OPENBLAS_THREAD_TIMEOUT"] == "20"
    assert os.environ.get("OPENBLAS_CORETYPE") == given


@pytest.mark.parametrize("found", [
    (AVX512, "Haswell", None, "mkl"), (AVX512, "SkylakeX", None, "openblas", 1),
    (AVX512, "Haswell", "Haswell", "openblas", 2, "26"),
])  # fmt: skip
def test_otherwise_nothing_is_started_and_nothing_set(finds, started, found):
    finds(*found)
    before = dict(os.environ)
    machine.tune_blas()
    assert not started and dict(os.environ) == before


def test_info_says_what_is_there_and_what_would_be_faster(finds, capsys):
    finds(AVX512, "Haswell", "Haswell")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "Some CPU" in out and "AVX-512" in out
    assert "Haswell kernels (OPENBLAS_CORETYPE), 2 threads" in out
    assert "OPENBLAS_CORETYPE=Haswell was set: SkylakeX is faster" in out
    finds(AVX512, "SkylakeX")
    main(["info"])
    assert "OPENBLAS_CORETYPE" not in capsys.readouterr().out


def test_info_on_this_machine(capsys):
    main(["info"])
    out = capsys.readouterr().out
    assert "NumPy" in out and "CPU" in out and "BLAS" in out


def test_the_library_leaves_the_environment_alone():
    code = """
import os
before = dict(os.environ)
import tinygrad_rnn as tg
tg.nn.LSTM(2, 3)
assert dict(os.environ) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_program_runs_with_whatever_kernels_it_chose():
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    out = subprocess.run([sys.executable, "-m", "tinygrad_rnn", "info"], cwd=ROOT, check=True,
                         env=environment, capture_output=True, text=True).stdout  # fmt: skip
    assert "BLAS" in out and "was set" not in out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, as Linux has it")
def test_memory_freed_with_a_graph_is_kept_for_the_next_step():
    """And nothing is asked of the allocator before there is a graph, or where the user has."""
    code = """
import ctypes, resource, sys
import numpy as np
import tinygrad_rnn as tg
if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit()
from tinygrad_rnn import speed
assert speed.keep_freed_memory.cache_info().misses == 0
x = tg.Tensor(np.ones((100, 10_000)), requires_grad=True)

def step():
    y = x
    for _ in range(20):
        y = np.tanh(y)
    y.sum().backward()
    x.grad = None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

step()
before = step()
print((step() - before) * resource.getpagesize())
"""
    run = [sys.executable, "-c", code]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    kept, tuned = (int(subprocess.run(run, env=env, cwd=ROOT, check=True, capture_output=True,
                                      text=True).stdout or 0)
                   for env in (clean, {**clean, "MALLOC_TRIM_THRESHOLD_": "0"}))  # fmt: skip
    assert kept < 20e6 and tuned >= kept  # of 160 MB that a step makes
