"""Breaks made on purpose in passes of tg.jit are found by the random programs of jit_programs.

Each break is a few words of the source of a function, and others in their place. What is broken is
found where the proof sees a replay that differs from a real run. The table says after how many
programs of one mode, counted from 0, that is so; the test runs that program alone.

    python tests/test_jit_breaks.py 200 NAME ...    looks for them among so many programs
"""

import inspect
import sys
import textwrap

import pytest
from jit_programs import MODES, Loops, Program, forced, judge
from test_jit_proof import interpreted

from tinygrad_rnn.jit import (
    blocks,
    chains,
    cut,
    jitted,
    lanes,
    loops,
    memory,
    passes,
    products,
    proof,
    recording,
    replay,
    roll,
    table,
)

# name: the function, what stands there, what stands there instead, mode, number of the program
BREAKS = {
    "drop_unused": (passes.drop_unused, "needed = set(values_in(tape.results))",
        "needed = set(values_in(tape.results[:1]))", "exact", 0),
    "compute_constants": (passes.compute_constants, "call.fn(*args, **kwargs)",
        "call.fn(*args)", "exact", 0),
    "one_join": (passes.one_join, "(pieces, 0)",
        "([pieces[0]] * len(pieces), 0)", "exact", 21),
    "share": (passes.share, "_key((call.fn, call.args, call.kwargs))",
        "_key((call.fn, call.args))", "exact", 48),
    "longer_stack": (passes.longer_stack, "(slice(1, None), call), (slice(len(after)), other)",
        "(slice(len(after)), call), (slice(1, None), other)", "exact", 21),
    "keep_softmax": (passes.keep_softmax, "softmax[key], key[1], call.args[3]",
        "key[0], key[1], call.args[3]", "exact", 21),
    "slope_in_softmax": (passes.slope_in_softmax, "if needed.isdisjoint(call.outs) and not any(",
        "if not any(", "exact", 27),
    "bias_in_softmax": (passes.bias_in_softmax, "(y, bias, targets, scale)",
        "(y, None, targets, scale)", "exact", 21),
    "sooner": (passes.sooner, "max((made[v] for v in call.inputs() if v in made), default=-1)",
        "-1", "exact", 0),
    "cut: which block": (cut.Blocks.function, "x[first : first + size, :C] if cut",
        "x[:size, :C] if cut", "lanes", 2),
    "chains: what is kept": (chains.gather, "out in results or any(",
        "any(", "lanes", 2),
    "chains: when they end": (chains.gather, "user.out not in inside for",
        "False for", "lanes", 2),
    "split_rows": (lanes._Splitter._joined, "(self.parts[out], 0)",
        "(self.parts[out][::-1], 0)", "lanes", 3),
    "lanes: their rows": (lanes._cuts, "slice(N * i // lanes, N * (i + 1) // lanes)",
        "slice(N - N * (i + 1) // lanes, N - N * i // lanes)", "lanes", 3),
    "in_blocks": (products._pack, "(0, 2, 1, 3)",
        "(2, 0, 1, 3)", "lanes", 3),
    "compiled_calls": (loops.compiled_calls, "call.args, {}, call.out, line=call.line,",
        "(*call.args[:3], None), {}, call.out, line=call.line,", "loops", 21),
    "slices_first": (loops.slices_first, "for x in source.args]",
        "for x in source.args[::-1]]", "loops", 3),
    "fuse": (loops.Kernel._add, "self._read(x, at) for x in call.args",
        "map(self._read, call.args[::-1])", "loops", 2),
    "memory: how long": (memory.Memory._life, "return life(first, last,",
        "return life(first, first,", "exact", 0),
    "memory: over operands": (memory.Memory._ends, "value in self._dying.get(i, ()) and",
        "", "exact", 2),
    "memory: home": (memory.Memory._goes_home, "or self.last.get(home, -1) > i",
        "", "exact", 8),
    "memory: pieces of joins": (memory.joined, "at += piece.shape[axis]",
        "at += 0", "lanes", 14),
    "program: numbers": (replay.Program._number, "(repr(x), out.shape, out.dtype)",
        "(out.shape, out.dtype)", "exact", 3),
    "program: rows": (replay.Program._rows, "key = value, C, lane",
        "key = C, lane", "loops", 2),
    "softmax in rows": (blocks.softmax_nll, "p[place] -= scale[rows]",
        "pass", "exact", 21),
    "recording: views": (recording.Recorder.owner, "known and known()",
        "None", "exact", 0),
    "recording: versions": (recording.Recorder.edited, "root._version + 1",
        "root._version", "exact", 10),
    "recording: edits of views": (recording._write_through, "view[...] = value",
        "pass", "exact", 0),
    "roll: which buffer": (roll.Unrolled._begin, "(k - first) % many * size",
        "0", "exact", 37),
    "roll: how many": (roll.Unrolled._lay_out, "give(key, size, first, end, later + 1)",
        "give(key, size, first, end)", "exact", 37),
    "roll: how often": (roll.Unrolled._items, "range(p, n - q)",
        "range(p, n - q - 1)", "exact", 79),  # with and without numba
    "table: elementwise": (table.alone, "[FUNCTIONS.index(fn), R, C]",
        "[FUNCTIONS.index(fn), R, C - 1]", "loops", 0),
    "table: joins": (table.joined, "at += x.shape[axis]",
        "at += 0", "loops", 3),
    "table: products": (table.product, "across, down, n, m, k,",
        "across, down, n, m, k - 1,", "loops", 2),
    "table: stacks of products": (table.product, "*(x.strides[i] for x in stacks)",
        "*(0 for x in stacks)", "loops", 3),
    "table: shared products": (table.shared, "out[..., cut]) if m >= n",
        "out[..., cuts[0]]) if m >= n", "loops", 2),
    "table: sums": (table.summed, "[R, C, out,",
        "[R - 1, C, out,", "loops", 2),
    "table: addresses of inputs": (table.Tables.begin, "w{i}() is not",
        "w{i}() is", "loops", 0),
}  # fmt: skip


def broken(function, right, wrong):
    """The code of a function with other words in it."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"{function.__qualname__} has changed: break it in another way"
    space = {}
    exec(compile(source.replace(right, wrong), function.__code__.co_filename, "exec"),
         function.__globals__, space)
    return space[function.__name__].__code__


def program(number, mode):
    """That program; every other one has loops."""
    return (Loops if number % 2 else Program)(number, MODES[mode][0])


def differences(number, mode, name=None):
    """What proofs say to a program, where a function is broken, or none."""
    said = []

    def proven(*args, as_is=proof.prove):
        result, difference = as_is(*args)
        said.append(difference)
        return result, difference

    grown = program(number, mode)
    with pytest.MonkeyPatch.context() as patch, forced(mode):
        patch.setattr(loops, "load", interpreted)
        patch.setattr(jitted, "prove", proven)
        if name:
            function, right, wrong, *_ = BREAKS[name]
            patch.setattr(function, "__code__", broken(function, right, wrong))
        verdict, why = judge(grown, mode)
    assert verdict != "different", (why, str(grown))  # it is refused, and not even then wrong
    if verdict == "refused" and "a replay raises" in why:
        said.append(why)
    return [difference for difference in said if difference]


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_in_a_pass_is_found(name):
    function, *_, mode, number = BREAKS[name]
    if mode == "loops":
        pytest.importorskip("numba")
    if function in (table.product, table.shared) and not table.products_are_native():
        pytest.skip("this NumPy has another BLAS, and its products stay calls")
    assert differences(number, mode, name)


def searched(name, most):
    """The first program in which a break is found, and a proof has nothing to say without it."""
    mode = BREAKS[name][3]
    for number in range(most):
        if differences(number, mode, name) and not differences(number, mode):
            return number
    return None


if __name__ == "__main__":
    for name in sys.argv[2:] or BREAKS:
        print(f"{name}: {searched(name, int(sys.argv[1]))}", flush=True)
