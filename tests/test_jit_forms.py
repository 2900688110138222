"""tg.jit: ways to write something that are rare, and are what they are without it, or refused."""

import array
import contextlib
import copy
import dataclasses
import operator
import re
from types import SimpleNamespace

import numpy as np
import pytest
from jit_worlds import X, flat, kernels
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.jit import JitError, chains, proof, state
from tinygrad_rnn.jit.tape import Call, Tape, Value

RNG = np.random.default_rng  # of the tests, made outside of what is recorded
C = [np.arange(12.0).reshape(3, 4)]


@dataclasses.dataclass
class Part:
    x: object


HELD = Part(None)


class Named(dict):
    """A dict with an attribute."""


class Pairs(np.random.Generator):
    """A generator that draws in ways of its own."""

    def pair(self):
        return self.random(3), self.random(3)

    def rows(self, n):
        made = np.zeros((n, 4))
        made[:] = self.random(4)
        return made


def edited(edit):
    """What an edit makes of a copy of x, and of one that lies in columns."""
    def f(x, r):
        a, b = x.copy(), np.asfortranarray(x + 1)
        edit(a, x)
        edit(b, x)
        return a, b

    return f


def at(row):
    """A place that hangs on values."""
    return np.argmax(row[:2])


def named(x, r):
    made = Named(a=x * 2)
    made.more = x + 1
    return made


def counted(x, r):
    counts = np.zeros(3, int)
    counts[:] = np.zeros(3)
    return counts + x.shape[0], x * 2


def quiet(a, x):
    with np.errstate(divide="ignore"):
        a /= np.maximum(x, 0)
        np.log(np.maximum(x, 0), out=a)


# f(x, r): x (3, 4), r a generator
GOOD = {
    "copy": lambda x, r: (copy.copy(x), copy.deepcopy(x[1:]), x), "divmod": lambda x, r: divmod(
        2.5, np.abs(x) + 1),
    "flat": lambda x, r: (len(x.flat), sum(x.flat), x.flat[3], x.flat[[1, 2]]),
    "sums": lambda x, r: (np.sum(x, dtype=np.float32), np.prod(x, axis=1, dtype=np.float32)),
    "clip": lambda x, r: (np.clip(x, None, 0.5), np.clip(x, -0.5, None), x.clip(max=0.1),
                          np.clip(x, min=-0.2), np.clip(x, None, None)),
    "a number decides nothing": lambda x, r: (x > 0.5, x <= 0.5, x.sum() < x),
    "beside a Tensor": lambda x, r: (np.multiply(x, Tensor(C[0])), np.add(Tensor(x), x)),
    "unstack": lambda x, r: np.unstack(x, axis=-1),
    "place of a slice": edited(lambda a, x: operator.setitem(
        a, slice(at(x[0]), at(x[0]) + 2), 0.5)),
    "a Tensor is put": edited(lambda a, x: operator.setitem(a, 0, Tensor(x)[1])),
    "a bool is added": edited(lambda a, x: np.add(a, True, out=a)),
    "cast": edited(lambda a, x: np.add(a, x, out=a, casting="unsafe")),
    "as another type": edited(lambda a, x: np.multiply(a, x, out=a, dtype=np.float32)),
    "where": edited(lambda a, x: np.exp(x, out=a, where=x > 0)),
    "flat is put": edited(lambda a, x: operator.setitem(a.flat, slice(2, 5), x[0, :3])),
    "drawn around values": lambda x, r: r.normal(loc=x, scale=np.abs(x) + 0.5),
    "drawn into an array": lambda x, r: r.rows(3) + x,
    "zeros in integers": counted, "a dict of one's own": named, "a part": lambda x, r: x.view()[1:],
    "sorted in part": edited(lambda a, x: a.partition(1)), "filled": edited(
        lambda a, x: a[1:].fill(x[0, 0])), "without warnings": edited(quiet),
    "through a copy": lambda x, r: x[...].copy(order="F").T[1:].copy() + 1,
    "infinity": lambda x, r: np.max(np.where(x > 0, x, -np.inf), axis=0, initial=-9.0),
    "same": lambda x, r: (np.reshape(x, x.shape) + 1, np.reshape(x, (3, 4)).T @ x.reshape(3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_is_rare_is_what_it_is_without(name):
    f, (mine, other) = GOOD[name], (Pairs(np.random.PCG64(1)) for _ in range(2))
    step = tg.jit(f, fast=False)
    for x in X:
        kept = x.copy()
        one, two = step(x, mine), f(kept.copy(), other)
        assert type(one) is type(two)
        one, two = ([*d.values(), d.more] if isinstance(d, dict) else d for d in (one, two))
        for a, b in zip(flat(one), flat(two), strict=True):
            assert_array_equal(a, b, strict=True)
            assert a.flags.writeable
        assert_array_equal(x, kept)
    assert mine.random() == other.random()


ARITHMETIC, WHOLE = "add sub mul truediv floordiv pow mod", "and_ or_ xor lshift rshift"
METHODS = {
    "sum mean prod any all max min argmax argmin cumsum cumprod var std repeat": (1,),
    "argsort sort partition": (0,), "ravel flatten squeeze copy view conj conjugate transpose": (),
    "swapaxes": (0, 2), "diagonal trace": (1, 0, 2), "clip": (2, 5), "round": (1,),
    "reshape": (3, 8), "astype": (np.float32,), "fill": (3,), "put": ([1, -1], 7), "take": (1, 0),
}  # fmt: skip


def each(y, n):
    """Every operator, method and attribute of floats (2, 3, 4), and of whole numbers."""
    out = []
    for words, a, b in (ARITHMETIC, y, y[:1] * 0.7), (WHOLE, n, n[1:] % 3):
        for word in words.split():
            operate, edit = getattr(operator, word), getattr(operator, f"i{word.rstrip('_')}")
            out += [operate(a, b), operate(a, 2), operate(2, a), edit(a.copy(), b)]
    for operate in operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne:
        out += [operate(n, n[::-1]), operate(n, 4), operate(4, n)]
    for words, given in METHODS.items():
        for word in words.split():
            a = y * 0.3
            made = getattr(a, word)(*given)
            out += [a] if made is None else [a, made]
    square = operator.imatmul(y[..., :3].copy(), y[0, :, :3])
    sizes = y.ndim, y.size, y.itemsize, y.nbytes, len(y), *y.shape, *y.strides
    return [*out, square, y @ y[0].T, -y, +y, abs(y - 4), ~n, *divmod(y, 1.5), *divmod(1.5, y),
            y.T, y.mT, y.real, y.imag, y[0, 0].dot(y[1, 1]), y[0, 0].searchsorted(2.5),
            copy.copy(y), copy.deepcopy(y), y.transpose(1, 2, 0), y.transpose((2, 0, 1)),
            y.reshape((4, 6)), y.flatten("F"), y.copy("F").ravel("K"), y * sizes[0], y * sum(sizes)]


def test_every_operator_method_and_attribute_is_that_of_numpy():
    rng, step = np.random.default_rng(0), tg.jit(each, fast=False)
    for _ in range(3):
        y, n = rng.uniform(1, 4, (2, 3, 4)), rng.integers(1, 9, (2, 3, 4))
        for i, (a, b) in enumerate(zip(step(y, n), each(y, n), strict=True)):
            assert_array_equal(a, b, strict=True, err_msg=f"{i}")


BAD = {
    "a list of texts": (lambda x, r: np.einsum_path("ij,kj", x, x)[0], "which cannot be recorded"),
    "two draws at once": (lambda x, r: r.pair(), "several arrays"),
    "the state": (lambda x, r: str(r.bit_generator.state), "the state of a value"),
    "text": (lambda x, r: str(x), "a text that is made of recorded values"),
    "in place": (lambda x, r: r.shuffle(x), "cannot be recorded in this form"),
    "an object of its own": (lambda x, r: setattr(HELD, "x", object()), "sets Part.x to <object"),
    "integers": (lambda x, r: np.floor(x, out=np.zeros(x.shape, int), casting="unsafe"),
                 "written into an array that is not"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_replay_could_not_do_is_refused(name):
    f, said = BAD[name]
    with pytest.raises(JitError, match=said):
        for x in X:
            tg.jit(f)(x, Pairs(np.random.PCG64(0)))


def test_an_array_of_another_recording_is_refused():
    """What was put where nobody looks, and comes out again in the next recording."""
    hidden = [None] * 2000

    def f(x):
        if hidden[0] is not None:
            x = x * hidden[0]
        hidden[0] = x * 2
        return x

    step = tg.jit(f)
    for x in X[:3]:
        with pytest.raises(JitError, match=r"keeps|another recording"):
            step(x)


def test_one_value_becomes_that_of_two_parameters():
    """Each has an array of its own, also where the same call made both."""
    p, q = (nn.Parameter(np.ones((3, 4))) for _ in range(2))

    @tg.jit
    def step(x):
        p.data, q.data = np.tanh(x), np.tanh(x)

    for x in X:
        step(x)
        assert_array_equal(p.numpy(), np.tanh(x))
        p.data[0] = 7
        assert_array_equal(q.numpy(), np.tanh(x))


def test_two_parameters_change_places():
    p, q = (nn.Parameter(np.full((3, 4), k)) for k in (1.0, 2.0))

    @tg.jit
    def step():
        p.data, q.data = q.data * 1, p.data
        q.data = q.data[...]

    for k in range(5):
        step()
        assert (p.numpy() == 1 + (k + 1) % 2).all() and (q.numpy() == 1 + k % 2).all()


def test_a_graph_from_outside_falls_back():
    w = nn.Parameter(np.ones(3))

    @tg.jit(fallback="eager")
    def step(y):
        y.backward()
        return y * 1

    for _ in range(3):
        w.grad = None
        step(np.sum(w * w))
        assert_array_equal(w.grad.numpy(), [2, 2, 2])


@pytest.mark.parametrize("size", [3, 4])
def test_data_of_another_shape_is_put_into_a_tensor(size):
    held, others = Tensor(np.zeros(3)), [Tensor(np.full(2, k)) for k in range(2)]

    @tg.jit
    def step(x):
        held.data = x[0, :size] * 2
        return others[0] + others[1]

    for x in X:
        assert_array_equal(step(x).numpy(), [1, 1])
        assert_array_equal(held.numpy(), x[0, :size] * 2)
        assert [t.numpy().tolist() for t in others] == [[0, 0], [1, 1]]


def test_items_of_an_array_of_python_are_put_back():
    held = array.array("d", [1.0, 2.0])

    @tg.jit
    def step(x):
        held.append(3.0)
        return x * 2

    with pytest.raises(JitError, match="which items a array has"):
        step(X[0])
    assert held.tolist() == [1, 2]


def test_a_variable_that_is_set_later_is_seen():
    def made():
        def step(x):
            return x * factor if len(x) > 3 else x + 1

        jitted = tg.jit(step)
        for _ in range(3):
            assert_array_equal(jitted(X[0]), X[0] + 1)
        factor = 2.0
        for factor in (2.0, 2.0, 3.0):
            assert_array_equal(jitted(C[0].T), C[0].T * factor)

    made()


def test_a_generator_that_nothing_can_take_the_place_of_is_noticed():
    held = frozenset([RNG(0)])

    @tg.jit
    def step(x):
        return x + next(iter(held)).random()

    with pytest.raises(JitError):
        for x in X:
            step(x)


def test_what_hangs_on_the_number_of_rows_is_of_each():
    step = tg.jit(lambda x: (x * 2, "few" if len(x) < 5 else "many"), cache_size=20)
    for n in (3, 3, 3, 6, 6, 6, 4, 7, 3, 4, 7):
        made, said = step(np.ones((n, 2)))
        assert_array_equal(made, np.full((n, 2), 2))
        assert said == ("few" if n < 5 else "many")


@pytest.mark.parametrize("number", [0.25, 2.0, -1.0])
def test_numbers_are_compared_with_arrays(number):
    step = tg.jit(lambda x, f: (f < x, f >= x, x > f, f == x, f * 2 < f + 1, -f, abs(f), f != 0.25))
    for x in X[:4]:
        for a, b in zip(step(x, number), step.f(x, number), strict=True):
            assert_array_equal(a, b)


# ---- the proof ----


@pytest.mark.parametrize("said, real, replayed", [
    ("requires_grad of the result", Tensor(X[0], requires_grad=True), Tensor(X[0])),
    ("a float64 in a replay", Tensor(X[0][0, 0]), X[0][0, 0]),
    (r"float64\[3, 4\] in a replay, and float64\[4, 3\]", X[0].T, X[0]),
    ("float32.* in a replay", X[0], X[0].astype(np.float32)),
    (r"the result\[1\]\['a'\].x: 2 in a replay, and 1", (0, {"a": Part(1)}), (0, {"a": Part(2)})),
    ("True in a replay, and 1", 1, True), ("'b' in a replay", "a", "b"),
    (r"\(1, 2, 3\) in a replay", (1, 2), (1, 2, 3)), ("'c'.* in a replay", {"b": 1}, {"c": 1}),
    ("0.5 in a replay, and 0.25", 0.25, 0.5), ("nan in a replay", 1.0, np.nan),
    (r"the result\[0\]: 2 in", [1], [2]), (r"\[2.0*1\] in", np.array([2.0]), np.array([2.00001])),
    ("in a replay", np.array([True]), np.array([False])),
    ("in a replay", np.array([0.0, np.nan]), np.array([np.nan, 0.0])),
    ("in a replay", np.array([np.inf]), np.array([-np.inf])),
])  # fmt: skip
@pytest.mark.parametrize("eps", [0, 1e-16])
def test_a_proof_says_what_differs(said, real, replayed, eps):
    for one, other in ((real, real), (replayed, replayed)):
        assert proof._differs((one, EMPTY), (other, EMPTY), None, eps) is None
    assert re.search(said, proof._differs((real, EMPTY), (replayed, EMPTY), None, eps))


EMPTY = proof.Snapshot(state.Reached())


EDITS = {
    "the items of a dict": lambda t, a, d, r: d.update(z=1),
    "the items of a list": lambda t, a, d, r: d["l"].append(1),
    "requires_grad of a Tensor": lambda t, a, d, r: setattr(t, "_node", None),
    "[0]: [[1. 1. 1. 1.]": lambda t, a, d, r: t._held.fill(1),
    "[1]: [[1. 1. 1. 1.]": lambda t, a, d, r: a.fill(1),
    "['n']: 2.5 in a replay, and 1.5": lambda t, a, d, r: d.update(n=2.5),
    "['s']: 'b' in a replay, and 'a'": lambda t, a, d, r: d.update(s="b"),
    "[0]: float64[2] in a replay": lambda t, a, d, r: setattr(t, "_held", np.ones(2)),
    "the state of a random generator": lambda t, a, d, r: r.random(),
}  # fmt: skip


@pytest.mark.parametrize("said", EDITS)
def test_what_a_function_reaches_is_compared_and_put_back(said):
    t, a = Tensor(X[0].copy(), requires_grad=True), X[1].copy()
    d, r = {"n": 1.5, "s": "a", "l": [0]}, RNG(0)
    reached = state.walk(None, ([t, a, d, r],))
    before, node, first = proof.Snapshot(reached), t._node, str(r.bit_generator.state)
    assert proof._differs((0, before), (0, proof.Snapshot(reached, before))) is None
    EDITS[said](t, a, d, r)
    difference = proof._differs((0, before), (0, proof.Snapshot(reached, before)))
    assert difference is not None and said in difference
    before.restore()
    assert proof._differs((0, before), (0, proof.Snapshot(reached, before))) is None
    assert_array_equal(t.detach().numpy(), X[0])
    assert_array_equal(a, X[1])
    assert d == {"n": 1.5, "s": "a", "l": [0]} and t._node is node
    assert str(r.bit_generator.state) == first


@pytest.mark.parametrize("noise, apart, good", [
    (0, 0, True), (0, 100, True), (0, 2000, False), (100, 5000, True), (100, 9000, False)])
def test_what_rounding_explains_is_no_difference(noise, apart, good):
    """In units of the last place of the largest element."""
    unit = np.finfo(float).eps
    real, noisy = np.array([1.0, 0.25]), np.array([1.0, 0.25 + noise * unit])
    replayed = np.array([1.0, 0.25 + apart * unit])
    trio = [(x, EMPTY) for x in (real, replayed, noisy)]
    assert (proof._differs(*trio, unit) is None) == good
    assert (proof._differs(*trio, 0.0) is None) == (apart == 0)
    trio = [({"a": float(x[1])}, EMPTY) for x, _ in trio]
    assert (proof._differs(*trio, unit) is None) == good


@pytest.mark.parametrize("size", [1, 5, proof.MANY - 1, proof.MANY, proof.MANY + 1])
def test_noise_is_some_units_of_each_number_and_not_twice_the_same(size):
    noise = proof.Noise(RNG(0))
    x = np.full(size, 3.0, np.float32)
    one, other = noise(x), noise(x)
    for made in (one, other):
        assert made.shape == x.shape and made.dtype == x.dtype
        assert_allclose(made, x, rtol=1.1 * proof.UNITS * np.finfo(np.float32).eps)
        assert size < 5 or 0.2 < np.std(made / x - 1) / np.finfo(np.float32).eps / proof.UNITS < 1
    assert size > 4 or size == 1 or (one != other).any()
    assert noise(np.float64(2.0)).shape == () and isinstance(noise(np.array(2.0)), np.float64)


# ---- what is written out ----


def test_all_of_a_tape_can_be_read():
    x, k = Value((3, 4), np.dtype("f8")), Value()
    made = [Value((3, 4), np.dtype("f8")) for _ in range(4)]
    lanes = [Call(np.add, (x, [k, 1.5], (None, "a")), {"axis": slice(1, k), "where": {}}, made[0],
                  lane=(1, 2), more=(made[1],)),
             Call(np.add.reduce, (made[1], slice(None), np.s_[::2], C[0]), {}, made[2], view=True),
             Call(np.stack, ([x] * 6, (k,) * 7), {}, made[3])]  # fmt: skip
    tape = Tape(lanes, [x, k], {made[3]: C[0]}, [made[2], Value()])
    assert str(tape) == (
        "lane 2: v0, v0_1 = add(in0, [in1, 1.5], (None, 'a'), axis=1:in1, where={})"
        "  # float64[3, 4]\n"
        "v1 = view add.reduce(v0_1, :, ::2, array[3, 4])  # float64[3, 4]\n"
        "v2 = stack([in0, in0, in0, in0, in0, in0], (in1, in1, in1, ..., in1, in1))"
        "  # float64[3, 4]\n"
        "return v1, ?")
    assert [repr(v) for v in (x, k, Value(None))] == ["float64[3, 4]", "number", "generator"]


@pytest.mark.usefixtures("as_python")
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_chains_whose_results_are_pieces_of_an_array(axis):
    """Where rows of a piece do not lie evenly in the whole, they are copied there."""
    pytest.importorskip("numba")

    def f(x):
        parts = [np.tanh(x * k) * x + k for k in (1, 2)]
        return np.concatenate(parts, axis), np.stack([*parts, x], axis) * 2

    step = tg.jit(f)
    for seed in range(3):
        x = RNG(seed).normal(size=(3, 5, 8)).astype(np.float32)
        for one, other in zip(step(x), f(x), strict=True):
            assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert kernels(step)


def test_a_line_is_that_of_the_program_and_of_the_engine_where_that_has_made_the_call():
    """Which of them a call stands in, through NumPy, decorators and functions of Python."""
    @contextlib.contextmanager
    def around():
        yield

    @around()
    def f(x):
        w = Tensor(x, requires_grad=True)
        y = np.apply_along_axis(np.cumsum, 0, x * 2)
        np.sum(w * y).backward()
        return w.grad.data

    step = tg.jit(f)
    step(X[0])
    first = f.__wrapped__.__code__.co_firstlineno
    found = {}
    for call in step._last.recorded.calls:
        place, _, engine = call.line.partition(" (in ")
        file, _, line = place.rpartition(":")
        assert file == __file__
        found.setdefault(int(line) - first, set()).add(re.sub(r":\d+\)", "", engine))
    assert found[3] == {""}
    assert found[4] >= {"tensor.py", "rules.py"} and not {"", "jit/recording.py"} & found[4]


def test_what_stands_around_a_method_is_followed():
    """Variables, defaults, attributes of a function: what the program changes there is read."""
    around, by_name, on_it = (np.full(4, k) for k in (1.0, 2.0, 3.0))

    class Layer:
        def variables(self, x):
            return x * around

        def defaults(self, x, *, scale=by_name):
            return x * scale

        def attributes(self, x):
            return x * Layer.attributes.scale

    Layer.attributes.scale = on_it
    layer = Layer()
    for method, held in (("variables", around), ("defaults", by_name), ("attributes", on_it)):
        step = tg.jit(lambda x, method=method: getattr(layer, method)(x))
        for x in X:
            held *= 1.5
            assert_array_equal(step(x), x * held)


@pytest.mark.parametrize("other", [[1.0, 2.0, 4.0], 3.0, np.float64(3), tg.Tensor([1.0, 2.0, 4.0])])
def test_an_attribute_may_become_something_of_another_type(other):
    holder = SimpleNamespace(x=np.ones(3))
    step, y = tg.jit(lambda y: holder.x * y), np.arange(3.0)
    for k in range(4):
        holder.x = np.full(3, float(k))  # another array each time
        assert_array_equal(step(y), k * y)
    holder.x = other
    for _ in range(3):
        assert_array_equal(np.asarray(tg.Tensor(step(y)).data), np.asarray(
            other.data if isinstance(other, tg.Tensor) else other) * y)


def test_a_dict_of_what_was_made_is_kept_where_it_was_put():
    holder = SimpleNamespace(kept=None)

    def f(x):
        holder.kept = {"twice": x * 2, "said": ["so", {"of": x + 1}]}
        return x * 3

    step = tg.jit(f)
    for k in range(4):
        x = np.arange(3.0) + k
        assert_array_equal(step(x), x * 3)
        assert_array_equal(holder.kept["twice"], x * 2)
        assert_array_equal(holder.kept["said"][1]["of"], x + 1)


@pytest.mark.parametrize("shape, kind", [
    ((2, 4, 6), "full"), ((6,), "row"), ((1, 6), "row"), ((1, 1, 6), "row"), ((), "scalar"),
    ((4, 6), None), ((4, 1), None), ((1, 1, 1, 6), None)])
def test_how_an_operand_meets_the_rows_of_three_axes(shape, kind):
    dtype = np.dtype(np.float64)
    assert chains.kind_of(Value(shape, dtype), (2, 4, 6), dtype) == kind
    assert chains.kind_of(Value(shape, np.dtype(np.float32)), (2, 4, 6), dtype) is None
