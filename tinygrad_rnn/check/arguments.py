"""What an argument may be, by its name: shapes in symbols, the likeliest first. The names only say
what is tried first; a new name is one line of a table.

Notation: ``N,D`` floats of that shape (weights, where a constructor takes them), ``.`` a number;
``i:N,T`` ids below V, ``z:N`` ids below 2, ``o:N,V`` one-hot rows, ``p:N,T`` probabilities,
``m:N,T`` a mask; ``l:N`` lengths, up to T; ``#T`` a size; ``s:N,D`` a shape or a list of sizes;
``=True`` a value; ``rng``; ``corpus``; ``words`` a dict of them; ``tanh`` a function.
G stands for all gates.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

SIZES = {"N": 3, "T": 4, "U": 2, "D": 5, "H": 6, "V": 7, "Z": 2,  # all of use together differ
         "C": 5, "X": 4, "K": 3, "A": 2, "S": 2}  # channels, pixels, kernel, heads, samples
DIVISIBLE = {"D": 8, "H": 6}  # where a layer wants sizes that can be divided into heads
GATES = {"lstm": "fgio", "gru": "zrh", "rnn": ""}  # in the book's order
LOSS = r"loss|entropy|nll|criterion|squared_?error|mse\b|mae\b|bce\b"  # of classes
LABELS = {"t", "ts", "target", "targets", "label", "labels", "y_true", "teacher", "correct",
          "true", "gt", "actual", "answer", "answers", "expected", "desired", "ground_truth"}


class Optimizer:
    """One that leaves all as it is, for layers that hand it their gradients."""

    def update(self, params, grads):
        return params


def draw(*shape):
    """Weights of a shape: of init_fn(D, H), or init_fn((D, H))."""
    rng = np.random.default_rng(sum(map(int, np.ravel(shape))))
    return rng.normal(size=[int(n) for n in np.ravel(shape)])


class Inner:
    """A layer x @ W, of as many outputs as inputs: what a layer is handed that holds layers."""

    def __init__(self, sizes, values):
        self.W = np.asarray(values.array((sizes["D"],) * 2, 0.5))
        self.dW = np.zeros_like(self.W)
        self.params, self.grads = [self.W], [self.dW]

    def forward(self, x, *_, **__):
        self.x = x
        return x @ self.W

    __call__ = forward

    def backward(self, dout, *_, **__):
        rows = [a.reshape(-1, len(self.W)) for a in (self.x, dout)]
        self.dW[...] = rows[0].T @ rows[1]
        return dout @ self.W.T


def inners(sizes, values):
    """Two of them."""
    return [Inner(sizes, values), Inner(sizes, values)]


class Activation:
    """tanh as an object: to be called, or with a forward and a backward, and with its derivative
    under whatever name."""

    def forward(self, x, *_, **__):
        self.y = np.tanh(x)
        return self.y

    __call__ = forward

    def backward(self, dout, *_, **__):
        return dout * (1 - self.y**2)

    def __getattr__(self, name):
        if re.fullmatch(r"d|d_?f|deriv\w*|prime|grad\w*|\w+_(prime|deriv\w*|grad\w*)", name):
            return FUNCTIONS["tanh_prime"]
        raise AttributeError(name)


def activation(sizes, values):
    return Activation()


FUNCTIONS = {"draw": draw, "draw_rows": lambda *n: draw(*n) if np.size(n) > 1 else draw(1, *n),
             "tanh": np.tanh, "tanh_prime": lambda x: 1 - np.tanh(x) ** 2,
             "optimizer": Optimizer()}
_DRAWN = {"draw": "(n,)", "draw_rows": "(1, n)"}  # what they give for a size


class Random:
    """Values: normal weights, ids with repetitions that are not all the same, distributions."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def array(self, shape, scale=1.0):
        return scale * self.rng.normal(size=shape)

    def ids(self, shape, n):
        ids = self.rng.integers(0, n, shape)
        if ids.size > 1:
            ids.reshape(-1)[-1] = ids.reshape(-1)[0]
        if ids.size > 2 and n > 1 and (ids == ids.reshape(-1)[0]).all():
            ids.reshape(-1)[1] = (ids.reshape(-1)[1] + 1) % n  # labels that are all 0 hide them
        return ids


@dataclass(frozen=True)
class Spec:
    """One argument: ``kind`` is float, weight, distribution, ids, onehot, mask, lengths, corpus,
    words, rng, size, shape (a list), tuple (one, too), settings (a dict), made (by a function)
    or value."""

    kind: str
    shape: tuple[str, ...] = ()
    value: Any = None

    def make(self, sizes, values):
        if self.kind == "value":
            return self.value
        if self.kind == "made":
            return self.value(sizes, values)
        if self.kind == "settings":
            return dict(self.value)
        if self.kind == "rng":
            return np.random.default_rng(0)
        if self.kind in FUNCTIONS:
            return FUNCTIONS[self.kind]
        if self.kind == "size":
            return measure(self.value, sizes)
        if self.kind == "words":
            ends = ["<NULL>", "<START>", "<END>", "<UNK>"]
            return {w: i for i, w in enumerate([*ends, *"abcdefgh"][: sizes["V"]])}
        if self.kind == "corpus":  # every word, and some of them more often
            n = measure(self.value, sizes)
            return np.concatenate([np.arange(n), np.arange(n // 2), np.arange(n // 3)])
        shape = tuple(measure(s, sizes) for s in self.shape)
        if self.kind in ("shape", "tuple"):
            return list(shape) if self.kind == "shape" else shape
        if self.kind == "ids":
            return values.ids(shape, measure(self.value, sizes))
        if self.kind == "lengths":  # one of them the whole
            lengths = values.ids(shape, sizes["T"]) + 1
            lengths[:1] = sizes["T"]
            return lengths
        if self.kind in ("onehot", "distribution") and self.shape[1:] == ("N",):  # in columns
            return replace(self, shape=self.shape[::-1]).make(sizes, values).T.copy()
        if self.kind == "onehot":
            return np.eye(shape[-1])[values.ids(shape[:-1], shape[-1])]
        if self.kind == "mask":
            mask = values.ids(shape, 2).astype(bool)
            mask[..., 0] = True  # something is left in every row
            mask.reshape(-1)[1:2] = False
            return mask
        if self.kind == "distribution":
            e = np.exp(values.array(shape))
            return e / (1 + e if shape[-1:] == (1,) else e.sum(-1, keepdims=True))
        return np.asarray(values.array(shape, 0.5 if self.kind == "weight" else 1.0))

    def transposed(self):
        """The same where the batch stands in columns: x (D, N), W (H, D), b (H, 1)."""
        labels = self.kind in ("onehot", "distribution") and (*self.shape[:1], len(self.shape)) == (
            "N", 2)
        if not self.shape or not (labels or self.kind in ("float", "weight")):
            return self
        shape = (*self.shape, "1") if len(self.shape) < 2 else self.shape[::-1]
        if len(shape) == 3:
            shape = shape[0], shape[2], shape[1]  # (D, N, T)
        return replace(self, shape=shape)

    def single(self):
        """The same of one sample, without a batch: x (D,), xs (T, D)."""
        return replace(self, shape=tuple(s for s in self.shape if s != "N"))

    def words(self):
        """ "(N, T, D)", with what stands there if these are no floats."""
        if self.kind in _DRAWN:
            return _DRAWN[self.kind]
        if self.kind == "made":
            return "[...]" if self.value is inners else "(...)"
        shape = "(" + ", ".join(self.shape) + ("," if len(self.shape) == 1 else "") + ")"
        said = {"float": "", "weight": "", "ids": "ids ", "onehot": "one-hot ",
                "distribution": "probabilities ", "mask": "a mask ", "lengths": "lengths "}
        return said[self.kind] + shape if self.kind in said else str(
            dict(self.value) if self.kind == "settings" else self.value)


def measure(symbol: str, sizes):
    """ "4H" -> 4 times the size of H."""
    if "+" in symbol:
        return sum(measure(part, sizes) for part in symbol.split("+"))
    if symbol.lstrip("-").isdigit():
        return int(symbol)
    return int(symbol[:-1] or 1) * sizes[symbol[-1]]


_KINDS = {"i": "ids", "z": "ids", "o": "onehot", "p": "distribution", "m": "mask", "l": "lengths",
          "s": "shape", "t": "tuple"}


def specs(text: str, gates: str = "H", kind: str = "float") -> list[Spec]:
    """The notation as Specs; ``kind``: of a shape alone."""
    found = []
    for word in text.split():
        mark, _, shape = word.rpartition(":")
        axes = () if shape == "." else tuple(gates if a == "G" else a for a in shape.split(","))
        if word[0] == "=":
            found.append(Spec("value", value=ast.literal_eval(word[1:])))
        elif word[0] == "#":
            found.append(Spec("size", value=word[1:]))
        elif word in ("rng", "corpus", "words", *FUNCTIONS):
            found.append(Spec(word, (), "V" if word == "corpus" else None))
        else:
            found.append(Spec(_KINDS.get(mark, kind), axes, {"i": "V", "z": "Z"}.get(mark)))
    return list(dict.fromkeys(found))


_CURVES = r"^\S*(relu|elu|_lu|swish|silu|softplus|snake|mish)(?!.*\bgamma\b)"  # with a slope
IMAGES = r"conv|pool|spatial|im2col|2d"

# Arguments of a constructor: the name without _ and digits at its end; what class (with its number
# of gates); what it may be.
_INIT = [
    (r"w([a-z])\1", "", "H,H"),
    (r"[wv](y[ah]|hy|ho|hv|out|y)|vo", "", "H,V H,D H,H"),
    (r"by|bo|bout|bv|c", "", "V H D =2"),
    (r"w[fioguczrn]", "", "D,H H+D,H D+H,G H,H"),
    (r"wx|wih|win|u", "", "D,G"), (r"w[xi][a-z]?", "", "D,H"),
    (r"wh|wrec", "", "H,G D,H"), (r"w[hr][a-z]?", "", "H,H D,H"),
    (r"bias|b[a-z]?[a-z]?", IMAGES, "H 1,1,1,H D"),
    (r"bias|b[a-z]?[a-z]?", "bias", "H D V 1,H"),
    (r"bias|b[a-z]?[a-z]?", " [234]$", "G H 1,G"), (r"bias|b[a-z]?[a-z]?", "", "H D V"),
    (r"w|weights?|embedw|wembed|wemb", IMAGES, "H,C,K,K K,K,C,H"),
    (r"w|weights?|embedw|wembed|wemb", "embed", "V,D D,H"),
    (r"w|weights?|embedw|wembed|wemb", "", "D,H V,D D,G H,H H,C,K,K D,V"),
    (r"theta|coefs?", "", "D D,1 D,H"),
    (r"scale(factor)?", r"^\S*(sampl|scal)", "#S"),
    (r"gamma|beta|scale|shift|g", "spatial_?group", "1,C,1,1 C D H"),
    (r"gamma|beta|scale|shift|g", IMAGES, "C 1,C,1,1 D H"),
    (r"gamma|beta|scale|shift|g", "", "D H"),
    (r"growth(rate)?", "", "#S #T"), (r".*(ratio|prob|drop|rate).*|p", "", "=0.4"),
    (r"(words?|chars?|tokens?|vocab)(to|2)(i[dx]|idx|ids|index|indices)", "", "words"),
    (r"corpus|vocab", "", "corpus #V"), (r".*heads?", "", "#A"),
    (r"\w*init(iali[sz]er)?(fn|func|function|er)?", "", "draw =None ='xavier' ='he'"),
    (r"rng|generator|randomstate", "", "rng"), (r"opt(imi[sz]er)?", "", "optimizer"),
    (r"d?act(ivation)?(function|func|fn|f)?(prime|d\w*|grad\w*)|dact\w*|deriv\w*|prime", "",
     "tanh_prime"),
    (r"act(ivation)?(function|func|fn|f)?", "", "tanh ='tanh' ='relu'"),
    (r"samplesize|windowsize|window|sample", "", "#S #1"),
    (r"power|lr|eps(ilon)?|momentum|alpha|temperature|(weight(init)?)?std", "", "=0.75 =0.01"),
    (r"(is|use|with|train.|stateful|return|reset).*", "", "=False =True"),
    (r".*mask.*", "", "m:T,T m:N,T =None"), (r"[avx]?min(val(ue)?)?", "", "=-0.5"),
    (r"[avx]?max(val(ue)?)?", "", "=0.5"), (r"ax[ei]s", "", "=1 =0 =None =(1,0)"),
    (r"dims?", "", "#D =1 =0 =None =(1,0)"),
    (r"d(ata)?type", "", "='float64'"),
    (r"shape", IMAGES, "t:H,C,K,K t:H,K,K,C t:K,K,C,H"),
    (r"(new|target|out(put)?)?shape", "", "t:D,N t:T,N,D t:1,D t:-1"),
    (r".*shape", "", "t:D,H t:D"),
    (r"stride|pad(ding)?(width|size)?|dilation", "", "=1 =0 =2"),
    (r"(kernel|filter|pool)(size|shape|h|w|height|width)?|k", "", "#K #S =(2,2)"),
]  # fmt: skip
IN_SHAPE = re.compile(r"in(put)?_?(shape|dims?)|shape_?in(put)?", re.IGNORECASE)
# ... sizes, by the whole name; the last are weights of any name, and what says nothing.
_NAMED_SIZES = [
    (rf"(?!.*dim){IN_SHAPE.pattern}", "t:D t:T,D t:C,X,X t:X,X,C"),
    (r"shape_?out(put)?", "t:H t:D t:X,X,H t:C,X,X"),
    (r"hidden_?(size_?list|sizes|dims|layers|units)", "s:H,H #H"),
    (r"(layers?_?)?(dims|sizes)", "s:D,H,V #H"),
    (r"(n_?)?(vocab|words?|classes|labels|V|dict)(_?(size|num|dim|n))?", "#V #D"),
    (r"word_?(to|2)?_?vec(tor)?s?(_?(size|num|dim|n))?|d_?model|model_?dim", "#D #V #H"),
    (r"(n_?|num_?)?(hidden|h|hid|units?|neurons?|nodes?|state)(_?(size|dim|units?|num|n|d))?|H"
     r"|hidden_dims?|d_?ff|ff_?dim", "#H #D #V"),
    (r"(n_?|num_?)?(wordvec|embed(ding)?|inputs?|in|x|d|emb)"
     r"(_?(size|dim|features?|num|units|n|d|ch(annels?)?))?|D", "#D #V #H"),
    (r"(n_?|num_?)?(out(put)?)(_?(size|dim|features?|num|units|n|d|ch(annels?)?))?|O", "#H #D #V"),
    (r"(batch|N)(_?size)?", "#N"), (r"(n|num)_?(layers?|blocks?)", "#2"),
    (r"time_?(size|steps)?|T|(max_?)?(seq_?)?len(gth)?|block_?size", "#T"),
    (r"\w+_(size|dim|num)", "#D #H #V"),
]  # fmt: skip
_ANY_WEIGHT = [(" [234]$", "D,G H,G D,H H,H V,D H,V H"), ("", "D,H H,H V,D H,V H")]
_ANYTHING = "#D #H #V #S D,G H H,G G D V,D =0.5 =None =True corpus"

TRAINING = re.compile(r"_*(is_?|in_?)?train(ing)?(_?(mode|flag|flg|phase))?")
_KEEPING = r"(save|store|retain)_?\w*|cache|keep_?(cache|x|input)|needs?_?grad\w*"
KEEPING = re.compile(f"{TRAINING.pattern}|{_KEEPING}")

# Arguments of forward: the name; what class, whether it runs over time, and what stands beside.
_INPUTS = [
    (r"x|inputs?", r"^\S*squeeze(?!.*exc)", "N,1,1,C N,C,1,1 N,1,D N,D,1"),
    (r"[xaz]|a_?prev|(x|inputs?|im(age|g)s?)(_(tensor|data|batch))?", rf"^\S*({IMAGES})",
     "N,C,X,X N,X,X,C N,C,X"),
    (r"reg\w*|lambda?_?|lambd|l2_?(reg)?|weight_decay|lr|learning_rate|eps(ilon)?", "", "=0.1"),
    (r"act(ivation)?(_?(function|func|fn|f))?", "", "='sigmoid' ='relu' ='tanh'"),
    (r"alpha|beta|\w*slope", _CURVES, "=0.1 . D"),
    (_KEEPING, "", "=True =False"),
    (r"keep_?dims?", "", "=True =False"), (r"dims?|ax[ei]s", "", "=1 =0 =-1 =(1,0) =None"),
    (r"(new_?|target_?|out(put)?_?)?shape|sizes", "", "t:D,N t:N,D t:T,N,D t:-1"),
    (r"keep\w*|p_keep|drop(out)?_?\w*", "", "=0.6"), (r"g|groups|n(um)?_groups", "", "#1"),
    ("|".join(LABELS), r"loss.* beside .*\b(w\d|theta)\b",
     "z:N i:N z:N,T i:N,T o:N,V o:N,H o:N,D N,H N,V"),
    ("|".join(LABELS), " over time",
     "i:N,T z:N,T i:N o:N,T,V o:N,V o:N,T,H o:N,H z:N N,H N,D N,T,H z:N,D N,V"),
    ("|".join(LABELS), "", "i:N i:N,T o:N,V o:N,T,V z:N,T z:N o:N,H o:N,D N,H N,D N,T,H z:N,D N,V"),
    (r"contexts?", "", "i:N,T i:N o:N,U,V o:N,V"),
    (r"idx|ids|indices|index|word_ids?|words?|target_ids", " over time",
     "i:N,T i:N o:N,V o:N,U,V"),
    (r"idx|ids|indices|index|word_ids?|words?|target_ids", "", "i:N i:N,T o:N,V o:N,U,V"),
    (r"u", r" beside .*\bw\b", "D,H"), (r"w", r" beside .*\bu\b", "H,H"),
    (r"v", r" beside .*\bu\b", "H,V"),
    (r"q|query|k|key|v|value|enc_src|memory", r"^\S*(att|coder)", "N,T,D N,T,H N,D N,H"),
    (r"src|trg|tgt", "", "N,T,D i:N,T N,T,H"),
    (r"(h|c|s|a|hidden|cell|state)s?_?(prevs?|in(put)?|0|t|tm1|old|last|pre|state)|h|c|s|h_?c|hidden"
     r"|state|cell|prev_?(h|c|s|a|state|hidden|cell)|query|q", "", "N,H N,D N,T,H"),
    (r"hs_dec(oder)?|dec_hs|queries", "", "N,U,H N,T,H"),
    # of another sentence, perhaps read in both directions
    (r"hs_enc(oder)?|enc_hs", r" beside .*\bxs\b", "N,U,H N,U,2H N,T,H N,T,D"),
    (r"hs|hs_enc(oder)?|enc_hs|keys|values|k|v|cs", "", "N,T,H N,T,D"),
    (r"w|weight", rf"^\S*({IMAGES})", "H,C,K,K C,H,K,K D,H"),
    (r"w|weight", "", "D,H D 1,D N,D"), (r"b|bias", r" beside .*\bw(eight)?\b", "1 H N,D ."),
    (r"gamma|beta|scale|shift", IMAGES, "C 1,C,1,1"), (r"gamma|beta|scale|shift", "", "D H N,D"),
    (r"a", r"^\S*(att|weight)", "p:N,T N,D N,T,H N,T,D"),
    (r"weights|attention|alpha|aw", "", "p:N,T N,D N,T,H N,T,D"),
    (r"p|prob\w*|y|y_?hat|(y_?)?pred\w*", "", "p:N,V N,D N,T,D p:N,T,V i:N i:N,T N,H"),
    (r".*mask.*", r" beside .*\b(q|query|src|trg|tgt)\b", "m:N,1,T m:T,T m:N,T =None"),
    (r".*mask.*", "", "m:N,T m:N,D m:N =None"), (r"cond(ition)?", "", "m:N,D m:N,T m:N"),
    (r"(is_?|train|flag|stateful|deterministic).*", "", "=True =False"),
    (r"vocab_?(size|dim|num)", "", "#V #D"), (r".*(lengths|lens)", "", "l:N #T"),
    (r".*(size|len(gth)?|times?|steps?)|n", "", "#T #U"),
    (r".*", r"^(?!.*(pos|patch|rotary))\S*embed", "i:N,T i:N N,T,D N,D"),
    (r"x|data|features", r"loss.* beside .*\b(w|theta)\b", "N,D N,V N,T,D N,H"),  # of a model
    (r".*", "loss.* over time", "N,T,V N,T N,V N i:N,T i:N N,D N,T,D N,H"),
    (r"d", rf"^\S*({LOSS})", "o:N,V i:N N,V N,D N"),  # the desired outputs
    (r".*", r"^\S*(entropy|nll)", "p:N,V N,V N N,T,V N,T N,H N,T,D N,D i:N i:N,T"),
    (r".*", rf"^\S*({LOSS})", "N,V p:N,V N N,T,V N,T N,H N,T,D N,D i:N i:N,T"),
    (r".*", " over time", "N,T,D N,T,H N,T,V N,T N,D,T N,H,T N,D N,H N,V i:N,T i:N"),
    (r".*", "", "N,D N,H N,V N,T,D N,T,H N,T,V N,T N,D,T N,H,T i:N i:N,T"),
]  # fmt: skip
_LAST = " D N,C,X,X i:T H N,1 T,D,1 T,N,D N,784"


def is_label(name: str) -> bool:
    """Whether an argument has the name of what is to come out."""
    low = name.lower().lstrip("_")
    return low in LABELS or bool(
        re.fullmatch(r"(\w+_)?(y_?)?(label|target|true)s?(_?(tensor|batch|y))?", low))


def init_specs(name: str, cls_name: str, k: int, beside=()) -> tuple[list[Spec], int]:
    """What an argument of a constructor may be, and at what cost the first of it is tried; ``k``
    gates; ``beside``: the other arguments."""
    gates, context = "H" if k == 1 else f"{k}H", f"{cls_name} {k}"
    base = re.sub(r"\d+$", "", name.lower().replace("_", ""))
    base = re.sub(r"^weights?(in|inputs?|x)$", "wx", base)
    base = re.sub(r"^weights?(hid\w*|h|rec\w*)$", "wh", base)
    if base == "bo" and "bf" in beside:  # of a gate
        base = "b"
    if name in ("W", "w") and "loss" in cls_name.lower():  # of all scores
        return specs("D,V V,D D,H H,H D,1 D", gates, "weight"), 0
    for pattern, where, text in _INIT:
        if re.fullmatch(pattern, base) and re.search(where, context, re.IGNORECASE):
            return specs(text, gates, "weight"), 0
    text = named_size(name) or named_size(name.lower())
    if not text and re.match("[WUVw]", name):
        text = next(text for where, text in _ANY_WEIGHT if re.search(where, context))
    return (specs(text, gates, "weight"), 0) if text else (specs(_ANYTHING, gates, "weight"), 2)


def named_size(name: str) -> str:
    """Which sizes a name may stand for, "" for none."""
    return next((text for pattern, text in _NAMED_SIZES if re.fullmatch(pattern, name)), "")


def is_large_size(p) -> bool:
    """Whether an argument is a size with a default too large to try."""
    return type(p.default) is int and p.default > 9 and bool(named_size(p.name))


def input_specs(name: str, cls_name: str, beside=()) -> list[Spec]:
    """What an argument of forward may be; ``beside``: the other arguments."""
    low, others = name.lower().lstrip("_"), [n.lower() for n in beside]
    several = low.endswith("s") and low not in (
        "inputs", "outputs", "labels", "targets", "logits", "scores", "probs", "preds")
    if is_label(low):
        low = "labels"
    if re.search(LOSS, cls_name, re.I) and low in ("y", "ys") and not any(map(is_label, others)):
        return [*input_specs("t", cls_name, beside), *specs("p:N,V")]
    time = cls_name.lower().startswith("time") or several or (
        re.fullmatch(r"(bi)?(lstm|rnn|gru)(_(?!step|cell)\w+)?", cls_name))
    context = f"{cls_name}{' over time' * bool(time)} beside {' '.join(others)}"
    for pattern, where, text in _INPUTS:
        if re.fullmatch(pattern, low) and re.search(where, context, re.IGNORECASE):
            return specs(text + (" N,1" if re.search(LOSS, cls_name, re.I) else _LAST) * (
                pattern == ".*"))
    return []


def settings(keys: dict[str, list[Any]]):
    """A dict of settings, by the keys that are read: {"stride": 1, "pad": 1, "mode": "train"}."""
    for step, pad in ((1, 1), (2, 0)):
        values = {k: next((c for c in compared if isinstance(c, str)), None) or (
            0.4 if re.fullmatch(r"p|.*(ratio|prob|drop|rate|momentum).*", k) else
            1e-5 if "eps" in k else pad if "pad" in k else step if "stride" in k else 2)
            for k, compared in keys.items()}
        yield Spec("settings", value=tuple(values.items()))


def family(name: str):
    """What the weights of all gates have in common: Wf, Wi, Wo; b_f, b_i, b_o."""
    found = re.fullmatch(r"([WURVb])_?([xh]?)_?[fiogcuzrnajk]_?([xh]?)", name)
    return (found[1], found[2], found[3]) if found else name


def gates_of(cls_name: str):
    """How many blocks of H the columns of the weights have: by name, else by what fits."""
    low = cls_name.lower()
    first = next((len(gates) or 1 for kind, gates in GATES.items() if kind in low), 1)
    return (first, *(k for k in (1, 4, 3, 2) if k != first))
