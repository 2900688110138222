"""Cells, layers and attention as plain tensor expressions; there is no backward in here."""

from .attention import Attention
from .layers import Dropout, Embedding, LayerNorm, Linear
from .module import Buffer, Module, Parameter, Sequential
from .recurrent import GRU, LSTM, RNN, Cell, GRUCell, LSTMCell, Recurrent, RNNCell
from .summary import summary

__all__ = [
    "GRU", "LSTM", "RNN", "Attention", "Buffer", "Cell", "Dropout", "Embedding", "GRUCell",
    "LSTMCell", "LayerNorm", "Linear", "Module", "Parameter", "RNNCell", "Recurrent", "Sequential",
    "summary",
]  # fmt: skip
