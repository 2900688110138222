"""The layers of Deep Learning from Scratch 2, chapters 1 to 8, with hand-derived backward.

Class names and call signatures are the book's: `forward(...)`, `backward(dout)`, and the lists
`params` and `grads`, whose arrays `backward` fills in place. Each docstring derives what its
`backward` computes. The dtype is that of the arrays given; where their shapes do not fit, NumPy
raises ValueError. NumPy is all that is imported, so that this package can stand as witness against
automatic differentiation; and each forward pass is plain NumPy, which any array that implements
NumPy's protocols can go through.
"""

from .attention import Attention, AttentionWeight, TimeAttention, WeightSum
from .layers import (
    Affine,
    Dropout,
    Embedding,
    MatMul,
    Sigmoid,
    Softmax,
    TimeAffine,
    TimeDropout,
    TimeEmbedding,
)
from .losses import SigmoidWithLoss, SoftmaxWithLoss, TimeSigmoidWithLoss, TimeSoftmaxWithLoss
from .recurrent import GRU, LSTM, RNN, TimeBiLSTM, TimeGRU, TimeLSTM, TimeRNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Affine",
    "Attention",
    "AttentionWeight",
    "Dropout",
    "Embedding",
    "MatMul",
    "Sigmoid",
    "SigmoidWithLoss",
    "Softmax",
    "SoftmaxWithLoss",
    "TimeAffine",
    "TimeAttention",
    "TimeBiLSTM",
    "TimeDropout",
    "TimeEmbedding",
    "TimeGRU",
    "TimeLSTM",
    "TimeRNN",
    "TimeSigmoidWithLoss",
    "TimeSoftmaxWithLoss",
    "WeightSum",
]
