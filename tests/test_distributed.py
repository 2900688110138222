"""Several processes give the numbers of one: run by a real mpiexec, that of PyPI's mpich."""

import os
import subprocess
import sys

import numpy as np
import pytest
import ranks
from launch import HERE, start

import tinygrad_rnn as tg
from tinygrad_rnn import distributed


def run(k, job, folder):
    """What each of k ranks found."""
    process = start(k, HERE / "ranks.py", job, folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return [dict(np.load(folder / f"{job}.{k}.{r}.npz")) for r in range(k)]


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_ranks_give_the_numbers_of_one_process(k, jit, tmp_path):
    alone = ranks.train()
    first, *others = run(k, "jit" if jit else "eager", tmp_path)  # 7 rows: uneven shares
    for name, value in alone.items():
        assert np.abs(first[name] - value).max() < 1e-12, name
        assert all((other[name] == first[name]).all() for other in others), name


def test_batches_of_several_sizes_and_ranks_without_a_row(tmp_path):
    alone = ranks.train(rows=(5, 6, 5, 7, 1), steps=25)
    for job in ("sizes", "sizes_jit"):
        for found in run(3, job, tmp_path):
            for name, value in alone.items():
                assert np.abs(found[name] - value).max() < 1e-12, (job, name)


def test_errors_are_raised_and_weights_weigh(tmp_path):
    for r, found in enumerate(run(3, "errors", tmp_path)):
        assert "parameter 0 has a gradient on 1 of 3 ranks" in str(found["some"])
        assert ("shapes" in found) == (r > 0)
        assert (found["weighed"] == np.float32(5 / 3)).all()  # (0 0 + 1 1 + 2 2) / 3
        assert found["half"].dtype == np.float16
        assert (found["half"] == 1).all()


def test_a_rank_that_raises_ends_all(tmp_path):
    process = start(2, HERE / "ranks.py", "dies", tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "rank 1 has had enough" in errors


def test_alone_nothing_is_imported_and_nothing_is_done():
    program = ("import sys, tinygrad_rnn as tg; p = tg.nn.Parameter([1.0]); p.grad = [2.0];"
               "tg.distributed.average_gradients([p]);"
               "assert tg.distributed.size() == 1 and p.grad.item() == 2;"
               "assert tg.distributed.shard(sys) is sys;"
               "assert not any(m.startswith('mpi4py') for m in sys.modules)")
    clean = {k: v for k, v in os.environ.items() if k not in distributed.LAUNCHED}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=clean)


def test_started_by_mpi_without_mpi4py_it_says_what_to_install():
    program = ("import sys; sys.modules['mpi4py'] = None; import tinygrad_rnn as tg\n"
               "try: tg.distributed.rank()\n"
               "except ImportError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", program], check=True, text=True,
                          capture_output=True, env={**os.environ, "PMI_RANK": "0"})
    assert "pip install 'tinygrad-rnn[mpi]'" in done.stdout


def shards(monkeypatch, k, batch):
    monkeypatch.setattr(distributed, "size", lambda: k)
    for r in range(k):
        monkeypatch.setattr(distributed, "rank", lambda r=r: r)
        yield distributed.shard(batch)


@pytest.mark.parametrize("k", [2, 3, 4, 8])
@pytest.mark.parametrize("N", [1, 3, 7, 12])
def test_shares_are_the_batch_and_differ_by_one_row_at_most(monkeypatch, k, N):
    xs = np.arange(2 * N).reshape(N, 2)
    parts = list(shards(monkeypatch, k, {"x": xs, "more": [tg.Tensor(xs), (3.0, None)]}))
    assert (np.concatenate([part["x"] for part in parts]) == xs).all()
    assert (np.concatenate([part["more"][0].numpy() for part in parts]) == xs).all()
    assert all(part["more"][1] == (3.0, None) for part in parts)
    assert len({len(part["x"]) for part in parts}) <= 2


def test_arrays_of_several_lengths_are_an_error():
    with pytest.raises(ValueError, match=r"arrays of \[2, 3\] rows"):
        distributed.shard((np.ones(2), np.ones(3)))
