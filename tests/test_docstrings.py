"""Docstrings of all that is public, held to what happens: the shapes that a call takes and gives
stand in them, and the errors that they name are those that bad calls raise."""

import re
import sys

import numpy as np
import pytest

import models
import tinygrad_rnn as tg
import tinygrad_rnn.interop
from tinygrad_rnn import functional as F
from tinygrad_rnn import interop, manual, nn, optim
from tinygrad_rnn.check import LoadError, strategies

MODULES = {"tg": tg, "nn": nn, "optim": optim, "functional": F, "interop": interop,
           "check": tg.check, "strategies": strategies, "manual": manual,
           "models": models}  # fmt: skip
PUBLIC = {f"{prefix}.{name}": getattr(module, name)
          for prefix, module in MODULES.items() for name in module.__all__}  # fmt: skip
PUBLIC |= {f"Tensor.{name}": member for cls in tg.Tensor.__mro__[-2::-1]
           for name, member in vars(cls).items() if not name.startswith("_")}  # fmt: skip


def doc(name):
    """The docstring of the thing itself: a class inherits none."""
    thing = PUBLIC[name]
    own = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    assert own, name
    return own


FORMULAS = {"forward", "backward", "step", "update", "rate"}  # the class tells of these


def test_what_is_public_says_what_it_does():
    for name, thing in PUBLIC.items():
        # Sphinx takes a first line that reads like a call of it for its signature.
        assert not doc(name).startswith(name.split(".")[-1] + "("), name
        for key, method in vars(thing).items() if isinstance(thing, type) else ():
            told = key.startswith("_") or key in FORMULAS or not callable(method)
            assert told or method.__doc__, f"{name}.{key}"
    assert "np.cumsum" in doc("Tensor.cumsum")


@pytest.mark.parametrize("name", [n for n in PUBLIC if re.match("nn|optim|manual|models", n)])
def test_layers_and_rules_name_their_source(name):
    if name not in BASES:
        source = r"\b(1[89]|20)\d\d\)|[Cc]hapters? \d|[Aa]ppendix C|book's common/"
        assert re.search(source, doc(name)), name


# --- shapes --------------------------------------------------------------------------------------

N, T, D, H, V, U, M, K, Tq, Tk, Tx, Ty = 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37  # no two alike
LETTERS = {N: "N", T: "T", D: "D", H: "H", V: "V", U: "U", M: "M", K: "K", Tq: "Tq", Tk: "Tk",
           Tx: "Tx", Ty: "Ty", 2 * H: "2H", 1: "1"}  # fmt: skip


def a(*shape):
    return np.full(shape, 0.5)


def ids(*shape):
    return np.ones(shape, int)


def layer(make, *inputs):
    """What a hand-written layer takes and gives, and its backward too."""
    out = make.forward(*inputs)
    outs = out if isinstance(out, tuple) else (out,)
    back = make.backward(*map(np.ones_like, outs))
    return *inputs, out, *(back if isinstance(back, tuple) else (back,))


def call(f, *inputs):
    return *inputs, f(*inputs)


def answered(model):
    return ids(N, Tx), model(V, D, H).generate(ids(N, Tx), 1, Ty)


def weights(k):
    return a(D, k * H), a(H, k * H), a(k * H)


x, xs, h, logits = a(N, D), a(N, T, D), a(N, H), a(N, T, V)
SHAPES = {
    "functional.sigmoid": lambda: call(F.sigmoid, xs),
    "functional.tanh": lambda: call(F.tanh, xs),
    **{f"functional.{f.__name__}": lambda f=f: call(f, xs) for f in (
        F.relu, F.leaky_relu, F.elu, F.celu, F.silu, F.softplus, F.gelu, F.erf)},
    "functional.nll_loss": lambda: call(F.nll_loss, logits, ids(N, T)),
    "functional.mse_loss": lambda: call(F.mse_loss, xs, xs),
    "functional.l1_loss": lambda: call(F.l1_loss, xs, xs),
    "functional.huber_loss": lambda: call(F.huber_loss, xs, xs),
    "functional.logsumexp": lambda: call(F.logsumexp, logits),
    "functional.softmax": lambda: call(F.softmax, logits),
    "functional.log_softmax": lambda: call(F.log_softmax, logits),
    "functional.cross_entropy": lambda: call(F.cross_entropy, logits, ids(N, T)),
    "functional.binary_cross_entropy_with_logits": lambda: call(
        F.binary_cross_entropy_with_logits, xs, xs),
    "functional.embedding": lambda: call(F.embedding, a(V, D), ids(N, T)),
    "functional.dropout": lambda: call(F.dropout, xs),
    "functional.layer_norm": lambda: call(F.layer_norm, xs, a(D), a(D)),
    "functional.scaled_dot_product_attention": lambda: call(
        F.scaled_dot_product_attention, a(N, Tq, H), a(N, Tk, H), a(N, Tk, M)),
    "nn.Linear": lambda: (*call(nn.Linear(D, H), xs), *nn.Linear(D, H).parameters()),
    "nn.Embedding": lambda: (*call(nn.Embedding(V, D), ids(N, T)), nn.Embedding(V, D).W),
    "nn.Dropout": lambda: call(nn.Dropout(), xs),
    "nn.LayerNorm": lambda: (*call(nn.LayerNorm(D), xs), *nn.LayerNorm(D).parameters()),
    "nn.Sequential": lambda: call(nn.Sequential(np.tanh), xs),
    "nn.RNNCell": lambda: call(nn.RNNCell(D, H), x, h),
    "nn.LSTMCell": lambda: call(nn.LSTMCell(D, H), x, h, h),
    "nn.GRUCell": lambda: call(nn.GRUCell(D, H), x, h),
    "nn.Recurrent": lambda: call(nn.Recurrent(nn.GRUCell(D, H)), xs, h),
    "nn.RNN": lambda: call(nn.RNN(D, H), xs, h),
    "nn.LSTM": lambda: call(nn.LSTM(D, H), xs, (h, h)),
    "nn.GRU": lambda: call(nn.GRU(D, H), xs, h),
    "nn.Attention": lambda: (
        *call(nn.Attention("general", H=H, K=K), a(N, Tq, H), a(N, Tk, K), a(N, Tk, M)),
        *nn.Attention("general", H=H, K=K).parameters()),
    "manual.MatMul": lambda: (a(D, H), *layer(manual.MatMul(a(D, H)), x)),
    "manual.Affine": lambda: (a(D, H), a(H), *layer(manual.Affine(a(D, H), a(H)), x)),
    "manual.Softmax": lambda: layer(manual.Softmax(), logits),
    "manual.Sigmoid": lambda: layer(manual.Sigmoid(), xs),
    "manual.Dropout": lambda: layer(manual.Dropout(), xs),
    "manual.TimeDropout": lambda: layer(manual.TimeDropout(), xs),
    "manual.Embedding": lambda: (a(V, D), *layer(manual.Embedding(a(V, D)), ids(N))),
    "manual.TimeEmbedding": lambda: (a(V, D), *layer(manual.TimeEmbedding(a(V, D)), ids(N, T))),
    "manual.TimeAffine": lambda: (a(D, H), a(H), *layer(manual.TimeAffine(a(D, H), a(H)), xs)),
    "manual.SoftmaxWithLoss": lambda: layer(manual.SoftmaxWithLoss(), a(N, V), ids(N)),
    "manual.SigmoidWithLoss": lambda: layer(manual.SigmoidWithLoss(), xs, xs),
    "manual.TimeSoftmaxWithLoss": lambda: layer(manual.TimeSoftmaxWithLoss(), logits, ids(N, T)),
    "manual.TimeSigmoidWithLoss": lambda: layer(manual.TimeSigmoidWithLoss(), a(N, T), a(N, T)),
    "manual.RNN": lambda: layer(manual.RNN(*weights(1)), x, h),
    "manual.LSTM": lambda: layer(manual.LSTM(*weights(4)), x, h, h),
    "manual.GRU": lambda: layer(manual.GRU(*weights(3)), x, h),
    "manual.TimeRNN": lambda: layer(manual.TimeRNN(*weights(1)), xs),
    "manual.TimeLSTM": lambda: layer(manual.TimeLSTM(*weights(4)), xs),
    "manual.TimeGRU": lambda: layer(manual.TimeGRU(*weights(3)), xs),
    "manual.TimeBiLSTM": lambda: layer(manual.TimeBiLSTM(*weights(4), *weights(4)), xs),
    "manual.WeightSum": lambda: layer(manual.WeightSum(), a(N, T, H), a(N, T)),
    "manual.AttentionWeight": lambda: layer(manual.AttentionWeight(), a(N, T, H), h),
    "manual.Attention": lambda: layer(manual.Attention(), a(N, T, H), h),
    "manual.TimeAttention": lambda: layer(manual.TimeAttention(), a(N, T, H), a(N, U, H)),
    "models.SimpleRnnlm": lambda: call(models.SimpleRnnlm(V, D, H), ids(N, T)),
    "models.Rnnlm": lambda: call(models.Rnnlm(V, D, H), ids(N, T)),
    "models.BetterRnnlm": lambda: call(models.BetterRnnlm(V, H, H), ids(N, T)),
    "models.Seq2seq": lambda: answered(models.Seq2seq),
    "models.PeekySeq2seq": lambda: answered(models.PeekySeq2seq),
    "models.AttentionSeq2seq": lambda: answered(models.AttentionSeq2seq),
    "models.DeepAttentionSeq2seq": lambda: answered(models.DeepAttentionSeq2seq),
    "tg.value_and_grad": lambda: call(tg.value_and_grad(np.sum), xs),
    "tg.vjp": lambda: call(lambda x: tg.vjp(np.tanh, x, x), xs),
    "tg.jvp": lambda: call(lambda x: tg.jvp(np.tanh, x, x), xs),
    "tg.hvp": lambda: call(lambda x: tg.hvp(np.sum, x, x), xs),
}
BASES = {"nn.Module", "nn.Parameter", "nn.Buffer", "nn.Cell", "optim.Optimizer",
         "optim.Schedule"}  # compute nothing themselves


def shapes(x):
    if isinstance(x, (tuple, list)):
        return [s for part in x for s in shapes(part)]
    return [] if x is None else [np.shape(x)]


def forms(shape):
    """How a docstring may write a shape: (N, T, D), or (..., D) for any number of axes before."""
    names = [LETTERS[n] for n in shape]
    yield f"({', '.join(names)}{',' * (len(names) == 1)})" if names else "scalar"
    yield from (f"({', '.join(['...', *names[i:]])})" for i in range(len(names) + 1) if names)
    if names:
        yield from ("any shape", "any one shape")


@pytest.mark.parametrize("name", SHAPES)
def test_docstrings_give_the_shapes_that_come_and_go(name):
    text = " ".join(doc(name).split())
    for shape in shapes(SHAPES[name]()):
        assert any(form in text for form in forms(shape)), f"{name}: {next(forms(shape))}"


def test_no_layer_is_left_out():
    wanted = {n for n in PUBLIC if n.split(".")[0] in ("functional", "nn", "manual", "models")}
    bases = {n for n in BASES if n.startswith("nn.")}
    assert wanted - {"nn.summary"} == {n for n in SHAPES if not n.startswith("tg.")} | bases


@pytest.mark.parametrize("f", [F.sigmoid, F.tanh, F.relu, F.softmax, F.log_softmax, F.logsumexp,
                               F.dropout])  # fmt: skip
def test_functions_keep_the_dtype_of_floats_and_refuse_complex_numbers(f):
    for given, wanted in (("f2", "f2"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("?", "f8")):
        assert f(np.ones((2, 3), given)).dtype == wanted
    with pytest.raises(TypeError, match="real numbers are wanted"):
        f(np.ones((2, 3), complex))


# --- errors --------------------------------------------------------------------------------------


def leaf():
    return tg.Tensor(a(N, D), requires_grad=True)


def used():
    y = leaf().sum()
    y.backward()
    return y


def without(library, f, *args):
    """Call f where ``library`` is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, library, None)
        f(*args)


def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def infinite():
    p = leaf()
    p.grad = a(N, D) * np.inf
    return p


def drawn_anew():
    numbers = iter(range(9))
    return tg.checkpoint(lambda x: np.sum(x * next(numbers)))(leaf())


def sgd():
    return optim.SGD([leaf()])


linear, stacked = nn.Linear(D, H), nn.LSTM(D, H, 2)
BAD = {
    "tg.Tensor": [lambda: tg.Tensor([1j]), lambda: tg.Tensor([1], requires_grad=True)],
    "Tensor.backward": [lambda: leaf().backward(), lambda: tg.Tensor(1.0).backward(),
                        lambda: used().backward(), lambda: leaf().backward(a(N))],
    "Tensor.item": [lambda: leaf().item()], "Tensor.view": [lambda: leaf().view(int)],
    "Tensor.requires_grad": [lambda: setattr(tg.Tensor([1]), "requires_grad", True),
                             lambda: setattr(leaf() * 2, "requires_grad", False)],
    "Tensor.grad": [lambda: setattr(leaf(), "grad", a(N)),
                    lambda: setattr(leaf() * 2, "grad", a(N, D))],
    "Tensor.to_device": [lambda: leaf().to_device("gpu")],
    "Tensor.data": [lambda: setattr(leaf(), "data", a(N))],
    "tg.grad": [lambda: tg.grad(leaf().sum(), tg.Tensor(1.0)), lambda: tg.grad(3.0, leaf()),
                lambda: tg.grad(used(), leaf()),
                lambda: tg.grad(tg.Tensor(1.0), leaf()), lambda: tg.grad(leaf().sum(), leaf()),
                lambda: tg.grad(leaf(), leaf()), lambda: tg.grad(leaf(), leaf(), a(N))],
    "tg.value_and_grad": [lambda: tg.value_and_grad(np.tanh)(xs),
                          lambda: tg.value_and_grad(lambda x: None)(xs),
                          lambda: tg.value_and_grad(np.sum, 1)(xs)],
    "tg.vjp": [lambda: tg.vjp(np.tanh, xs), lambda: tg.vjp(np.tanh, xs, h),
               lambda: tg.vjp(lambda x: None, xs)],
    "tg.jvp": [lambda: tg.jvp(np.tanh, xs, h), lambda: tg.jvp(np.tanh, xs, (xs, xs)),
               lambda: tg.jvp(lambda x: None, xs, xs)],
    "tg.hvp": [lambda: tg.hvp(np.tanh, xs, xs), lambda: tg.hvp(np.sum, xs, h),
               lambda: tg.hvp(lambda x: None, xs, xs)],
    "tg.jacobian": [lambda: tg.jacobian(lambda x: None, xs)],
    "tg.checkpoint": [lambda: drawn_anew().backward(), lambda: tg.checkpoint(np.tanh, 1.0)],
    "tg.manual_seed": [lambda: tg.manual_seed(-1), lambda: tg.manual_seed(0.5)],
    "tg.set_num_threads": [lambda: tg.set_num_threads(0), lambda: tg.set_num_threads(1.5)],
    "tg.from_dlpack": [lambda: tg.from_dlpack([1.0]), lambda: tg.from_dlpack(leaf())],
    "tg.draw": [lambda: tg.draw(used()), lambda: tg.draw(xs), lambda: tg.draw(leaf(), {"x": xs})],
    "tg.cell_steps": [lambda: tg.cell_steps(xs).__enter__()],
    "tg.jit": [lambda: tg.jit(lambda x: float(x.sum()))(xs),
               lambda: tg.jit(np.tanh, fallback="x")],
    "tg.functional": [lambda: F.relu(np.ones(3, complex))],
    "tg.manual": [lambda: manual.MatMul(x).forward(x)],
    "tg.optim": [lambda: optim.AdamW([]), lambda: optim.SGD([x]), lambda: optim.SGD([leaf() * 2]),
                 lambda: optim.SGD(leaf() * 1), lambda: optim.SGD(linear),
                 lambda: optim.Adam([leaf()], betas=(1, 0.9)), lambda: optim.SGD([leaf()], -1)],
    "optim.clip_grad_norm_": [lambda: optim.clip_grad_norm_([infinite()], 1.0, 2.0, True),
                              lambda: optim.clip_grad_norm_([leaf()], 1.0, 0),
                              lambda: optim.clip_grad_norm_(linear, 1.0)],
    "optim.clip_grad_value_": [lambda: optim.clip_grad_value_([leaf()], -1.0),
                               lambda: optim.clip_grad_value_(linear, 1.0)],
    "optim.EMA": [lambda: optim.EMA([leaf()], 1.5), lambda: optim.EMA(linear)],
    "optim.Schedule": [lambda: optim.Schedule(sgd()), lambda: optim.Schedule(1)],
    "optim.StepLR": [lambda: optim.StepLR(sgd(), 0), lambda: optim.StepLR(1, 1)],
    "optim.ExponentialLR": [lambda: optim.ExponentialLR(1, 1)],
    "optim.LinearLR": [lambda: optim.LinearLR(sgd(), total_iters=0), lambda: optim.LinearLR(1)],
    "optim.CosineAnnealingLR": [lambda: optim.CosineAnnealingLR(sgd(), 0),
                                lambda: optim.CosineAnnealingLR(1, 1)],
    "optim.OneCycleLR": [lambda: optim.OneCycleLR(sgd(), 1, 5, anneal_strategy="x"),
                         lambda: optim.OneCycleLR(sgd(), 1, 0), lambda: optim.OneCycleLR(1, 1, 5),
                         lambda: optim.OneCycleLR(sgd(), 1, 1).step()],
    "optim.SequentialLR": [lambda: optim.SequentialLR(sgd(), [], []),
                           lambda: optim.SequentialLR(1, [optim.StepLR(sgd(), 1)], [])],
    "optim.ReduceLROnPlateau": [lambda: optim.ReduceLROnPlateau(sgd(), "x"),
                                lambda: optim.ReduceLROnPlateau(sgd(), factor=1),
                                lambda: optim.ReduceLROnPlateau(1)],
    **{f"functional.{f.__name__}": [lambda f=f: f(x, a(N)), lambda f=f: f(x, x, "x")]
       for f in (F.mse_loss, F.l1_loss)},
    "functional.huber_loss": [lambda: F.huber_loss(x, a(N)), lambda: F.huber_loss(x, x, "x"),
                              lambda: F.huber_loss(x, x, delta=0)],
    "functional.gelu": [lambda: F.gelu(x, "x")],
    "functional.nll_loss": [lambda: F.nll_loss(x, ids(T)), lambda: F.nll_loss(x, ids(N) * D),
                            lambda: F.nll_loss(x, a(N))],
    "functional.logsumexp": [lambda: F.logsumexp(x, 2), lambda: F.logsumexp(a(N, 0))],
    "functional.softmax": [lambda: F.softmax(x, 2), lambda: F.softmax(a(N, 0))],
    "functional.log_softmax": [lambda: F.log_softmax(x, 2), lambda: F.log_softmax(a(N, 0))],
    "functional.cross_entropy": [lambda: F.cross_entropy(x, ids(T)),
                                 lambda: F.cross_entropy(x, ids(N) * D),
                                 lambda: F.cross_entropy(x, ids(N) * -2),
                                 lambda: F.cross_entropy(x, ids(N), weight=a(N)),
                                 lambda: F.cross_entropy(x, ids(N), reduction="x"),
                                 lambda: F.cross_entropy(x, ids(N), label_smoothing=2),
                                 lambda: F.cross_entropy(x, a(N))],
    "functional.binary_cross_entropy_with_logits": [
        lambda: F.binary_cross_entropy_with_logits(x, a(N)),
        lambda: F.binary_cross_entropy_with_logits(x, x, "x")],
    "functional.embedding": [lambda: F.embedding(x, a(N)), lambda: F.embedding(x, ids(N) * N),
                             lambda: F.embedding(x, -ids(N)), lambda: F.embedding(h[0], ids(N))],
    "functional.dropout": [lambda: F.dropout(x, 1.0), lambda: F.dropout(x, -0.1)],
    "functional.layer_norm": [lambda: F.layer_norm(x, a(H), a(D)),
                              lambda: F.layer_norm(x, a(D), a(H))],
    "functional.scaled_dot_product_attention": [
        lambda: F.scaled_dot_product_attention(xs, a(N, T, H), xs)],
    "nn.Module": [lambda: nn.Module()(), lambda: setattr(nn.Linear(D, H), "W", a(D, H))],
    "nn.Sequential": [lambda: nn.Sequential(1)],
    "nn.summary": [lambda: nn.summary(1)],
    "nn.Parameter": [lambda: nn.Parameter([1])],
    "nn.Linear": [lambda: linear(h)],
    "nn.Embedding": [lambda: nn.Embedding(V, D, V), lambda: nn.Embedding(V, 0),
                     lambda: nn.Embedding(V, D)(x),
                     lambda: nn.Embedding(V, D)(-ids(N))],
    "nn.Dropout": [lambda: nn.Dropout(1)],
    "nn.LayerNorm": [lambda: nn.LayerNorm(D)(h)],
    "nn.Cell": [lambda: nn.Cell(D, H)(x, h), lambda: nn.Cell(D, H)(h, h)],
    "nn.RNNCell": [lambda: nn.RNNCell(D, H, "x"), lambda: nn.RNNCell(D, H)(h, h),
                   lambda: nn.RNNCell(D, H)(x, x)],
    "nn.LSTMCell": [lambda: nn.LSTMCell(D, H, H), lambda: nn.LSTMCell(D, 0),
                    lambda: nn.LSTMCell(D, H)(h, h, h), lambda: nn.LSTMCell(D, H)(x, h, x)],
    "nn.GRUCell": [lambda: nn.GRUCell(D, H, reset="x"), lambda: nn.GRUCell(D, H, update="x"),
                   lambda: nn.GRUCell(D, H, recurrent_bias=True), lambda: nn.GRUCell(D, H)(x, x)],
    "nn.Recurrent": [lambda: nn.Recurrent([]), lambda: stacked(x), lambda: stacked(xs[:, :0]),
                     lambda: nn.Recurrent(nn.RNNCell(D, H), bidirectional=True),
                     lambda: nn.Recurrent(nn.RNNCell(D, H), dropout=1), lambda: stacked(xs, h),
                     lambda: stacked(xs, lengths=ids(N) * U), lambda: stacked(xs, lengths=a(N)),
                     lambda: stacked(xs, resets=ids(N)), lambda: stacked(xs, resets=a(N, T)),
                     lambda: nn.Recurrent(stacked), lambda: nn.Recurrent(linear)(xs)],
    "nn.RNN": [lambda: nn.RNN(D, H)(x), lambda: nn.RNN(D, H, nonlinearity="relu")],
    "nn.LSTM": [lambda: nn.LSTM(D, H)(x), lambda: nn.LSTM(D), lambda: nn.LSTM(D, [H, H], 3)],
    "nn.GRU": [lambda: nn.GRU(D, H)(x), lambda: nn.GRU(D, H, reset="x"), lambda: nn.GRU()],
    "nn.Attention": [lambda: nn.Attention("x"), lambda: nn.Attention("general"),
                     lambda: nn.Attention()(x, xs), lambda: nn.Attention()(xs, a(N, T, H))],
    "manual.Dropout": [lambda: manual.Dropout(1.1)],
    "manual.TimeDropout": [lambda: manual.TimeDropout(1)],
    "manual.Embedding": [lambda: manual.Embedding(x).forward(ids(N) * N)],
    "manual.TimeEmbedding": [lambda: manual.TimeEmbedding(x).forward(ids(N, T) * N)],
    "manual.SoftmaxWithLoss": [lambda: manual.SoftmaxWithLoss().forward(x, a(N)),
                               lambda: manual.SoftmaxWithLoss().forward(x, ids(N) * D)],
    "manual.TimeSoftmaxWithLoss": [
        lambda: manual.TimeSoftmaxWithLoss().forward(xs, a(N, T)),
        lambda: manual.TimeSoftmaxWithLoss().forward(xs, ids(N, T) * D)],
    "manual.SigmoidWithLoss": [lambda: manual.SigmoidWithLoss().forward(x, a(N))],
    "manual.TimeSigmoidWithLoss": [lambda: manual.TimeSigmoidWithLoss().forward(x, a(N))],
    "manual.TimeRNN": [lambda: manual.TimeRNN(*weights(1)).forward(x)],
    "manual.TimeLSTM": [lambda: manual.TimeLSTM(*weights(4)).forward(xs[:, :0])],
    "manual.TimeGRU": [lambda: manual.TimeGRU(*weights(3)).forward(x)],
    "manual.TimeBiLSTM": [
        lambda: manual.TimeBiLSTM(*weights(4), *weights(4)).forward(xs[:, :0])],
    "check.check_gradients": [lambda: tg.check.check_gradients(np.tanh, x, order=3),
                              lambda: tg.check.check_gradients(np.tanh, ids(N)),
                              lambda: tg.check.check_gradients(lambda t: t * t.detach(), x)],
    "check.assert_matches_autograd": [lambda: tg.check.assert_matches_autograd(object(), x)],
    "check.check": [lambda: tg.check.check("nowhere.py")],
    "check.check_file": [lambda: tg.check.check_file("nowhere.py"),
                         lambda: tg.check.check_file(models.__file__, only="Nothing")],
    "strategies.sizes": [lambda: strategies.sizes(3, distinct=True)],
    "interop.from_keras": [lambda: interop.from_keras("Dense", []),
                           lambda: interop.from_keras("LSTM", [x]),
                           lambda: interop.from_keras("LSTM", [x, x]),
                           lambda: interop.from_keras("text"),
                           lambda: interop.from_keras("nowhere.keras"),
                           lambda: without("h5py", interop.from_keras, "text")],
    "interop.to_keras": [lambda: interop.to_keras(linear), lambda: interop.to_keras(stacked)],
    "interop.to_onnx": [lambda: interop.to_onnx(linear), lambda: interop.to_onnx(stacked, 16),
                        lambda: without("onnx", interop.to_onnx, stacked)],
    "interop.from_torch": [lambda: torch() and interop.from_torch(linear),
                           lambda: interop.from_torch(torch().nn.Embedding(V, D, padding_idx=0)),
                           lambda: without("torch", interop.from_torch, linear)],
    "interop.to_torch": [lambda: torch() and interop.to_torch(nn.Dropout()),
                         lambda: torch() and interop.to_torch(nn.GRU(D, H)),
                         lambda: torch() and interop.to_torch(
                             nn.RNN([nn.RNNCell(D, H), nn.RNNCell(H, D)])),
                         lambda: torch() and interop.to_torch(nn.GRU(D, D, residual=True)),
                         lambda: without("torch", interop.to_torch, linear)],
    "interop.save_safetensors": [
        lambda: without("safetensors.numpy", interop.save_safetensors, linear, "x"),
        lambda: interop.save_safetensors({}, "x")],
    "interop.load_safetensors": [
        lambda: interop.load_safetensors(linear, "nowhere.safetensors"),
        lambda: interop.load_safetensors(linear, saved(nn.LayerNorm(D))),
        lambda: interop.load_safetensors(linear, saved(nn.Linear(H, D))),
        lambda: interop.load_safetensors(linear, "text")],
    "interop.read_safetensors": [lambda: interop.read_safetensors("nowhere.safetensors"),
                                 lambda: interop.read_safetensors("text")],
    "interop.from_state_dict": [lambda: interop.from_state_dict("nowhere.pth"),
                                lambda: interop.from_state_dict("text")],
    "interop.load_torch": [
        lambda: interop.load_torch(linear, "nowhere.pth"),
        lambda: interop.load_torch(linear, "text"), lambda: interop.load_torch(linear, {}),
        lambda: interop.load_torch(linear, {"weight": x, "bias": x})],
    "interop.read_torch": [lambda: interop.read_torch("nowhere.pth"),
                           lambda: interop.read_torch("text")],
    "interop.read_pickled": [lambda: interop.read_pickled("nowhere.pkl"),
                             lambda: interop.read_pickled("text")],
    "interop.from_onnx": [lambda: interop.from_onnx("nowhere.onnx"),
                          lambda: interop.from_onnx("text"), lambda: interop.from_onnx(computed()),
                          lambda: without("onnx", interop.from_onnx, "x")],
    "models.Rnnlm": [lambda: models.Rnnlm(V, cell="x"), lambda: models.Rnnlm(V)(-ids(N, T))],
    "models.SimpleRnnlm": [lambda: models.SimpleRnnlm(V)(ids(N, T) * V)],
    "models.BetterRnnlm": [lambda: models.BetterRnnlm(V, D, H)],
    "models.Seq2seq": [lambda: models.Seq2seq(V).loss(ids(N, Tx) * V, ids(N, Ty))],
    "models.AttentionSeq2seq": [lambda: models.AttentionSeq2seq(V, score="x"),
                                lambda: models.AttentionSeq2seq(V, D, H, bidirectional=True)],
    "models.DeepAttentionSeq2seq": [lambda: models.DeepAttentionSeq2seq(V, score="x")],
}  # fmt: skip


def saved(module):
    interop.save_safetensors(module, "weights.safetensors")
    return "weights.safetensors"


def computed():
    model = interop.to_onnx(nn.LSTM(D, H))
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    node.input[1] = "xs"
    return model


def raised(f):
    with pytest.raises(Exception) as error:
        f()
    assert str(error.value) or error.type is NotImplementedError
    return error.type


@pytest.mark.parametrize("name", [n for n in PUBLIC if PUBLIC[n] not in (tg.JitError, LoadError)])
def test_docstrings_name_the_errors_of_bad_calls_and_no_others(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "onnx" in name:
        pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
    if "safetensors" in name:
        pytest.importorskip("safetensors", reason="it is not installed: pip install safetensors")
    if "keras" in name:
        pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")
    (tmp_path / "text").write_text("no model")
    named = set(re.findall(r"\b([A-Z]\w*Error)s?\b", doc(name)))
    assert named == {raised(f).__name__ for f in BAD.get(name, [])}
