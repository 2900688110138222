"""How many threads are used: never more than the process may use cores; on any, equal numbers."""

import os

import numpy as np
import pytest
from steps import step_of

import tinygrad_rnn as tg
from models import AttentionSeq2seq, BetterRnnlm
from tinygrad_rnn import cores, nn, optim
from tinygrad_rnn.jit import blocks, jitted, lanes, products


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores, of which a process may use some."""
    def there(count, bound=None, usable=None, granted=()):
        monkeypatch.setattr(os, "cpu_count", lambda: count)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(bound or count), raising=False)
        monkeypatch.setattr(os, "process_cpu_count", lambda: usable or count, raising=False)
        monkeypatch.setattr(cores, "quotas", lambda: list(granted))
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        cores._default.cache_clear()

    monkeypatch.setattr(cores, "_chosen", None)
    yield there
    cores._default.cache_clear()


@pytest.mark.parametrize("about, found", [
    ({"count": 8}, 8), ({"count": 8, "bound": 3}, 3), ({"count": 8, "usable": 2}, 2),
    ({"count": 8, "granted": [2.5]}, 2), ({"count": 8, "granted": [0.5]}, 1),
    ({"count": 8, "granted": [16.0, 6.0]}, 6),
])  # fmt: skip
def test_no_more_cores_than_the_process_may_use(about, found, machine):
    machine(**about)
    assert cores.available() == found == tg.get_num_threads()
    assert tg.set_num_threads(100) == found == tg.get_num_threads()
    assert tg.set_num_threads(1) == 1 == tg.get_num_threads()


def test_the_environment_may_ask_for_fewer(machine, monkeypatch):
    machine(8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert tg.get_num_threads() == 3
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "many")
    cores._default.cache_clear()
    assert tg.get_num_threads() == 3
    assert tg.set_num_threads(5) == 5


@pytest.mark.parametrize("n, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError),
                                      ("2", TypeError)])  # fmt: skip
def test_what_is_no_number_of_threads(n, error, machine):
    machine(8)
    with pytest.raises(error, match="set_num_threads: "):
        tg.set_num_threads(n)


@pytest.mark.parametrize("lines, files, found", [
    ("0::/a/b\n", {"a/b/cpu.max": "150000 100000", "a/cpu.max": "max 100000"}, [1.5]),
    ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000"}, [4.0]),
    ("0::/of/the/host\n", {"cpu.max": "200000 100000"}, [2.0]),  # as a container sees it
    ("3:cpu,cpuacct:/x\n0::/\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000",
                                  "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, [0.5]),
    ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, []),
    ("0::/a\n", {"a/cpu.max": "what is this"}, []), ("5:memory:/a\n", {}, []), ("", {}, []),
])  # fmt: skip
def test_quotas_of_control_groups(lines, files, found, tmp_path):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    (tmp_path / "groups").write_text(lines)
    assert cores.quotas(str(tmp_path / "groups"), str(tmp_path)) == found


def test_no_control_groups(tmp_path):
    assert cores.quotas(str(tmp_path / "none")) == []


@pytest.fixture
def eight(machine, monkeypatch):
    """Eight cores, and everything is worth lanes."""
    machine(8)
    monkeypatch.setattr(jitted, "takes_blocks", lambda: True)
    for module, name in ((lanes, "WORTH"), (products, "WORTH"), (blocks, "SMALL")):
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(products, "WIDTHS", range(1, 66))
    monkeypatch.setattr(products, "HEIGHT", 1)
    monkeypatch.setattr(lanes, "MOST", 8)


@pytest.mark.parametrize("make", [
    lambda: BetterRnnlm(9, 8, 8, dtype=float),
    lambda: AttentionSeq2seq(9, 8, 8, True, input_feeding=True, dtype=float)])  # fmt: skip
def test_models_train_the_same_on_any_number_of_lanes(make, eight):
    trained = []
    for n in (1, 3, 8):
        tg.set_num_threads(n)
        tg.manual_seed(1)
        model, rng = make(), np.random.default_rng(0)
        adam = optim.Adam(model.parameters(), 0.01)
        step = tg.jit(step_of(model, adam))
        for _ in range(4):
            step(*rng.integers(0, 9, (2, 17, 5)))
        assert n == 1 + max((call.lane[1] for call in step._last.program.tape.calls if call.lane),
                            default=0)
        trained.append(model.state_dict())
    for name, alone in trained[0].items():
        for found in trained[1:]:
            np.testing.assert_allclose(found[name], alone, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_any_number_of_lanes_gives_equal_numbers(kind, eight):
    rng = np.random.default_rng(0)
    layer = kind(3, 8, dtype=np.float64, rng=rng)
    xs = rng.normal(size=(17, 5, 3))

    @tg.jit
    def step(xs):
        hs, _ = layer(xs)
        loss = (hs * hs).sum()
        layer.zero_grad()
        loss.backward()
        return loss, [p.grad.numpy() for p in layer.parameters()]

    found, used = {}, {}
    for n in (1, 2, 3, 4, 8, 2):  # back to one that is recorded already
        tg.set_num_threads(n)
        for _ in range(3):
            found[n] = step(xs)
        used[n] = 1 + max((call.lane[1] for call in step._last.program.tape.calls if call.lane),
                          default=0)
    assert used == {1: 1, 2: 2, 3: 3, 4: 4, 8: 8}
    for loss, grads in found.values():
        assert loss.item() == pytest.approx(found[1][0].item(), rel=1e-14)
        for g, alone in zip(grads, found[1][1], strict=True):
            np.testing.assert_allclose(g, alone, rtol=1e-12, atol=1e-14)
