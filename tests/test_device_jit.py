"""``tg.jit`` on arrays of a device (``device.py``): what is replayed, what crosses, what kernels
compute, and when a graph is captured."""

import shutil

import device
import numpy as np
import pytest
from device import Device, crossings, to_device
from numpy.testing import assert_allclose, assert_array_equal
from test_device import BROUGHT, FUNCTIONS, LAYERS, LIBRARY, MODELS, OPTIMIZERS, on_device

import tinygrad_rnn as tg
from models import Rnnlm
from tinygrad_rnn import Tensor, nn, optim
from tinygrad_rnn import functional as F
from tinygrad_rnn.jit.chains import gather
from tinygrad_rnn.jit.device import EXPRESSIONS, Kernel
from tinygrad_rnn.jit.passes import drop_unused
from tinygrad_rnn.jit.proof import interpret
from tinygrad_rnn.jit.tape import Call, Tape, Value
from tinygrad_rnn.optim import clip_grad_norm_
from tinygrad_rnn.tensor import host

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="kernels are compiled by cc")


@pytest.fixture(autouse=True)
def count():
    crossings.clear()
    device.cuda.launches = 0


def training_step(model, optimizer):
    def step(xs, ts):
        loss = model.loss(xs, ts)
        loss.backward()
        clip_grad_norm_(optimizer.params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def trained(make, batches, recorded, optimizer=optim.Adam):
    """Losses, the model and the recorded function after a step for each batch, on the device."""
    tg.manual_seed(1)
    model = make()
    model.to(LIBRARY)
    step = training_step(model, optimizer(model.parameters()))
    step = tg.jit(step) if recorded else step
    return [step(*batch).item() for batch in batches], model, step


def same(found, expected, tolerance=1e-5):
    assert_allclose(found[0], expected[0], rtol=tolerance)
    for (name, a), b in zip(found[1].state_dict().items(), expected[1].state_dict().values(),
                            strict=True):
        assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_step_of_each_model(name):
    batches = np.random.default_rng(0).integers(0, 9, (7, 2, 4, 6))
    expected = trained(MODELS[name], batches, recorded=False)
    found = trained(MODELS[name], batches, recorded=True)
    same(found, expected, 1e-4)
    assert all(map(on_device, found[1].parameters()))
    crossings.clear()
    loss = found[2](*batches[0])
    assert not crossings["out"] and crossings["in"] <= BROUGHT[name] + 1  # all numbers together
    assert on_device(loss) and np.isfinite(loss.item())
    assert device.cuda.launches


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_crossings_of_a_recorded_step(name):
    batches = np.random.default_rng(0).integers(0, 9, (7, 2, 4, 6))
    make = lambda: Rnnlm(9, 5, 6, dtype=float)  # noqa: E731
    expected = trained(make, batches, False, OPTIMIZERS[name])
    found = trained(make, batches, True, OPTIMIZERS[name])
    same(found, expected, 1e-10)
    crossings.clear()
    found[2](*batches[0]).item()
    # ids, targets, which of them count, and all numbers that change, in one array
    assert crossings["in"] <= 4 and crossings["out"] == 1
    assert device.cuda.launches


@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_inputs_that_lie_there(name):
    rng = np.random.default_rng(0)
    tg.manual_seed(1)
    layer = LAYERS[name]().to(LIBRARY)

    def gradients(xs):
        hs, _ = layer(xs)
        return hs, *tg.grad((hs * hs).sum(), list(layer.parameters()))

    recorded = tg.jit(gradients)
    for _ in range(5):
        xs = to_device(rng.normal(size=(3, 5, 3)))
        state = layer.state
        expected = gradients(xs)
        layer.state = state
        for a, b in zip(recorded(xs), expected, strict=True):
            assert on_device(a)
            assert_allclose(host(a.detach()), host(b.detach()), rtol=1e-10, atol=1e-12)


def test_masks_of_dropout_come_from_the_host():
    found = []
    for recorded in (False, True):
        rng, w = np.random.default_rng(3), Tensor(to_device(np.ones((4, 5))), requires_grad=True)

        def step(rng=rng, w=w):
            F.dropout(w, 0.5, True, rng).sum().backward()

        f = tg.jit(step) if recorded else step
        for _ in range(6):
            f()
        found.append(host(w.grad))
    assert_array_equal(*found)


def test_weights_and_states_that_are_put_in_their_place_meanwhile():
    batches = np.random.default_rng(0).integers(0, 9, (6, 2, 4, 6))
    found = []
    for recorded in (False, True):
        _, model, step = trained(lambda: Rnnlm(9, 5, 6, dtype=float), batches, recorded)
        kept = {k: v + 0.1 for k, v in model.state_dict().items()}
        losses = []
        for i, (xs, ts) in enumerate(batches):
            if i == 2:
                model.load_state_dict(kept)
            if i == 3:
                for p in model.parameters():
                    p.data = host(p) * 0.5 if i < 3 else p.data * 0.5
            if i == 4:
                model.reset_state()
            if i == 5:
                losses.append(model.eval().loss(xs, ts).item())
                model.train()
            losses.append(step(xs, ts).item())
        found.append((losses, model))
    same(*found[::-1], 1e-10)


def test_a_raw_array_that_is_edited_and_a_number_that_counts():
    class Mean:
        changing = ("n",)

        def __init__(self, total):
            self.n, self.total = 0, total

        def add(self, xs):
            self.n += 1
            self.total += xs
            return self.total / self.n

    found = []
    for recorded in (False, True):
        mean = Mean(to_device(np.zeros(3)))
        f = tg.jit(mean.add) if recorded else mean.add
        found.append([f(to_device(np.arange(3.0) * i)).get() for i in range(6)])
        assert mean.n == 6
    assert_allclose(*found)


def test_what_a_check_waits_for_is_replayed_call_by_call():
    """Ids that lie on the device are looked at there, for which it has to be waited."""
    weight = Tensor(to_device(np.arange(6.0).reshape(3, 2)))
    f = tg.jit(lambda ids: F.embedding(weight, ids) * 2)
    for _ in range(5):
        assert_array_equal(host(f(to_device([2, 0]))), [[8, 10], [0, 2]])
    assert not device.cuda.launches
    with pytest.raises(IndexError, match="ids from 0 to 3"):
        f(to_device([0, 3]))


def test_ids_of_the_host_are_checked_at_each_replay_before_they_move():
    weight = Tensor(to_device(np.arange(6.0).reshape(3, 2)))
    f = tg.jit(lambda ids: F.embedding(weight, ids) * 2)
    for _ in range(5):
        assert_array_equal(host(f(np.array([2, 0]))), [[8, 10], [0, 2]])
    assert device.cuda.launches
    crossings.clear()
    with pytest.raises(IndexError, match="ids from 0 to 3"):
        f(np.array([0, 3]))
    assert not crossings


def test_what_goes_over_and_is_read_on_the_host_too():
    logits = to_device(np.random.default_rng(0).normal(size=(4, 3)))

    def f(targets):
        counted = targets != -1
        return F.cross_entropy(logits, targets), np.sum(counted), counted

    recorded = tg.jit(f)
    for targets in ([0, -1, 2, 1], [-1, -1, 0, 0], [2, 2, 2, 2], [1, -1, -1, -1]):
        found, expected = recorded(np.array(targets)), f(np.array(targets))
        assert_allclose(found[0].item(), expected[0].item(), rtol=1e-12)
        assert type(found[1]) is type(expected[1]) and found[1] == expected[1]
        assert_array_equal(found[2], expected[2])


@pytest.mark.parametrize("name", [*MODELS, *LAYERS, *sorted(FUNCTIONS.keys() - {"dropout"})])
def test_a_replay_allocates_what_it_returns_and_nothing_else(name, monkeypatch):
    monkeypatch.delattr(device, "cuda")  # in a graph nothing is allocated anyway
    if name in MODELS:
        batches = np.random.default_rng(0).integers(0, 9, (4, 2, 4, 6))
        _, _, step = trained(MODELS[name], batches[:3], recorded=True)
        inputs = batches[3]
    else:
        layer = name in LAYERS and LAYERS[name]().to(LIBRARY)

        def gradient(x):
            leaf = Tensor(x, requires_grad=True)
            y = layer(leaf)[0] if layer else FUNCTIONS[name](leaf)
            return y, *tg.grad((y * y).sum(), [leaf])

        inputs = [to_device(np.ones((3, 5, 3) if layer else (3, 4)))]
        step = tg.jit(gradient)
        for _ in range(3):
            step(*inputs)
    device.allocations.clear()
    step(*inputs)
    assert set(device.allocations) == {"copy"} and device.allocations["copy"] <= 3  # with states


def test_arrays_that_the_host_tells_where_they_are_have_no_place_in_a_graph():
    """More than eight at once are joined by CuPy by a list of addresses. Joins on a tape are made
    one by one; of others there is no graph, which would read that list when it is gone."""
    xs = [to_device(np.full(2, float(i))) for i in range(12)]
    for join, launches in ((np.stack, 3), (np.vstack, 0)):
        f = tg.jit(lambda *xs, join=join: join(xs) * 2)
        device.cuda.launches = 0
        for _ in range(6):
            assert_array_equal(f(*xs).get(), np.arange(12.0)[:, None] * [2, 2])
        assert device.cuda.launches == launches
    assert "call by call: JitError" in f.explain()


def test_indices_that_are_lists_are_sent_once():
    f = tg.jit(lambda x: x[[2, 0]] + x[:, [1, 1, 0]][:2, :2])
    x = np.arange(6.0).reshape(3, 2)
    for _ in range(5):
        assert_array_equal(f(to_device(x)).get(), x[[2, 0]] + x[:, [1, 1, 0]][:2, :2])
    assert device.cuda.launches
    crossings.clear()
    f(to_device(x))
    assert crossings == {"in": 1}


@pytest.mark.parametrize("read", [
    lambda x, i, j: x[i, j], lambda x, i, j: x[i], lambda x, i, j: x[:, j], lambda x, i, j: x[1, 2],
    lambda x, i, j: x[i[:, None], j], lambda x, i, j: np.swapaxes(x, 0, 1)[j, i],
    lambda x, i, j: np.swapaxes(x, 0, 1).reshape(-1),
    lambda x, i, j: np.where(x > 1, x, i[:, None]),
    lambda x, i, j: x.astype(np.float32) * 2, lambda x, i, j: np.var(x, axis=0) + x[0, 0],
    lambda x, i, j: x.argmax(axis=1) + i, lambda x, i, j: np.where(x[0] > 1, 2, 3) * x,
])
def test_what_is_written_in_another_way_is_the_same(read):
    rng = np.random.default_rng(0)
    f = tg.jit(read)
    for _ in range(5):
        x, i, j = rng.normal(size=(3, 4)), rng.integers(-3, 3, 3), rng.integers(-4, 4, 3)
        found, expected = f(*map(to_device, (x, i, j.astype(np.int8)))), read(x, i, j)
        assert found.dtype == expected.dtype
        assert_allclose(found.get(), expected, rtol=1e-6)


def test_a_library_without_kernels_and_graphs(monkeypatch):
    monkeypatch.delattr(device, "ElementwiseKernel")
    monkeypatch.delattr(device, "cuda")
    batches = np.random.default_rng(0).integers(0, 9, (5, 2, 4, 6))
    make = lambda: Rnnlm(9, 5, 6)  # noqa: E731
    same(trained(make, batches, True), trained(make, batches, False))


def test_what_is_not_recorded_says_so():
    x = to_device(np.arange(4.0))

    class Counter:
        changing = ("i",)
        i = 0

    counter = Counter()
    counter.i = 1

    def item():
        counter.i += 1
        return x[counter.i - 2]

    with pytest.raises(tg.JitError, match="getitem of a number that changes"):
        tg.jit(item)()
    assert float(tg.jit(item, fallback="eager")()) == 0
    with pytest.raises(tg.JitError, match="float of a value that is being recorded"):
        tg.jit(lambda a: float(a[0]))(x)


def test_host_and_device_meet_nowhere_else():
    with pytest.raises(TypeError, match=r"of the host|NotImplemented|unsupported"):
        tg.jit(lambda a, b: a * b)(to_device(np.ones(3)), np.ones(3))


def test_explain():
    layer = nn.Linear(3, 2).to(LIBRARY)
    f = tg.jit(lambda xs: np.tanh(layer(xs)))
    f(to_device(np.ones((2, 3), np.float32)))
    assert "calls recorded" in f.explain() and "planned" in f.explain()
    for _ in range(3):
        f(to_device(np.ones((2, 3), np.float32)))
    assert "replayed as one CUDA graph" in f.explain()


# ---- kernels ----

def chain(rng, kind, shapes, n):
    """A tape of ``n`` elementwise calls on inputs of these shapes, of which some are results."""
    tape = Tape(inputs=[Value(shape, kind) for shape in shapes])
    known, masks = list(tape.inputs), []
    fns = list(EXPRESSIONS)
    for _ in range(n):
        fn = fns[rng.integers(len(fns))]
        arity = getattr(fn, "nin", 2)
        args = [known[rng.integers(len(known))] for _ in range(arity)]
        if arity == 2 and rng.random() < 0.3:
            args[rng.integers(2)] = [0.5, -3, np.inf, 1e-3][rng.integers(4)]
        if not any(isinstance(a, Value) and a.shape == shapes[0] for a in args):
            args[0] = known[0]
        if fn is np.where:
            if not masks:
                continue
            args.insert(0, masks[rng.integers(len(masks))])
        asks = fn in (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
        made = Value(shapes[0], np.dtype(bool) if asks else kind)
        (masks if asks else known).append(made)
        tape.calls.append(Call(fn, tuple(args), {}, made))
    tape.results = [call.out for call in tape.calls[::3]]
    return tape


@pytest.mark.parametrize("seed", range(12))
def test_kernels_compute_what_numpy_does(seed):
    rng = np.random.default_rng(seed)
    kind = np.dtype([np.float32, np.float64][seed % 2])
    shapes = [[(3, 4), (4,), (), (3, 1)], [(2, 3, 5), (5,), (3, 1), ()], [(), ()]][seed % 3]
    tape = chain(rng, kind, shapes, 20)
    inputs = [np.asarray(rng.normal(size=shape), kind) for shape in shapes]
    inputs[0][...] = np.where(rng.random(shapes[0]) < 0.2, np.nan, inputs[0])
    with np.errstate(all="ignore"):
        expected = interpret(tape, {})(inputs)
    fused = gather(drop_unused(tape), Kernel, 0.0)
    known = dict(zip(tape.inputs, inputs, strict=True))
    for call in fused.calls:
        if isinstance(call.fn, Kernel):
            made = [np.empty(out.shape, out.dtype) for out in call.outs]
            device.ElementwiseKernel(*call.fn.kernel)(
                *(Device(known[v]) for v in call.fn.inputs), *map(Device, made))
            known.update(zip(call.outs, made, strict=True))
        else:
            with np.errstate(all="ignore"):
                known[call.out] = np.asarray(call.fn(*(
                    known.get(a, a) if isinstance(a, Value) else a for a in call.args)))
    assert any(isinstance(call.fn, Kernel) for call in fused.calls)
    tolerance = 1e-4 if kind == np.float32 else 1e-11
    for value, want in zip(tape.results, expected, strict=True):
        assert_allclose(known[value], want, rtol=tolerance, atol=tolerance)


def test_a_kernel_reads_all_before_it_writes_over_an_operand():
    a, b = Value((4,), np.dtype(float)), Value((4,), np.dtype(float))
    total, product = Value((4,), np.dtype(float)), Value((4,), np.dtype(float))
    kernel = Kernel([Call(np.add, (a, b), {}, total), Call(np.multiply, (a, total), {}, product)],
                    {total, product})
    x, y, z = np.arange(4.0), np.full(4, 2.0), np.empty(4)
    device.ElementwiseKernel(*kernel.kernel)(*map(Device, (x, y, x, z)))  # the sum over a
    assert_array_equal(x, np.arange(4.0) + 2)
    assert_array_equal(z, np.arange(4.0) * (np.arange(4.0) + 2))
