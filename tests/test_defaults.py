"""Defaults are promises: those of NumPy where a function is NumPy's, and else those written here.

PyTorch has the same, where it has the function (test_functional.py, test_optim.py hold them to it).
"""

import inspect

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, functional, nn, optim
from tinygrad_rnn.derived import DERIVED, METHODS
from tinygrad_rnn.errors import name_of

NOT_TOLD = {  # where NumPy's is a marker for "not given"
    "keepdims": False, "where": True, "initial": None, "mean": None, "correction": None,
    "prepend": None, "append": None, "rtol": None, "axis": -1, "a_min": np._NoValue,
    "a_max": np._NoValue, "min": np._NoValue, "max": np._NoValue,
}  # fmt: skip
IN_KWARGS = {  # of np.pad and np.einsum, which take them as **kwargs
    "constant_values": 0, "end_values": 0, "stat_length": None, "reflect_type": "even",
    "order": "K", "casting": "safe", "dtype": None,
}  # fmt: skip


def defaults(f):
    return {p.name: p.default for p in inspect.signature(f).parameters.values()
            if p.default is not p.empty}  # fmt: skip


def test_of_numpys_functions_they_are_numpys():
    told = 0
    for fn, same in DERIVED.items():
        try:
            theirs = inspect.signature(fn).parameters
        except ValueError:  # those written in C tell theirs from NumPy 2.4 on
            continue
        for name, default in defaults(same).items():
            want = theirs[name].default if name in theirs else IN_KWARGS.get(name, default)
            want = NOT_TOLD[name] if want is np._NoValue else want
            if want is inspect.Parameter.empty:  # a default of newer versions
                continue
            assert type(default) is type(want) and default == want, (name_of(fn), name)
            told += 1
    assert told > 200
    assert defaults(METHODS["reduce"]) == {
        "axis": 0, "keepdims": False, "initial": None, "where": True}  # fmt: skip
    assert defaults(METHODS["accumulate"]) == defaults(METHODS["reduceat"]) == {"axis": 0}


RATE = {"lr": 0.01, "weight_decay": 0.0, "maximize": False}
ADAM = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False, "maximize": False}
LAYER = {"D": None, "H": None, "num_layers": None, "bidirectional": False, "dropout": 0.0,
         "residual": False, "stateful": False, "recurrent_dropout": 0.0, "checkpoint": False,
         "dtype": np.float32, "rng": None}  # fmt: skip
REDUCE = {"axis": None, "keepdims": False}
PROMISED = {
    tg.grad: {"grad_output": None, "create_graph": False, "allow_unused": False,
              "retain_graph": None},
    tg.value_and_grad: {"argnums": 0}, tg.vjp: {"v": None}, Tensor: {"requires_grad": False},
    tg.jit: {"f": None, "fallback": None, "cache_size": 8, "fast": True},
    Tensor.backward: {"grad": None, "retain_graph": False, "create_graph": False},
    **dict.fromkeys((Tensor.sum, Tensor.mean, Tensor.max, Tensor.min, Tensor.prod), REDUCE),
    Tensor.sort: {"axis": -1}, Tensor.partition: {"axis": -1}, Tensor.copy: {"order": "C"},
    Tensor.astype: {"copy": True}, Tensor.flatten: {"order": "C"}, Tensor.tobytes: {"order": "C"},
    Tensor.reshape: {"order": "C"}, Tensor.compress: {"axis": None}, Tensor.view: {"dtype": None},
    Tensor.clip: {"min": None, "max": None}, Tensor.__round__: {"decimals": 0},
    functional.binary_cross_entropy_with_logits: {"reduction": "mean"},
    functional.celu: {"alpha": 1.0}, functional.elu: {"alpha": 1.0},
    functional.cross_entropy: {"ignore_index": -1, "weight": None, "reduction": "mean",
                               "label_smoothing": 0.0},
    functional.nll_loss: {"ignore_index": -1, "weight": None, "reduction": "mean"},
    functional.dropout: {"p": 0.5, "training": True, "rng": None},
    functional.embedding: {"padding_idx": None}, functional.gelu: {"approximate": "none"},
    functional.huber_loss: {"reduction": "mean", "delta": 1.0},
    functional.l1_loss: {"reduction": "mean"}, functional.mse_loss: {"reduction": "mean"},
    functional.layer_norm: {"eps": 1e-5}, functional.leaky_relu: {"slope": 0.01},
    functional.softmax: {"axis": -1}, functional.log_softmax: {"axis": -1},
    functional.logsumexp: {"axis": -1, "keepdims": False},
    functional.scaled_dot_product_attention: {"mask": None},
    functional.softplus: {"beta": 1.0, "threshold": 20.0},
    nn.Attention: {"score": "dot", "H": None, "K": None, "A": None, "dtype": np.float32,
                   "rng": None},
    nn.Dropout: {"p": 0.5, "rng": None}, nn.LayerNorm: {"eps": 1e-5, "dtype": np.float32},
    nn.Embedding: {"padding_idx": None, "dtype": np.float32, "rng": None},
    nn.Linear: {"bias": True, "dtype": np.float32, "rng": None},
    nn.RNNCell: {"activation": "tanh", "dtype": np.float32, "rng": None},
    nn.LSTMCell: {"proj_size": 0, "dtype": np.float32, "rng": None},
    nn.GRUCell: {"reset": "before", "update": "new", "recurrent_bias": False,
                 "dtype": np.float32, "rng": None},
    nn.Cell: {"dtype": np.float32, "rng": None, "out": None},
    nn.RNN: LAYER, nn.LSTM: LAYER, nn.GRU: LAYER, nn.Module.train: {"training": True},
    nn.Recurrent: {k: LAYER[k] for k in ("bidirectional", "dropout", "residual", "stateful",
                                         "recurrent_dropout", "checkpoint")},
    optim.Optimizer: {"weight_decay": 0.0, "maximize": False}, optim.SGD: RATE,
    optim.Momentum: RATE | {"momentum": 0.9, "dampening": 0.0},
    optim.Nesterov: RATE | {"momentum": 0.9}, optim.AdaGrad: RATE | {"eps": 1e-10},
    optim.RMSprop: RATE | {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False},
    optim.Adam: ADAM | {"weight_decay": 0.0, "book": False}, optim.EMA: {"decay": 0.999},
    optim.AdamW: ADAM | {"weight_decay": 0.01}, optim.StepLR: {"gamma": 0.1},
    optim.LinearLR: {"start_factor": 1 / 3, "end_factor": 1.0, "total_iters": 5},
    optim.CosineAnnealingLR: {"eta_min": 0.0},
    optim.OneCycleLR: {
        "pct_start": 0.3, "anneal_strategy": "cos", "cycle_momentum": True, "base_momentum": 0.85,
        "max_momentum": 0.95, "div_factor": 25.0, "final_div_factor": 1e4},
    optim.ReduceLROnPlateau: {
        "mode": "min", "factor": 0.1, "patience": 10, "threshold": 1e-4, "threshold_mode": "rel",
        "cooldown": 0, "min_lr": 0.0, "eps": 1e-8},
    optim.clip_grad_norm_: {"norm_type": 2.0, "error_if_nonfinite": False},
}  # fmt: skip


@pytest.mark.parametrize("f", PROMISED, ids=lambda f: f.__qualname__)
def test_what_is_promised(f):
    ours = defaults(f)
    for name, want in PROMISED[f].items():
        assert type(ours[name]) is type(want) and ours[name] == want, name
