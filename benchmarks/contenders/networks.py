"""The four networks for libraries that differentiate by themselves.

``ops`` gives what these call differently; ``p`` holds the weights by name. Returns the loss and the
state that a language model carries over.
"""


def loss(w, ops, p, xs, ts, state):
    return (seq2seq if w.seq2seq else language_model)(w, ops, p, xs, ts, state)


def language_model(w, ops, p, xs, ts, state):
    hs = ops.dropout(p["embed.W"][xs]) if w.dropout else p["embed.W"][xs]
    carried = []
    for k in range(w.layers):
        hs, last = ops.lstm(f"recurrent.cells.{k}", p, hs, state[k])
        carried.append(last)
        hs = ops.dropout(hs) if w.dropout else hs
    if w.name == "better":
        logits = hs @ p["embed.W"].T + p["b"]
    else:
        logits = hs @ p["affine.W"] + p["affine.b"]
    return ops.cross_entropy(logits, ts), carried


def seq2seq(w, ops, p, xs, ts, state):
    encoded, last = ops.lstm("encoder.lstm.cells.0", p, p["encoder.embed.W"][xs], state[0])
    hs, _ = ops.lstm("decoder.lstm.cells.0", p, p["decoder.embed.W"][ts[:, :-1]], last)
    if w.name == "date":
        weights = ops.softmax(hs @ ops.transpose(encoded))
        hs = ops.concatenate([weights @ encoded, hs])
    logits = hs @ p["decoder.affine.W"] + p["decoder.affine.b"]
    return ops.cross_entropy(logits, ts[:, 1:]), state
