"""The benchmark times nothing that is wrong: all contenders give the same loss and gradients."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.contenders import NEEDS
from benchmarks.workloads import WORKLOADS

SMALL = {"N": 4, "T": 5, "D": 6, "H": 6, "V": 11}


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("name", [n for n in NEEDS if n != "manual"])
def test_contenders_agree_with_the_hand_written_layers(name, workload):
    for module in NEEDS[name]:
        pytest.importorskip(module, reason=f"{module} is not installed")
    w = WORKLOADS[workload]
    w = replace(w, **SMALL, Ty=3 if w.seq2seq else 0, lr=0.1)
    runs = [importlib.import_module(f"benchmarks.contenders.{n}").Contender(w, 0.0)
            for n in ("manual", name)]  # fmt: skip
    (loss, gradients), (other, others) = (run.loss_and_gradients() for run in runs)
    assert_allclose(other, loss, rtol=1e-5)
    assert others.keys() == gradients.keys() == w.shapes().keys()
    for key, g in gradients.items():
        assert_allclose(others[key], g, rtol=1e-3, atol=1e-6, err_msg=key)
    losses = [[float(np.asarray(run.step())) if n == "manual" else float(run.step().item())
               for _ in range(6)] for n, run in zip(("manual", name), runs, strict=True)]
    assert_allclose(losses[1], losses[0], rtol=2e-4)  # the updates are the same, too
    assert losses[0][-1] < losses[0][0]


def test_the_command_writes_its_figures(tmp_path):
    """No assertion on any time: only that all is measured, printed and written."""
    pytest.importorskip("matplotlib")
    root = Path(__file__).resolve().parent.parent
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks", "addition", "--quick", "--only", "eager", "--no-micro",
         "--threads", "1", "--seconds", "0.02", "--json", str(tmp_path / "b.json"), "--chart",
         str(tmp_path / "b.png")],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "addition: N 128" in out.stdout and "/ manual" in out.stdout
    result = json.loads((tmp_path / "b.json").read_text())
    figures = result["workloads"]["addition"]
    assert result["machine"]["threads"] == 1 and figures["floor_ms"] > 0
    assert set(figures["contenders"]) == {"eager", "manual"}
    for run in figures["contenders"].values():
        assert {"median_ms", "min_ms", "peak_mb"} <= run.keys()
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_the_model_of_several_ranks():
    from benchmarks import ranks

    result = {"rows": 16, "bytes": 8_000_000,
              "copies_ms": 8.0, "ms": {"one thread": 33.0, "half": 17.0, "quarter": 9.0}}
    fit = ranks.fitted(result)
    assert fit["a"] == pytest.approx(1e-3) and fit["b"] == pytest.approx(2e-3)
    assert fit["c"] == pytest.approx(1e-9)
    step = ranks.modelled(fit, 16, 8_000_000, 4, 1e9, 1e-4)
    assert step == pytest.approx(9e-3 + 8e-3 + 4e-4 + 1.5 * 64e6 / 1e9)
    fast = ranks.pays(fit, result, 1e15, 0.0, grows=False)
    assert list(fast) == [1, 2, 4, 8, 16]  # no more machines than rows
    assert ranks.stops({1: 1.0, 2: 1.9, 4: 2.0, 8: 2.9}) == 2
    assert ranks.stops({1: 1.0, 2: 2.0}) == 2


def test_cells_of_ones_own_are_compared_when_they_agree():
    from benchmarks import cells

    for kind in ("minimal gated", "sLSTM"):
        row = cells.training(kind, (2, 3, 4), ["tg.jit", "eager"], 1)
        assert row.startswith(f"| {kind} | ") and row.count("(1.00; ") >= 1
    assert cells.long(9, ["eager"]).startswith("| 9 | ")
    assert cells.generation(8, 1, torch=False).count("|") == 4
