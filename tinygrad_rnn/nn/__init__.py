"""Cells, layers and attention as plain tensor expressions; there is no backward in here."""

from .attention import Attention
from .layers import Dropout, Embedding, LayerNorm, Linear
from .module import Module, Parameter
from .recurrent import GRU, LSTM, RNN, Cell, GRUCell, LSTMCell, Recurrent, RNNCell

__all__ = [
    "GRU", "LSTM", "RNN", "Attention", "Cell", "Dropout", "Embedding", "GRUCell", "LSTMCell",
    "LayerNorm", "Linear", "Module", "Parameter", "RNNCell", "Recurrent",
]  # fmt: skip
