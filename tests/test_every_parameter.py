"""A Tensor in any argument of any NumPy function in the tables gets its gradient, or raises.

The sweep is made by machine: every function, every parameter that NumPy's signature tells, a Tensor
that requires grad in that place alone, and central differences as the judge. What is dropped in
silence fails.
"""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor
from tinygrad_rnn.arguments import signature
from tinygrad_rnn.derived import CREATES, DERIVED, PLAIN
from tinygrad_rnn.primitive import RULES

pytestmark = [  # what newer or older versions of NumPy think of functions that are in the tables
    pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:bias and ddof have no effect:DeprecationWarning"),
]
rng = np.random.default_rng(0)
X = rng.normal(size=(3, 4))
SQUARE = rng.normal(size=(3, 3)) + 4 * np.eye(3)
DEFINITE = SQUARE @ SQUARE.T
VECTOR, OTHER = rng.normal(size=4), rng.normal(size=3)
POSITIVE = rng.uniform(0.5, 2.0, size=(3, 4))
MASK = X > 0
POINTS = np.array([0.0, 1.0, 2.5, 4.0])

# What stands in a parameter of this name, unless a function wants something else (``SPECIAL``).
USUAL = {
    **dict.fromkeys(("a", "x", "m", "arr", "ary", "array", "y", "z", "v", "A", "p", "val",
                     "prototype", "a1",
                     "a2", "ar1", "filt", "x1", "x2", "ar", "element", "values", "f"), X),
    "b": X[0], "ddof": 1.0, "correction": 0.5, "initial": 0.3, "mean": 0.2, "weights": POSITIVE,
    "q": 0.3, "fill_value": 0.7, "constant_values": 0.6, "end_values": 0.4, "a_min": -0.5,
    "a_max": 0.5, "min": -0.5, "max": 0.5, "prepend": 0.3, "append": 0.6, "to_end": 0.5,
    "to_begin": 0.4, "dx": 0.7, "left": 0.2, "right": 0.9, "nan": 0.1, "posinf": 3.0,
    "neginf": -3.0, "default": 0.4, "base": 3.0, "start": 0.3, "stop": 1.7, "rcond": 1e-9,
    "rtol": 1e-9, "period": 5.0, "aweights": POSITIVE[0], "discont": 3.0, "w": POSITIVE[0],
}  # fmt: skip
TWO = ((X, POSITIVE),)
SPECIAL = {
    np.apply_along_axis: (np.sum, 0, X), np.apply_over_axes: (np.sum, X, 0),
    np.array_split: (VECTOR, 2), np.split: (VECTOR, 2), np.hsplit: (X, 2), np.vsplit: (X, 3),
    np.dsplit: (X[None], 2), np.astype: (X, np.float64), np.bincount: (np.array([0, 2, 1]), OTHER),
    np.block: TWO, np.concatenate: TWO, np.stack: TWO, np.hstack: TWO, np.vstack: TWO,
    np.dstack: TWO, np.column_stack: TWO, np.broadcast_to: (VECTOR, (3, 4)),
    np.choose: (MASK.astype(int), [X, POSITIVE]), np.compress: ([True, False, True], X, 0),
    np.convolve: (VECTOR, OTHER), np.correlate: (VECTOR, OTHER), np.copyto: None, np.put: None,
    np.putmask: None, np.place: None, np.put_along_axis: None, np.fill_diagonal: None,
    np.cross: (X[:, :3], OTHER), np.diag: (VECTOR,), np.digitize: (X, POINTS),
    np.dot: (X, VECTOR), np.einsum: ("ij,j", X, VECTOR), np.einsum_path: ("ij,j", X, VECTOR),
    np.expand_dims: (X, 0), np.extract: (MASK, X), np.moveaxis: (X, 0, 1), np.swapaxes: (X, 0, 1),
    np.full_like: (X, 0.7), np.geomspace: (0.3, 1.7), np.gradient: (X,), np.inner: (X, VECTOR),
    np.insert: (VECTOR, 1, 0.3), np.delete: (VECTOR, 1), np.interp: (OTHER, POINTS, VECTOR),
    np.kron: (X, VECTOR), np.lexsort: ((VECTOR, VECTOR),), np.logspace: (0.3, 1.7),
    np.matmul: (X, VECTOR), np.outer: (X, VECTOR), np.pad: (X, 1), np.partition: (X, 1),
    np.argpartition: (X, 1), np.percentile: (X, 30.0), np.nanpercentile: (X, 30.0),
    np.piecewise: (X, [MASK], [0.5, 1.5]), np.polyfit: (POINTS, VECTOR, 1),
    np.polyval: (OTHER, X), np.polyint: (VECTOR,), np.polyder: (VECTOR,), np.roll: (X, 1),
    np.polyadd: (VECTOR, OTHER), np.polysub: (VECTOR, OTHER), np.polymul: (VECTOR, OTHER),
    np.quantile: (X, 0.3), np.nanquantile: (X, 0.3), np.repeat: (X, 2), np.reshape: (X, (4, 3)),
    np.resize: (X, (2, 2)), np.rollaxis: (X, 1), np.searchsorted: (POINTS, X),
    np.select: ([MASK], [X]), np.take: (X, [0, 2]), np.tile: (X, 2), np.tensordot: (X, X.T, 1),
    np.take_along_axis: (X, np.array([[0], [2], [1]]), 1), np.transpose: (X,),
    np.where: (MASK, X, X),
    np.lib.stride_tricks.sliding_window_view: (VECTOR, 2), np.vander: (OTHER,), np.unstack: (X,),
    np.trapezoid: (VECTOR,), np.average: (X,), np.vdot: (X, X), np.isin: (X, POINTS),
    **dict.fromkeys((np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d), (VECTOR, OTHER)),
    **dict.fromkeys((np.atleast_1d, np.atleast_2d, np.atleast_3d, np.trim_zeros), (VECTOR,)),
    np.broadcast_arrays: (X, VECTOR), np.clip: (X, -0.5, 0.5), np.corrcoef: (X,),
    np.diagflat: (VECTOR,),
    np.linalg.cholesky: (DEFINITE,), np.linalg.eigh: (DEFINITE,), np.linalg.eigvalsh: (DEFINITE,),
    np.linalg.solve: (SQUARE, OTHER), np.linalg.lstsq: (X.T, VECTOR), np.linalg.tensorsolve: (
        SQUARE, OTHER), np.linalg.tensorinv: (SQUARE, 1), np.linalg.multi_dot: ((SQUARE, SQUARE),),
    np.linalg.matrix_power: (SQUARE, 2), np.linalg.matmul: (SQUARE, X), np.linalg.outer: (VECTOR,
        OTHER), np.linalg.cross: (X[:, :3], OTHER), np.linalg.tensordot: (SQUARE, X),
    np.linalg.svd: (X, False), np.linalg.qr: (X.T,), np.linalg.vector_norm: (X,),
    **dict.fromkeys((np.linalg.inv, np.linalg.det, np.linalg.slogdet, np.linalg.cond,
                     np.linalg.svdvals, np.linalg.pinv, np.linalg.trace), (SQUARE,)),
    np.save: None, np.savetxt: None, np.savez: None,
    np.savez_compressed: None, np.arccosh: (POSITIVE + 1,), np.meshgrid: (VECTOR, OTHER),
    **{fn: (np.clip(X, -0.9, 0.9),) for fn in (np.arcsin, np.arccos, np.arctanh, np.log1p)},
    **dict.fromkeys((np.log, np.log2, np.log10, np.sqrt, np.reciprocal), (POSITIVE,)),
    **dict.fromkeys((np.power, np.float_power), (POSITIVE, VECTOR)),
    **dict.fromkeys((np.divide, np.remainder, np.fmod, np.floor_divide, np.divmod), (X, POSITIVE)),
    np.ldexp: (X, np.array([1, 2, -1, 0])), np.triu_indices_from: (SQUARE,),
    np.tril_indices_from: (SQUARE,), np.diag_indices_from: (SQUARE,),
    np.matvec if hasattr(np, "matvec") else None: (X, VECTOR),
    np.vecmat if hasattr(np, "vecmat") else None: (OTHER, X),
}  # fmt: skip
# Counts have no derivative; the edges between them are told as plain numbers on purpose; and what
# is in empty memory is left to chance.
TOLD = {np.histogram, np.histogram2d, np.histogramdd, np.histogram_bin_edges, np.empty_like}


def numpys_own():
    """Sorted by what they are called: processes that share the tests collect the same order."""
    every = {*RULES, *DERIVED, *PLAIN, *CREATES} - TOLD
    named = {f: (f.__name__, getattr(f, "__module__", None) or "numpy") for f in every}
    return sorted((f for f, (_, module) in named.items() if module.startswith("numpy")
                   or isinstance(f, np.ufunc)), key=named.__getitem__)  # fmt: skip


def calls():
    """Function, arguments by position, arguments by name, and the place that gets the Tensor."""
    for fn in numpys_own():
        ps = list(signature(fn).parameters.values())
        required = [p for p in ps if p.default is p.empty
                    and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]  # fmt: skip
        arrays = [p for p in required if p.name != "out"] or ps[: getattr(fn, "nin", 1)]
        args = SPECIAL.get(fn, tuple(USUAL.get(p.name) for p in arrays))
        if args is None or any(a is None for a in args):
            continue
        for i in range(len(args)):
            yield pytest.param(fn, args, {}, i, id=f"{fn.__name__}-{i}")
        for p in ps[len(args) :]:
            if p.name in USUAL and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD):
                yield pytest.param(fn, args, {p.name: USUAL[p.name]}, p.name,
                                   id=f"{fn.__name__}-{p.name}")  # fmt: skip


def flat(x):
    return [v for part in x for v in flat(part)] if isinstance(x, (list, tuple)) else [x]


def total(results, cotangents):
    return sum(np.sum(r * c) for r, c in zip(results, cotangents, strict=True))


CALLS = list(calls())


def test_the_sweep_reaches_nearly_every_function():
    swept = {case.values[0] for case in CALLS}
    left_out = {f.__name__ for f in numpys_own()} - {f.__name__ for f in swept}
    assert left_out <= {"copyto", "put", "putmask", "place", "put_along_axis", "fill_diagonal",
                        "save", "savetxt", "savez", "savez_compressed", "result_type",
                        "common_type"}, left_out  # fmt: skip


@pytest.mark.parametrize("fn, args, kwargs, place", CALLS)
def test_its_gradient_or_an_error(fn, args, kwargs, place):
    kept = args[place] if isinstance(place, int) else kwargs[place]
    if not all(isinstance(v, (float, np.ndarray)) for v in flat(kept)) or any(
            np.asarray(v).dtype.kind != "f" for v in flat(kept)):  # fmt: skip
        return  # no place for a real number

    def call(shift, wrap=lambda v: v):
        new = [wrap(v + shift * d) for v, d in zip(flat(kept), directions, strict=True)]
        value = tuple(new) if isinstance(kept, (list, tuple)) else new[0]
        if isinstance(place, int):
            return fn(*args[:place], value, *args[place + 1 :], **kwargs), new
        return fn(*args, **{**kwargs, place: value}), new

    directions = [rng.normal(size=np.shape(v)) for v in flat(kept)]
    try:
        result, leaves = call(0.0, lambda v: Tensor(v, requires_grad=True))
    except (TypeError, ValueError, IndexError, RuntimeError):
        return  # it raises: nothing is lost
    results = [r for r in flat(result) if getattr(r, "dtype", np.dtype(int)).kind == "f"]
    cotangents = [rng.normal(size=r.shape) for r in results]
    ahead, behind = (
        total([r for r in flat(call(step)[0]) if getattr(r, "dtype", np.dtype(int)).kind == "f"
               or isinstance(r, float)], cotangents)
        for step in (1e-6, -1e-6))  # fmt: skip
    numeric = (ahead - behind) / 2e-6
    y = total(results, cotangents)
    gs = [None] * len(leaves)
    if isinstance(y, Tensor) and y.requires_grad:
        gs = tg.grad(y, leaves, allow_unused=True)
    exact = sum(np.sum(g.numpy() * d) for g, d in zip(gs, directions, strict=True)
                if g is not None)  # fmt: skip
    np.testing.assert_allclose(exact, numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("write, arguments", [
    (np.copyto, (X[0],)), (np.putmask, (MASK, POSITIVE)), (np.put, ([0, 3], OTHER[:2])),
    (np.place, (MASK, OTHER)), (np.fill_diagonal, (OTHER,)),
    (np.put_along_axis, (np.array([[0], [1], [2]]), OTHER[:, None], 1)),
])  # fmt: skip
def test_what_is_written_gets_its_gradient_or_an_error(write, arguments):
    which = max(i for i, v in enumerate(arguments) if isinstance(v, np.ndarray)
                and v.dtype.kind == "f")  # fmt: skip
    v = Tensor(arguments[which], requires_grad=True)
    arguments = (*arguments[:which], v, *arguments[which + 1 :])
    with pytest.raises((TypeError, RuntimeError), match=r"gradient|cut the graph"):
        write(np.zeros((3, 4)), *arguments)
    t = Tensor(np.zeros((3, 4)))
    write(t, *arguments)
    expected = np.zeros((3, 4))
    write(expected, *arguments[:which], v.detach().numpy(), *arguments[which + 1 :])
    np.testing.assert_array_equal(t.detach().numpy(), expected)
    slope = tg.grad(np.sum(t * X), v).numpy()
    unit = [np.zeros((3, 4)) for _ in range(v.size)]
    for k, out in enumerate(unit):
        one = np.zeros(v.size)
        one[k] = 1
        write(out, *arguments[:which], one.reshape(v.shape), *arguments[which + 1 :])
    np.testing.assert_allclose(slope.ravel(), [np.sum(out * X) for out in unit])


@pytest.mark.parametrize("odd", [object(), "text", None, Fraction(1, 2), Decimal(1), 2j])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_operands_that_are_no_real_numbers_are_refused(odd, requires_grad):
    x = Tensor([1.0, 2.0], requires_grad)
    for multiply in (lambda: x * odd, lambda: odd * x, lambda: np.multiply(x, odd)):
        with pytest.raises(TypeError, match="multiply"):
            multiply()
