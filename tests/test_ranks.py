"""The command line on several ranks: the numbers of one, resumed on any number, and its end."""

import json
import socket
import threading

import numpy as np
import pytest
from launch import HERE, start

from models.commands.main import main
from models.data import make_dates
from models.files import checkpoint
from models.training import LOG, MODEL, watch

for _name in ("tqdm", "safetensors", "matplotlib"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install tinygrad-rnn[models]")

WORDS = "the cat sat on the mat and the dog sat on the log\n"
TEXT = ["--level", "char", "--model", "better", "--hidden", "8", "--batch-size", "7",
        "--time-size", "5", "--dtype", "float64"]  # dropout, two layers that carry states
DATES = ["--hidden", "8", "--batch-size", "7", "--dtype", "float64", "--teacher-forcing", "0.5",
         "--input-feeding"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "words.txt").write_text(WORDS * 12, encoding="utf-8")
    pairs = make_dates(90)
    lines = [x + t for x, t in zip(pairs.inputs, pairs.answers, strict=True)]
    (folder / "dates.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def text(data, out, steps, *more):
    return ["train", "text", data / "words.txt", *TEXT, "--steps", steps, "--out", out, *more]


def dates(data, out, steps):
    return ["train", "date", "--data", data / "dates.txt", *DATES, "--steps", steps, "--out", out,
            "--no-jit"]


def alone(arguments):
    assert main([str(word) for word in arguments]) == 0


def ranks(k, arguments):
    process = start(k, "-m", "tinygrad_rnn", *arguments)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, out + errors
    return out


def same(a, b):
    """Two runs have the same numbers, to rounding, and are at one place."""
    (first, about), (second, other) = (checkpoint.load(run / MODEL) for run in (a, b))
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype == np.float64
        assert np.abs(array - second[name]).max() < 1e-12, name
    for one in (about["training"], other["training"]):
        del one["seconds"]
        losses = [one.pop("epoch_loss"), *one.pop("recent")]
        one["losses"] = [round(x, 9) for x in losses]
        one["best"] = one["best"] and round(one["best"], 9)
    assert about == other
    records = [[json.loads(line) for line in (run / LOG).read_text().splitlines()]
               for run in (a, b)]
    for one, two in zip(*records, strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"seconds", "tokens_per_second"}:
            assert one[name] == pytest.approx(two[name], rel=1e-9)


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    alone(text(data, folder / "text", 50))
    alone(dates(data, folder / "dates", 24))
    return folder


@pytest.mark.parametrize("k", [2, 3, 4])
def test_ranks_train_as_one_process_does(k, data, one, tmp_path):
    told = ranks(k, text(data, tmp_path, 50))  # 7 rows: uneven shares
    same(tmp_path, one / "text")
    assert told.count("The model is in") == 1


def test_pairs_too(data, one, tmp_path):
    ranks(3, dates(data, tmp_path, 24))
    same(tmp_path, one / "dates")


def test_a_run_goes_on_with_any_number_of_ranks(data, one, tmp_path):
    ranks(3, text(data, tmp_path, 20))
    alone(["train", "text", "--resume", tmp_path, "--steps", 40])
    ranks(4, ["train", "text", "--resume", tmp_path, "--steps", 50])
    same(tmp_path, one / "text")


def faulty(fault, data, out, k=3):
    """Status, and what was said, of a run whose rank 1 meets the fault in step 30."""
    process = start(k, HERE / "faulty.py", fault, 1, 30,
                    *text(data, out, 100, "--no-jit", "--rank-timeout", "2s"))
    _, said = process.communicate(timeout=120)
    return process.returncode, [line for line in said.splitlines() if "tinygrad-rnn:" in line]


def saved_at(out):
    return checkpoint.load(out / MODEL)[1]["training"]["step"]


def test_a_rank_that_dies_ends_all(data, tmp_path):
    status, said = faulty("dies", data, tmp_path)
    assert status and saved_at(tmp_path) == 15  # the end of the first epoch
    assert len(said) == 1
    assert "has died, so all ranks end" in said[0] and "keeps the last good state" in said[0]


def test_a_rank_that_hangs_ends_all(data, tmp_path):
    status, said = faulty("stops", data, tmp_path)
    assert status and saved_at(tmp_path) == 15
    assert len(said) == 1 and "rank 1 (process " in said[0] and "has not answered" in said[0]


def test_nan_on_one_rank_ends_all(data, tmp_path):
    status, said = faulty("nan", data, tmp_path)
    assert status == 1 and saved_at(tmp_path) == 15
    assert len(said) == 1 and "step 30 (epoch 2): the loss of rank 1 is nan" in said[0]


def test_parameters_that_are_not_everybodys_end_all(data, tmp_path):
    status, said = faulty("flips", data, tmp_path)
    assert status == 1 and saved_at(tmp_path) == 15
    assert len(said) == 1 and "after step 30 the parameters of rank 1 are not" in said[0]


def test_a_mistake_on_one_rank_ends_all(data, tmp_path):
    status, said = faulty("raises", data, tmp_path)
    assert status and saved_at(tmp_path) == 15
    assert len(said) == 1 and "rank 1: a mistake of this program" in said[0]


@pytest.mark.parametrize("fault, expected", [("interrupted", 130), ("terminated", 143)])
def test_a_signal_to_one_rank_saves_once_and_ends_all(fault, expected, data, tmp_path):
    status, said = faulty(fault, data, tmp_path)
    assert (status, saved_at(tmp_path)) == (expected, 30)
    assert len(said) == 1 and "stopped and saved after step 30 of 100" in said[0]


def test_more_ranks_than_rows(data, tmp_path):
    process = start(3, "-m", "tinygrad_rnn", *text(data, tmp_path, 9), "--batch-size", "2")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.count("a batch of 2 rows has none for some of 3 ranks") == 1


# ---- when a rank is said to hang: without ranks, at made-up times ----


def observed(arrived, moved, heard=0.0, busy=False, now=100.0):
    ranks = []
    for r, n in enumerate(arrived):
        rank = watch.Watched(r, "process 1 on here")
        rank.arrived, rank.moved, rank.heard, rank.longest = n, now - moved[r], now - heard, 1.0
        rank.busy = busy and r == 1
        ranks.append(rank)
    return watch.silent(ranks, 10.0, now)


def test_who_keeps_the_others_waiting_hangs():
    assert "rank 1 (process 1 on here) hangs" in observed([51, 50, 51], [14, 20, 15])
    assert observed([51, 50, 51], [12, 20, 12]) is None  # for 12 s, and 13 may be
    assert observed([51, 50, 51], [60, 60, 60], busy=True) is None  # it writes, or measures
    assert observed([50, 50, 50], [60, 60, 60]) is None  # all compute, or all wait
    assert observed([6, 5, 6], [60, 60, 60]) is None  # the first steps are recorded
    assert "has not answered for 10 s" in observed([51, 51, 51], [1, 1, 1], heard=11)


@pytest.mark.parametrize("rank, word, said", [(0, b"end\n", 0), (1, b"end\n", 0), (0, b"", 1),
                                              (1, b"", 0)])  # fmt: skip
def test_when_the_watcher_has_died_one_rank_says_so(rank, word, said, capfd):
    server, lines = socket.create_server(("127.0.0.1", 0)), []

    def answer():
        for _ in range(2):
            lines.append(server.accept()[0])
            lines[-1].sendall(watch.SEEN)

    answering, ended = threading.Thread(target=answer), threading.Event()
    answering.start()
    line = watch.Line(rank, ["127.0.0.1"], server.getsockname()[1], "", 5.0, lambda: 1, ended.set)
    answering.join()
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        option = line._beats.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert option == 5000
    lines[0].sendall(word)
    lines[0].shutdown(socket.SHUT_WR)
    assert ended.wait(60)
    for one in (*lines, server, line._beats, line._life):
        one.close()
    assert capfd.readouterr().err.count("no longer reaches the process that watches") == said


def test_the_watcher_is_sought_under_all_addresses_of_its_machine(monkeypatch):
    class End:
        def __init__(self, answer):
            self.answer, self.closed = answer, False

        def sendall(self, _):
            pass

        def recv(self, n):
            return self.answer[:n]

        def close(self):
            self.closed = True

    ends = {"another": End(b"what?"), "10.0.0.1": End(watch.SEEN)}

    def connect(address, timeout):
        if address[0] not in ends:
            raise OSError("the name is not known")
        return ends[address[0]]

    monkeypatch.setattr(watch.socket, "create_connection", connect)
    assert watch._connected(["unknown", *ends], 1, {}) is ends["10.0.0.1"]
    assert ends["another"].closed
    with pytest.raises(OSError, match="no watcher"):
        watch._connected(["unknown", "another"], 1, {})


def test_addresses_of_this_machine():
    name, *others = watch.addresses()
    assert name and all(other.count(".") == 3 for other in others)
