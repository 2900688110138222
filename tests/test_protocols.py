"""A Tensor among others: DLPack, copy, pickle, repr, numpy.testing, Matplotlib, any function."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor

arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool]),
    hnp.array_shapes(min_dims=0, min_side=0),
)  # fmt: skip


# --- DLPack --------------------------------------------------------------------------------------


@given(arrays)
def test_dlpack_gives_the_same_array_and_takes_it_back(a):
    t = Tensor(a)
    out = np.from_dlpack(t)
    back = tg.from_dlpack(out)
    for x in (out, back._held):
        assert x.dtype == a.dtype and x.shape == a.shape
        np.testing.assert_array_equal(x, a)
    assert not np.shares_memory(back._held, out)
    assert t.__dlpack_device__() == a.__dlpack_device__()


def test_editing_what_dlpack_handed_out_edits_the_tensor_and_never_a_graph():
    t, x = Tensor(np.ones(3)), Tensor(np.full(3, 2.0), requires_grad=True)
    out = np.from_dlpack(t)
    if not np.from_dlpack(np.ones(1)).flags.writeable:
        pytest.skip("what this NumPy takes through DLPack cannot be written to")
    y = (x * t).sum()
    out[0] = 100
    assert t.tolist() == [100, 1, 1]
    y.backward()
    assert x.grad.tolist() == [1, 1, 1]


def test_dlpack_does_not_cut_a_graph():
    x = Tensor([1.0], requires_grad=True)
    for t in (x, x * 2):
        with pytest.raises(BufferError, match=r"cut the graph in silence: use \.detach"):
            np.from_dlpack(t)
        assert np.from_dlpack(t.detach()).tolist() == t.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_dlpack_with_pytorch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    a = np.arange(6).reshape(2, 3).astype(dtype)
    there = torch.from_dlpack(Tensor(a))
    assert there.dtype == getattr(torch, dtype) and there.tolist() == a.tolist()
    back = tg.from_dlpack(there.T)  # with strides
    assert back.dtype == dtype and back.tolist() == a.T.tolist()
    there[0, 0] = 7
    assert back.tolist() == a.T.tolist()


# --- what libraries look for behind an object -------------------------------------------------

# Where NumPy, pandas, Matplotlib, numba, PyTorch, JAX and others ask for an array, to compute with.
ASKED_FOR = [
    "_data", "_mask", "_baseclass", "_values", "_array", "_ndarray", "values", "array", "to_numpy",
    "get", "asarray", "magnitude", "__array_interface__", "__array_struct__", "__array_wrap__",
    "__array_finalize__", "__array_prepare__", "__buffer__", "__cuda_array_interface__",
    "__dlpack__", "__dataframe__", "__arrow_array__", "__arrow_c_array__", "__complex__",
    "__float__", "__array__", "__jax_array__", "__torch_function__", "__tensor_flatten__",
    "__interface__", "_as_parameter_", "as_matrix", "todense", "toarray", "to_dense", "compute",
    "eval", "unwrap", "base", "obj",
]  # fmt: skip


@pytest.mark.parametrize("name", ASKED_FOR)
@pytest.mark.parametrize("leaf", [True, False])
def test_nothing_that_a_library_asks_for_is_an_array_without_its_graph(name, leaf):
    t = Tensor([0.125, 0.25], requires_grad=True)
    found = getattr(t if leaf else t * 2, name, None)
    assert not isinstance(found, (np.ndarray, np.generic, memoryview))
    if found is not None:  # a method: it has to say no
        with pytest.raises((RuntimeError, BufferError), match="cut the graph"):
            found()


def test_an_array_is_handed_out_by_data_alone():
    t = Tensor([[0.125, 0.25]], requires_grad=True) * 2
    arrays = [name for name in dir(t) if isinstance(getattr(t, name), (np.ndarray, np.generic))]
    assert sorted(arrays) == ["_held", "data"]


TAKE_A_DTYPE_SECOND = {"array", "asarray", "asanyarray", "empty_like", "ones_like", "zeros_like",
                       "frombuffer"}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in np.ma.__all__ if callable(getattr(np.ma, n))])
def test_no_function_of_masked_arrays_gives_an_array_without_the_graph(name):
    v = Tensor([0.125, 0.25, 0.5], requires_grad=True)
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])
    calls = [(v,), (v, v), (v, masked), (v, 1.0), ([v, v],), (masked, v), (masked > 1, v, v)]
    for args in calls[:5] if name in TAKE_A_DTYPE_SECOND else calls:
        try:
            result = getattr(np.ma, name)(*args)
        except Exception:
            continue
        for x in result if isinstance(result, (list, tuple)) else [result]:
            assert not isinstance(x, np.ndarray) or x.dtype.kind in "biu"


# --- copies --------------------------------------------------------------------------------------

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
}


@pytest.mark.parametrize("how", COPIES)
@given(arrays, st.booleans())
def test_a_copy_of_a_leaf_is_a_leaf_of_its_own(how, a, requires_grad):
    requires_grad = requires_grad and a.dtype.kind == "f"
    t = Tensor(a, requires_grad)
    if requires_grad:
        t.grad = np.ones_like(a)
    other = COPIES[how](t)
    assert type(other) is Tensor and other.requires_grad == requires_grad and other.is_leaf
    assert other.dtype == a.dtype and (how == "deepcopy" or other.grad is None)
    np.testing.assert_array_equal(other.numpy(), a)
    assert not np.shares_memory(other._held, t._held)


class Named(tg.nn.Parameter):
    """A subclass as people write one: an attribute, and a slot."""

    __slots__ = ("__dict__", "unit")


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("frozen", [False, True])
def test_a_copy_keeps_class_attributes_and_whether_it_is_trained(how, frozen):
    p = Named([1.0, 2.0])
    p.name, p.unit, p.itself = "W", "m", [3]
    p.requires_grad = not frozen
    other = COPIES[how](p)
    assert type(other) is Named and other.requires_grad == (not frozen)
    assert (other.name, other.unit, other.itself) == ("W", "m", [3])
    assert (other.itself is p.itself) == (how == "copy")
    assert not np.shares_memory(other._held, p._held)


def test_a_deepcopy_of_a_cycle_is_a_cycle():
    p = Named([1.0])
    p.me = p
    other = copy.deepcopy(p)
    assert other.me is other is not p


def test_deepcopy_carries_the_gradient():
    model = tg.nn.Linear(2, 3)
    model.tied = model.W
    copy.deepcopy(model)  # before there is one
    model(np.ones((4, 2))).sum().backward()
    other = copy.deepcopy(model)
    assert other.tied is other.W and type(other.W) is tg.nn.Parameter
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)
        q.grad.data[...] = 0
        assert np.all(p.grad.numpy())


def test_deepcopy_refuses_a_gradient_that_has_a_graph():
    x = Tensor([2.0], requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    with pytest.raises(TypeError, match="detach it first"):
        copy.deepcopy(x)


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_what_has_a_graph_are_refused(how):
    y = Tensor([1.0], requires_grad=True) * 2
    with pytest.raises(TypeError, match="detach it first"):
        COPIES[how](y)
    assert COPIES[how](y.detach()).tolist() == [2]


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copied_model_computes_the_same_and_keeps_its_ties(how):
    model = tg.nn.LSTM(2, 3, 2)
    model.tied = model.cells[0].Wh
    other = COPIES[how](model)
    assert other.tied is other.cells[0].Wh and type(other.tied) is tg.nn.Parameter
    xs = np.ones((1, 4, 2), "f")
    np.testing.assert_array_equal(other(xs)[0].detach(), model(xs)[0].detach())
    other.tied.data[...] = 0
    assert np.any(model.tied.numpy())


# --- repr ----------------------------------------------------------------------------------------


@given(arrays)
def test_repr_is_that_of_numpy_under_our_name(a):
    assert repr(Tensor(a)).split() == repr(a).replace("array(", "Tensor(").split()
    rows = repr(Tensor(a)).split("\n")
    first = rows[0].index("[") if a.ndim else 0
    for row, theirs in zip(rows[1:], repr(a).split("\n")[1:], strict=True):
        assert row == " " + theirs and len(row) - len(row.lstrip()) >= (first if row.strip() else 0)


def test_repr_says_where_a_tensor_comes_from():
    x = Tensor([[1, 2.5]], requires_grad=True)
    assert repr(x) == "Tensor([[1. , 2.5]], requires_grad=True)"
    assert repr(np.tanh(x) * 0) == "Tensor([[0., 0.]], from=multiply)"
    assert repr(x.astype("f").detach()) == "Tensor([[1. , 2.5]], dtype=float32)"
    assert f"{x.mean():.2f}" == "1.75"


# --- numpy.testing and Matplotlib ----------------------------------------------------------------

ASSERTIONS = [
    "assert_allclose", "assert_array_equal", "assert_array_almost_equal", "assert_equal",
    "assert_almost_equal", "assert_array_max_ulp", "assert_array_almost_equal_nulp",
]  # fmt: skip
# These ask ``isinstance(x, np.ndarray)`` of one side, and compare with a bare == if neither is one;
# so they do for arrays of PyTorch, JAX and CuPy. assert_array_... take two Tensors.
WANTS_AN_ARRAY = {"assert_equal", "assert_almost_equal"}


@pytest.mark.parametrize("name", ASSERTIONS)
def test_numpy_testing_takes_tensors(name):
    holds, a = getattr(np.testing, name), np.arange(1.0, 7).reshape(2, 3)
    for left, right in ((Tensor(a), a), (a, Tensor(a))):
        holds(left, right)
        with pytest.raises(AssertionError):
            holds(left + 1, right)
    if name not in WANTS_AN_ARRAY:
        holds(Tensor(a), Tensor(a))
        with pytest.raises(AssertionError):
            holds(Tensor(a), Tensor(a + 1))
    x = Tensor(a, requires_grad=True)
    for left, right in ((x, a), (a, x), *([] if name in WANTS_AN_ARRAY else [(x, x)])):
        with pytest.raises((RuntimeError, TypeError), match="detach"):
            holds(left, right)


@pytest.mark.parametrize("name", sorted(WANTS_AN_ARRAY))
def test_what_asks_for_an_array_never_passes_in_silence(name):
    a = np.arange(1.0, 7).reshape(2, 3)
    with pytest.raises(ValueError, match=r"ambiguous. Use a.any\(\) or a.all\(\)"):
        getattr(np.testing, name)(Tensor(a), Tensor(a))


def test_numpy_testing_orders_tensors():
    a = np.arange(1.0, 7)
    np.testing.assert_array_less(Tensor(a), Tensor(a + 1))
    with pytest.raises(AssertionError):
        np.testing.assert_array_less(Tensor(a), Tensor(a))


v, m = np.linspace(0.1, 0.9, 5), np.eye(4) + 0.5
PLOTS = {
    "plot": (v, v), "scatter": (v, v), "bar": (v, v), "barh": (v, v), "step": (v, v),
    "stem": (v, v), "errorbar": (v, v, v), "fill_between": (v, v), "semilogy": (v,),
    "hist": (v,), "hist2d": (v, v), "boxplot": (v,), "violinplot": (v,), "imshow": (m,),
    "matshow": (m,), "pcolormesh": (m,), "contour": (m,), "quiver": (v, v), "stackplot": (v, v),
}  # fmt: skip


@pytest.mark.parametrize("name", PLOTS)
def test_matplotlib_draws_tensors_as_it_draws_arrays(name):
    pytest.importorskip("matplotlib", reason="it is not installed: pip install matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = []
    for convert in (Tensor, np.array):
        figure = Figure()
        FigureCanvasAgg(figure)
        getattr(figure.add_subplot(), name)(*map(convert, PLOTS[name]))
        figure.canvas.draw()
        drawn.append(np.asarray(figure.canvas.buffer_rgba()))
    np.testing.assert_array_equal(*drawn)


# --- functions without a rule --------------------------------------------------------------------


def no_rule(x):
    yield lambda: np.spacing(x)
    yield lambda: np.i0(x)
    yield lambda: np.roots(x)
    yield lambda: np.quantile(x, 0.5, weights=x, method="inverted_cdf")


def test_what_has_no_rule_takes_tensors_that_want_no_gradient_and_no_others():
    a = np.array([3.0, 1.0, 2.0])
    for detached, wanted, refused in zip(
        no_rule(Tensor(a)), no_rule(a), no_rule(Tensor(a, requires_grad=True)), strict=True
    ):
        results = (r if isinstance(r, tuple) else (r,) for r in (detached(), wanted()))
        for ours, theirs in zip(*results, strict=True):
            assert not isinstance(ours, Tensor)
            np.testing.assert_array_equal(ours, theirs)
        with pytest.raises(TypeError, match=r"np\.\S+: no derivative"):
            refused()
        with pytest.raises(TypeError, match=r"np\.\S+: no derivative"), tg.no_grad():
            refused()


def test_atleast_takes_several():
    x = Tensor(2.0, requires_grad=True)
    for n, f in enumerate([np.atleast_1d, np.atleast_2d, np.atleast_3d], 1):
        one, other = f(x, [1.0, 2.0])
        assert one.shape == (1,) * n and one.requires_grad and other.ndim == n


def test_lists_of_tensors_reach_a_function_without_a_rule_as_lists_of_arrays():
    rows, columns = Tensor([0, 1, 1]), Tensor([2, 0, 3])
    for pack in (list, tuple):
        got = np.ravel_multi_index(pack([rows, columns]), (2, 4))
        assert (got == np.ravel_multi_index((rows.data, columns.data), (2, 4))).all()
    got = np.ix_(rows, columns)
    assert [type(x) for x in got] == [np.ndarray] * 2
    with pytest.raises(TypeError, match="no derivative rule"):
        np.ravel_multi_index([Tensor([0.0], requires_grad=True), columns[:1]], (2, 4))


@pytest.mark.parametrize("dtype", [None, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("copy", [None, True, False])
def test_an_array_of_a_tensor_in_every_dtype_copied_or_not(dtype, copy):
    t = Tensor([1.5, 2.5])
    if copy is False and dtype not in (None, np.float64):
        with pytest.raises(ValueError, match="another dtype needs a copy"):
            t.__array__(dtype, copy=copy)
        return
    got = t.__array__(dtype, copy=copy)
    assert got.dtype == (dtype or np.float64) and (got == t.data.astype(got.dtype)).all()


@pytest.mark.parametrize("value", [[1, 2], (1, 2), np.array([1, 2]), Tensor([1, 2])])
def test_data_is_set_from_whatever_makes_an_array(value):
    t = Tensor(np.zeros(2, np.float32), requires_grad=True)
    t.data = value
    assert t.dtype == np.float32 and t.data.tolist() == [1, 2] and t.requires_grad


def test_what_an_argument_is_called_here_and_what_is_no_array():
    for rows in ([[1.0], [1.0, 2.0]], [[[1.0]], [2.0]], (np.ones(2), np.ones(3))):
        with pytest.raises(ValueError, match=r"Tensor: the (list|tuple) that came is no array"):
            Tensor(rows)
    with pytest.raises(TypeError, match=r"np\.sum: got .* 'dim'; it takes a, axis, dtype"):
        Tensor([1.0]).sum(dim=0)
