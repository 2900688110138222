"""The models of the book's recurrent chapters, their data, and programs that train them."""

from .seq2seq import AttentionDecoder, AttentionSeq2seq, Encoder

__all__ = ["AttentionDecoder", "AttentionSeq2seq", "Encoder"]
