"""The models as ONNX graphs, for programs without Python: see ``tinygrad_rnn.interop``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_rnn import nn
from tinygrad_rnn.interop.onnx import Graph

from .language import BetterRnnlm, LanguageModel, Rnnlm
from .seq2seq import (
    AttentionDecoder,
    Decoder,
    DeepAttentionDecoder,
    InputFeedingDecoder,
    PeekyDecoder,
    Seq2seq,
)

IDS = np.int64


def language_model_to_onnx(model: LanguageModel, opset: int = 17) -> Any:
    """A language model as an ONNX model (``onnx.ModelProto``); batch and time are dynamic.

    Inputs: ``ids (N, T)`` int64; ``lengths (N,)`` int32 from 1, T where nothing is padded; the
    state ``h0``, of LSTMs also ``c0``, ``(layers, N, H)``, zeros at the start of a text. Outputs:
    ``logits (N, T, V)``, and the state ``h``, ``c`` to go on from. As in evaluation: without
    dropout. TypeError for a model of one's own, ValueError for an opset other than 17 to 22.
    """
    if not isinstance(model, (Rnnlm, BetterRnnlm)):
        raise TypeError(f"language_model_to_onnx: {type(model).__name__}, wanted an Rnnlm or"
                        " BetterRnnlm")
    graph = Graph(model, opset, "language_model_to_onnx")
    ids = graph.input("ids", ["batch", "time"], IDS)
    lengths = graph.input("lengths", ["batch"], np.int32)
    hs, states = graph.stateful(model.recurrent, graph.embedding(model.embed, ids), lengths)
    if isinstance(model, Rnnlm):
        logits = graph.linear(model.affine, hs)
    else:  # one matrix for both ends
        W = graph.transpose(graph.parameter(model.embed.W), 1, 0)
        logits = graph.add("Add", graph.add("MatMul", hs, W), graph.parameter(model.b))
    graph.output("logits", logits, ["batch", "time", model.embed.W.shape[0]], graph.dtype)
    graph.output_states(model.recurrent, states)
    return graph.model()


def seq2seq_to_onnx(model: Seq2seq, opset: int = 17) -> tuple[Any, Any]:
    """Encoder and decoder step of a sequence-to-sequence model, as two ONNX models.

    The encoder reads ``ids (N, Tx)`` int64 and ``lengths (N,)`` int32 from 1. It gives
    ``encoded (N, Tx, H)`` and the state in which the decoder starts: ``h0 c0 h1 c1 ...``,
    ``(N, H)`` for each layer, and ``context`` where the decoder is fed with it. The decoder reads
    ``ids (N, Ty)`` and, under the names that the encoder gave them, the state and what it wants of
    ``encoded`` and ``lengths``. It gives ``logits (N, Ty, V)``, with attention
    ``weights (N, Ty, Tx)``, and the state to go on from: ``next_h0`` for ``h0``, and so on. A step
    is Ty = 1; without input feeding Ty may be more (teacher forcing). Padding beyond ``lengths``
    is not looked at.

    TypeError for a decoder of one's own, ValueError for an opset other than 17 to 22.
    """
    decoder = model.decoder
    if type(decoder) not in DECODERS:
        raise TypeError(f"seq2seq_to_onnx: {type(decoder).__name__}, wanted "
                        + ", ".join(kind.__name__ for kind in DECODERS))
    return _encoder(model, opset), _decoder(decoder, opset)


def _encoder(model: Seq2seq, opset: int) -> Any:
    encoder = model.encoder
    H = _hidden(model.decoder)
    graph = Graph(encoder, opset, "seq2seq_to_onnx")
    ids = graph.input("ids", ["batch", "input_time"], IDS)
    lengths = graph.input("lengths", ["batch"], np.int32)
    hs, states = graph.recurrent(encoder.lstm, graph.embedding(encoder.embed, ids), lengths)
    graph.output("encoded", hs, ["batch", "input_time", H], graph.dtype)
    for i, state in enumerate(states):
        for part, value in zip("hc", state, strict=True):  # both directions side by side
            whole = graph.reshape(graph.transpose(value, 1, 0, 2), 0, -1)
            graph.output(f"{part}{i}", whole, ["batch", H], graph.dtype)
    if isinstance(model.decoder, InputFeedingDecoder):
        shape = graph.concat(graph.size(ids, 0), graph.constant([H]), axis=0)
        zeros = graph.add("Expand", graph.constant(0, graph.dtype), shape)
        graph.output("context", zeros, ["batch", H], graph.dtype)
    return graph.model()


def _decoder(decoder: Any, opset: int) -> Any:
    graph = Graph(decoder, opset, "seq2seq_to_onnx")
    time = 1 if isinstance(decoder, InputFeedingDecoder) else "time"
    ids = graph.input("ids", ["batch", time], IDS)
    logits, weights = DECODERS[type(decoder)](graph, decoder, ids)
    V = decoder.embed.W.shape[0]
    graph.output("logits", logits, ["batch", time, V], graph.dtype)
    if weights is not None:
        graph.output("weights", weights, ["batch", time, "input_time"], graph.dtype)
    return graph.model()


# ---- one function for each decoder: its forward once more, on a graph ---------------------------


def _plain(graph: Graph, decoder: Decoder, ids: str) -> tuple[str, str | None]:
    hs = _lstm(graph, decoder.lstm, graph.embedding(decoder.embed, ids), 0)
    return graph.linear(decoder.affine, hs), None


def _peeky(graph: Graph, decoder: PeekyDecoder, ids: str) -> tuple[str, str | None]:
    encoded, lengths = _encoded(graph, decoder)
    last = graph.add("Sub", graph.add("Cast", lengths, to=graph.onnx.TensorProto.INT64),
                     graph.constant(1))  # fmt: skip
    peek = graph.add("GatherND", encoded, graph.unsqueeze(last, 1), batch_dims=1)
    one = graph.constant([1])
    peek = graph.add("Expand", graph.unsqueeze(peek, 1),
                     graph.concat(one, graph.size(ids, 1), one, axis=0))  # fmt: skip
    hs = _lstm(graph, decoder.lstm, graph.concat(peek, graph.embedding(decoder.embed, ids)), 0)
    return graph.linear(decoder.affine, graph.concat(peek, hs)), None


def _attention(graph: Graph, decoder: AttentionDecoder, ids: str) -> tuple[str, str | None]:
    hs = _lstm(graph, decoder.lstm, graph.embedding(decoder.embed, ids), 0)
    context, weights = _attend(graph, decoder, hs)
    return graph.linear(decoder.affine, graph.concat(context, hs)), weights


def _feeding(graph: Graph, decoder: InputFeedingDecoder, ids: str) -> tuple[str, str | None]:
    hs, contexts, weights = _fed(graph, decoder, ids)
    return graph.linear(decoder.affine, graph.concat(contexts, hs)), weights


def _deep(graph: Graph, decoder: DeepAttentionDecoder, ids: str) -> tuple[str, str | None]:
    hs, contexts, weights = _fed(graph, decoder, ids)
    for i, lstm in enumerate(decoder.upper):
        below = hs
        hs = _lstm(graph, lstm, graph.concat(contexts, below), i + 1)
        if decoder.residual:
            hs = graph.add("Add", hs, below)
    return graph.linear(decoder.affine, graph.concat(contexts, hs)), weights


DECODERS: dict[type[Decoder], Callable[[Graph, Any, str], tuple[str, str | None]]] = {
    Decoder: _plain,
    PeekyDecoder: _peeky,
    AttentionDecoder: _attention,
    InputFeedingDecoder: _feeding,
    DeepAttentionDecoder: _deep,
}


def _fed(graph: Graph, decoder: InputFeedingDecoder, ids: str) -> tuple[str, str, str]:
    """The LSTM of one step that also reads the context of the step before, and its attention."""
    context = graph.input("context", ["batch", _hidden(decoder)], graph.dtype)
    xs = graph.concat(graph.embedding(decoder.embed, ids), graph.unsqueeze(context, 1))
    hs = _lstm(graph, decoder.lstm, xs, 0)
    contexts, weights = _attend(graph, decoder, hs)
    graph.output("next_context", graph.squeeze(contexts, 1), ["batch", _hidden(decoder)],
                 graph.dtype)  # fmt: skip
    return hs, contexts, weights


def _attend(graph: Graph, decoder: AttentionDecoder, hs: str) -> tuple[str, str]:
    encoded, lengths = _encoded(graph, decoder)
    mask = graph.real(lengths, graph.size(encoded, 1))
    return graph.attention(decoder.attention, hs, encoded, mask)


def _encoded(graph: Graph, decoder: Decoder) -> tuple[str, str]:
    H = _hidden(decoder)
    return (graph.input("encoded", ["batch", "input_time", H], graph.dtype),
            graph.input("lengths", ["batch"], np.int32))  # fmt: skip


def _lstm(graph: Graph, lstm: nn.LSTM, xs: str, i: int) -> str:
    """The i-th LSTM of a decoder, from its state to its next state."""
    shape: list[int | str | None] = ["batch", _hidden_of(lstm)]
    state = [graph.unsqueeze(graph.input(f"{part}{i}", shape, graph.dtype), 0) for part in "hc"]
    hs, (final,) = graph.recurrent(lstm, xs, states=[state])
    for part, value in zip("hc", final, strict=True):
        graph.output(f"next_{part}{i}", graph.squeeze(value, 0), shape, graph.dtype)
    return hs


def _hidden(decoder: Decoder) -> int:
    return _hidden_of(decoder.lstm)


def _hidden_of(lstm: nn.LSTM) -> int:
    return int(lstm.cells[0].Wh.shape[0])
