"""The models of the book's recurrent chapters, their data, and programs that train them."""

from .language import BetterRnnlm, Rnnlm, SimpleRnnlm
from .seq2seq import AttentionSeq2seq, DeepAttentionSeq2seq, PeekySeq2seq, Seq2seq

__all__ = [
    "AttentionSeq2seq", "BetterRnnlm", "DeepAttentionSeq2seq", "PeekySeq2seq", "Rnnlm", "Seq2seq",
    "SimpleRnnlm",
]  # fmt: skip
