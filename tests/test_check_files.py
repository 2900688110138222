"""check, where files really are: in repositories, notebooks, folders; and whatever they do."""

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tinygrad_rnn.check import LoadError, check, check_file, worker
from tinygrad_rnn.check.loading import Program, folders_of

REPOSITORY = Path(__file__).parent / "checked" / "repository"


def command(*arguments, cwd=None, stdin=None):
    return subprocess.run([sys.executable, "-m", "tinygrad_rnn", "check", *map(str, arguments)],
                          capture_output=True, text=True, timeout=120, check=False, cwd=cwd,
                          input=stdin)


def written(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


SCALE = """\
    class {name}:
        def forward(self, x):
            return {forward}

        def backward(self, dout):
            return {backward}
    """


def scale(name="Scale", forward="2 * x", backward="2 * dout"):
    return SCALE.format(name=name, forward=forward, backward=backward)


# --- a repository --------------------------------------------------------------------------------


def verdicts(path, **options):
    return {r.name: r.verdict for r in check_file(path, **options)}


def test_modules_are_found_as_the_author_finds_them():
    found = verdicts(REPOSITORY / "ch02" / "train_layers.py")
    assert found == {"Gate": "ok", "Loss": "convention", "Shifted": "ok"}


def test_a_relative_and_an_absolute_path_are_the_same(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    there = command("ch02/train_layers.py", cwd=REPOSITORY).stdout
    assert there == command(REPOSITORY / "ch02" / "train_layers.py", cwd="/").stdout
    assert there == command("train_layers.py", cwd=REPOSITORY / "ch02").stdout
    assert "epsilon" in there


def test_a_package_with_relative_imports():
    assert verdicts(REPOSITORY / "package" / "layers" / "gates.py") == {"Twice": "ok"}


def test_a_file_with_the_name_of_its_package(tmp_path):
    """net/net.py hides the package net from what stands in net/, unless what is asked for tells
    them apart."""
    def layer(name):
        return textwrap.dedent(scale(name, "One().forward(x)"))

    folder = written(tmp_path, {
        "net/net.py": "from net.parts.one import One\n" + layer("Net"),
        "net/parts/one.py": scale("One"),
        "net/parts/two.py": "from net.parts.one import One\n" + layer("Two"),
    })
    (folder / ".git").mkdir()
    assert verdicts(folder / "net/net.py") == {"Net": "ok"}
    assert verdicts(folder / "net/parts/two.py") == {"Two": "ok"}


@pytest.mark.parametrize("encoding, word", [("cp949", "순환 신경망"), ("cp932", "ｿﾌﾄﾏｯｸｽ")])
def test_a_file_in_the_encoding_of_a_system(encoding, word, tmp_path):
    """Python does not read it, and its lines stand in the report all the same."""
    text = f"# {word}\n" + textwrap.dedent(scale(backward="3 * dout"))
    (tmp_path / "old.py").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    (report,) = check_file(tmp_path / "old.py")
    assert report.verdict == "wrong" and report.line == 7, str(report)
    assert f"it was read as {encoding}" in str(report)


def test_python_2_is_called_so(tmp_path):
    (tmp_path / "old.py").write_text(textwrap.dedent(scale()) + 'print "x"\n')
    with pytest.raises(LoadError, match="Python 2, which Python 3 does not run"):
        check_file(tmp_path / "old.py")


def test_a_name_that_is_not_there_since_its_data_are_not(tmp_path):
    (tmp_path / "late.py").write_text(
        "text = open('not_there.txt').read()\nsize = len(text)\n"
        + textwrap.dedent(scale(forward="size * x")))
    (report,) = check_file(tmp_path / "late.py")
    assert report.verdict == "unchecked"
    assert "size is not defined: `text = open('not_there.txt').read()`" in str(report)


def test_annotations_that_are_read_later(tmp_path):
    text = textwrap.dedent(scale()).replace("forward(self, x)", "forward(self, x: Scale)")
    (tmp_path / "noted.py").write_text("from __future__ import annotations\n" + text)
    assert verdicts(tmp_path / "noted.py") == {"Scale": "ok"}


def test_what_a_library_can_do_without_has_no_stand_in(tmp_path):
    """A stand-in for what an installed library asks for, and is not there, would break it."""
    folder = written(tmp_path, {
        "site/library/__init__.py": """\
            factor = 2
            try:
                from . import not_there
                factor = 3
            except ImportError:
                pass
            try:
                import not_there_at_all
                factor = 3
            except ImportError:
                pass
            """,
        "layers.py": "import library\n" + textwrap.dedent(
            scale(forward="library.factor * x"))})
    path = f"{folder / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    (folder / ".git").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_rnn", "check", "layers.py"], cwd=folder, text=True,
        capture_output=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stdout


def test_nothing_of_ours_stands_in_the_names_of_a_module():
    program = Program(REPOSITORY / "ch02" / "train_layers.py")
    names = {k for k in vars(program.modules["common.np"]) if not k.startswith("__")}
    assert names == {"GPU", "np"}
    assert not {"common", "common.layers", "common.functions"} & set(sys.modules)


def test_only_what_is_missing_has_a_stand_in(tmp_path):
    written(tmp_path, {"ch01/a.py": "from common.functions import sigmoid\n"
                       "from common.layers import Affine\n" + textwrap.dedent(scale(
                           "Gate", "sigmoid(x)", "dout * sigmoid(2)")),
                       "common/functions.py": "import numpy as np\ndef sigmoid(x):\n"
                                              "    return x * 2\n"})
    (report,) = check_file(tmp_path / "ch01" / "a.py")
    assert any("common.layers is not found" in note for note in report.notes)
    assert not any("common.functions" in note for note in report.notes)


def test_old_numpy_and_cupy(tmp_path):
    written(tmp_path, {"a.py": """\
    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
    try:
        import cupy as np
    except ImportError:
        import numpy as np
    from own import doubled

    class Cast:
        def __init__(self, W):
            self.xp = np
            self.params, self.grads = [W], [np, ][:0] or [np.zeros_like(W)]

        def forward(self, x):
            self.x = np.asarray(x, np.float)
            self.mask = np.ones(x.shape, dtype=np.bool)
            return doubled(self.xp.dot(self.x, self.params[0]) * np.float_(1))

        def backward(self, dout):
            dout = doubled(dout) * np.array(self.mask[:, :1], np.int)
            self.grads[0][...] = np.dot(self.x.T, dout)
            return np.dot(dout, self.params[0].T)
    """, "lib/own.py": "def doubled(x):\n    return 2 * x\n"})
    assert verdicts(tmp_path / "a.py") == {"Cast": "ok"}


def test_the_top_of_a_repository(tmp_path):
    written(tmp_path, {"a/.git/config": "", "a/b/c/d/e/f/g.py": ""})
    path = (tmp_path / "a/b/c/d/e/f/g.py").resolve()
    assert folders_of(path) == [*path.parents][:6]
    assert folders_of(path)[-1] == (tmp_path / "a").resolve()


# --- kinds of input ------------------------------------------------------------------------------


def notebook(path, *cells):
    made = [{"cell_type": "markdown", "source": ["# text"]}]
    made += [{"cell_type": "code", "source": textwrap.dedent(c).splitlines(keepends=True)}
             for c in cells]
    path.write_text(json.dumps({"cells": made, "nbformat": 4}), encoding="utf-8")
    return path


def test_a_notebook(tmp_path):
    path = notebook(
        tmp_path / "n.ipynb", "%matplotlib inline\nimport numpy as np\n!ls\n",
        scale("Scale", backward="dout"), "print('a program'); 1 / 0", "this is no Python",
        scale("Scale", backward="2 * dout"), scale("Other", backward="raise_(dout)"))
    reports = {r.name: r for r in check_file(path)}
    assert reports["Scale"].verdict == "ok"
    other = reports["Other"]
    assert other.verdict == "unchecked" and other.line == 6 and "cell 7" in other.file
    assert "raise_" in other.source


def test_a_folder_several_files_and_standard_input(tmp_path):
    written(tmp_path, {"a.py": scale(), "b/c.py": scale("Wrong", backward="dout"),
                       "b/none.py": "x = 1\n", "b/bad.py": "def backward(:\n",
                       ".hidden/d.py": scale("Hidden")})
    done = command(tmp_path)
    assert done.returncode == 1 and "Hidden" not in done.stdout
    assert "Wrong: wrong" in done.stdout and "ok: Scale" in done.stdout
    assert "bad.py" in done.stderr and "none.py" not in done.stdout
    assert done.stdout.splitlines()[-1].split()[:3] == ["in", "all", "1"]
    done = command(tmp_path / "a.py", tmp_path / "b" / "c.py", "--json")
    found = json.loads(done.stdout)["layers"]
    assert [(x["name"], x["verdict"]) for x in found] == [("Scale", "ok"), ("Wrong", "wrong")]
    done = command("-", stdin=textwrap.dedent(scale()))
    assert done.returncode == 0 and "Scale: ok" in done.stdout
    (tmp_path / "empty").mkdir()
    assert command(tmp_path / "empty").returncode == 2
    assert command(tmp_path / "b" / "none.py").returncode == 2


class Triple:
    def forward(self, x):
        return 3 * x

    def backward(self, dout):
        return 3 * dout


def test_check_takes_anything(tmp_path):
    import numpy as np

    assert check(Triple).ok and check(Triple(), np.ones((2, 3))).ok
    assert [r.name for r in check(sys.modules[__name__])] == ["Triple"]
    assert [r.name for r in check(sys.modules[__name__], only="Triple")] == ["Triple"]
    with pytest.raises(LoadError, match="no layer Other"):
        check(sys.modules[__name__], only="Other")
    assert check(3).cause == "int has no forward"
    written(tmp_path, {"a.py": scale(), "b/c.py": scale("Wrong", backward="dout")})
    assert [r.verdict for r in check(tmp_path)] == ["ok", "wrong"]
    with pytest.raises(LoadError):
        check(tmp_path / "none.py")


# --- what a file may do --------------------------------------------------------------------------

HOSTILE = {
    "exits": ("import os; os._exit(0)", "ended the process"),
    "raises SystemExit": ("raise SystemExit(0)", "SystemExit"),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "kills itself": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "never ends": ("[0 for _ in iter(int, 1)]", "in time"),
    "never ends, in C": ("sum(iter(int, 1))", "time"),
    "memory": ("x = [np.ones(10**9) for _ in range(9)]", "MemoryError|memory"),
    "recursion": ("self.backward(dout)", "RecursionError"),
    "output": ("print('x' * 10**6, file=__import__('sys').__stdout__)", None),
    "fork": ("import os; os.fork()", None),
    "a thread that never ends": (
        "import threading, time; threading.Thread(target=time.sleep, args=(99,)).start()", None),
    "reads": ("input()", "EOFError"),
    "a fifo": ("import os, tempfile; p = tempfile.mktemp(); os.mkfifo(p); open(p)", "in time"),
}


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_a_layer_does_the_others_keep_their_report(what, tmp_path):
    statement, why = HOSTILE[what]
    path = tmp_path / "a.py"
    path.write_text("import numpy as np\n" + textwrap.dedent(scale("First")) + f"""
class Hostile:
    def forward(self, x):
        return 2 * x

    def backward(self, dout):
        {statement}
        return 2 * dout
""" + textwrap.dedent(scale("Last")))
    reports = check_file(path, seconds=0.4)
    assert [r.name for r in reports] == ["First", "Hostile", "Last"]
    first, hostile, last = reports
    assert first.ok and last.ok
    if why is None:
        assert hostile.ok, str(hostile)
    else:
        assert not hostile.ok and re.search(why, str(hostile)), str(hostile)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_search_that_crashes_leaves_the_verdict(tmp_path):
    (tmp_path / "a.py").write_text("""
import ctypes
import numpy as np

calls = []

class Crashing:
    def forward(self, x):
        return 2 * x

    def backward(self, dout):
        calls.append(len(calls) < 120 or ctypes.string_at(0))
        return np.cos(2 * np.exp(np.sin(3 * dout)))
""")
    (report,) = check_file(tmp_path / "a.py", seconds=2)
    assert report.verdict == "wrong" and not report.causes, str(report)
    assert any("given up" in n and "SIGSEGV" in n for n in report.notes), str(report)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("statement", [
    "import os; os._exit(0)", "import ctypes\nctypes.string_at(0)",
    "class M(type):\n    def __call__(cls, *a):\n        raise SystemExit(0)\n"
    "class A(metaclass=M):\n    def forward(self, x):\n        return x\n"
    "    def backward(self, dout):\n        return dout",
    "x = [0 for _ in iter(int, 1)]", "if True:\n    import os\n    os._exit(1)",
    "try:\n    raise KeyboardInterrupt\nexcept ValueError:\n    pass",
])
def test_whatever_a_file_does_its_layers_are_checked(statement, tmp_path):
    path = tmp_path / "a.py"
    path.write_text(textwrap.dedent(scale("First")) + statement + "\n" + textwrap.dedent(
        scale("Last")))
    found = verdicts(path, seconds=0.4)
    assert found["First"] == found["Last"] == "ok"
    assert set(found.values()) <= {"ok", "unchecked"}


def test_what_computes_says_so_and_is_not_taken_for_one_that_waits():
    """A process with a small share of a busy machine was ended for its silence."""
    said = []

    def say(**message):
        said.append(message)
        threading.Event().wait()

    threading.Thread(target=worker._beat, args=(0.01, say), daemon=True).start()
    end = time.process_time() + 20
    while not said and time.process_time() < end:
        sum(range(1000))
    assert said and said[0]["computing"] > 0


def test_the_status_never_says_right_where_nothing_was_checked(tmp_path):
    (tmp_path / "a.py").write_text("import os\nos.abort()\nx = os._exit(0)\n")
    assert command(tmp_path / "a.py").returncode == 2
    os.mkfifo(tmp_path / "fifo.py")
    assert command(tmp_path / "fifo.py").returncode == 2
    assert command(tmp_path).returncode == 2
    (tmp_path / "b.py").write_text(textwrap.dedent(scale(backward="__import__('os')._exit(0)")))
    done = command(tmp_path / "b.py", "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["layers"][0]["verdict"] == "unchecked"
