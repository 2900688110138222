"""Wrong layers made by machine: every known mistake, applied to every layer of manual/ where its
pattern is found. Each mutant is one file with all of manual/, in which one place is changed."""

import inspect
import itertools
import random
import re
from dataclasses import dataclass

from tinygrad_rnn import manual
from tinygrad_rnn.manual import attention, layers, losses, recurrent

MODULES = (layers, attention, losses, recurrent)
SOURCE = "from typing import Any, TypeAlias\nimport numpy as np\n" + "\n".join(
    re.sub(r"(?m)^(from|import) .*\n", "", inspect.getsource(m)) for m in MODULES)

# mistake, pattern in the source of a class (after "def", so not in its docstring), replacement
RULES = [
    # the wrong gate
    ("wrong_gate", r"np\.dot\(dA_zr, Wh\[:, : 2 \* H\]\.T\)", "np.dot(dA_zr, Wh[:, H:].T)"),
    ("wrong_gate", r"df \* f \* \(1\.0 - f\)", "df * i * (1.0 - i)"),
    ("wrong_gate", r"di \* i \* \(1\.0 - i\)", "do * i * (1.0 - i)"),
    ("wrong_gate", r"dc_prev = dc \* f", "dc_prev = dc * i"),
    ("wrong_gate", r"dg = dc \* i", "dg = dc * o"),
    ("wrong_variable", r"do = dh_next \* tanh_c", "do = dh_next * g"),
    ("wrong_gate", r"\(df \* f \* \(1\.0 - f\), (.*), (di \* i \* \(1\.0 - i\)), (.*)\)",
     r"(df * f * (1.0 - f), \2, \1, \3)"),
    ("wrong_gate", r"dz \* z \* \(1\.0 - z\), dr \* r \* \(1\.0 - r\)",
     "dr * r * (1.0 - r), dz * z * (1.0 - z)"),
    ("wrong_gate", r"dh_hat = dh_next \* z", "dh_hat = dh_next * r"),
    ("wrong_gate", r"\+ du \* r \+", "+ du * z +"),
    ("wrong_variable", r"dr = du \* h_prev", "dr = du * h_hat"),
    # the derivative of an activation
    ("missing_derivative", r" \* \(1\.0 - (h_next|g|tanh_c|h_hat)\*\*2\)", ""),
    ("missing_derivative", r" \* ([fgiozr]) \* \(1\.0 - \1\)", ""),
    ("missing_derivative", r"dout \* self\.out \* \(1\.0 - self\.out\)", "dout"),
    ("wrong_derivative", r"\(1\.0 - (h_next|g|tanh_c|h_hat)\*\*2\)", r"\1 * (1.0 - \1)"),
    ("wrong_derivative", r"([fgiozr]) \* \(1\.0 - \1\)", r"(1.0 - \1**2)"),
    ("input_not_output", r"h_next = np\.tanh\((.*)\)\n        self\.cache = \(x, h_prev, h_next\)",
     r"A = \1\n        h_next = np.tanh(A)\n        self.cache = (x, h_prev, A)"),
    ("input_not_output", r"o, tanh_c\)\n        return", "o, c_next)\n        return"),
    ("input_not_output", r"self\.cache = \(x, h_prev, z, r, u, h_hat\)",
     "self.cache = (x, h_prev, z, r, u, np.arctanh(h_hat))"),
    ("input_not_output", r"self\.out = sigmoid\(x\)\n        return self\.out",
     "self.out = x\n        return sigmoid(x)"),
    # paths
    ("path_dropped", r"dhs\[:, t, :\] \+ dh\b", "dhs[:, t, :]"),
    ("path_dropped", r"\+ dh, dc\)", "+ dh, 0)"),
    ("path_dropped", r"dc_next \+ dh_next \* o \* \(1\.0 - tanh_c\*\*2\)",
     "dh_next * o * (1.0 - tanh_c**2)"),
    ("path_dropped", r"dc_next \+ dh_next \* o \* \(1\.0 - tanh_c\*\*2\)", "dc_next"),
    ("path_dropped", r" \+ du \* r", ""),
    ("path_dropped", r" \+ dh_next \* \(1\.0 - z\)", ""),
    ("path_dropped", r"dhs0 \+ dhs1", "dhs0"),
    ("path_dropped", r"dhs0 \+ dhs1", "dhs1"),
    ("path_dropped", r"dxs1 \+ dxs2", "dxs1"),
    ("path_dropped", r"dxs1 \+ dxs2", "dxs2"),
    # sums
    ("overwritten", r"_add\(self\.grads, layer\.grads\)",
     "for grad, step in zip(self.grads, layer.grads):\n                grad[...] = step"),
    ("overwritten", r"dhs_enc = dhs_enc \+ dhs", "dhs_enc = dhs"),
    ("batch", r"np\.sum\((dA|dout|rows), axis=0\)", r"\1[0]"),
    ("batch", r"np\.sum\((dA|dout|rows), axis=0\)", r"np.mean(\1, axis=0)"),
    ("axis", r"np\.sum\(dt \* hs, axis=([12])\)", r"np.sum(dt * hs, axis=0)"),
    # dout
    ("dout_ignored", r"dout \* (self\.\w+)", r"\1"),
    ("dout_ignored", r"dx \*= dout / ", "dx *= 1 / "),
    ("dout_ignored", r"\(dout - np\.sum\(dout \* y, ", "(1 - np.sum(1 * y, "),
    # transposes
    ("transposed", r"np\.dot\(dA, Wh\.T\)", "np.dot(dA, Wh)"),
    ("transposed", r"np\.dot\((dout|dA|rows), (Wx?)\.T\)", r"np.dot(\1, \2)"),
    ("transposed", r"np\.dot\((x|h_prev|self\.x)\.T, (dA|dout)\)", r"np.dot(\1, \2)"),
    # scale
    ("scaling", r"dx \*= dout / max\([^\n]*\n", "dx *= dout\n"),
    ("scaling", r"(self\.grads\[\d\]\[\.\.\.\] = )(.*)\n", r"\1\2 / len(self.grads[0])\n"),
    # signs
    ("sign", r"\(1\.0 - (h_next|g|tanh_c|h_hat)\*\*2\)", r"(1.0 + \1**2)"),
    ("sign", r"\(h_hat - h_prev\)", "(h_prev - h_hat)"),
    ("sign", r"(dx = )(np\.dot)", r"\1-\2"),
    ("sign", r"self\.y - self\.t\b", "self.t - self.y"),
    ("sign", r"dx\[(.*)\] -= 1", r"dx[\1] += 1"),
    ("sign", r"y \* \(dout - np", "y * (dout + np"),
    # masks
    ("mask", r"dout \* self\._factor\(\)", "dout"),
    ("mask", r"dout \* self\.mask", "dout"),
    ("mask_scale", r"dout \* self\.mask", "dout * (self.mask > 0)"),
    ("mask", r"dx\[~mask\] = 0\n", "pass\n"),
    # softmax
    ("softmax_diagonal", r"y \* \(dout - np\.sum\(dout \* y, axis=-1, keepdims=True\)\)",
     "dout * y * (1 - y)"),
    ("softmax_diagonal", r"y \* \(dout - np\.sum\(dout \* y, axis=-1, keepdims=True\)\)",
     "dout * y"),
    # ids
    ("ids_once", r"np\.add\.at\(dW, (.*), dout\)", r"dW[\1] = dout"),
    ("ids_once", r"np\.add\.at\(dW, (.*), dout\)", r"dW[\1] += dout"),
    ("ids_twice", r"( +)(np\.add\.at\(dW, .*, dout\))", r"\1\2\n\1\2"),
    ("accumulates", r"dW\[\.\.\.\] = 0\n +", ""),
    ("accumulates", r"_clear\(self\.grads\)\n +", ""),
    # time
    ("return_in_loop",
     r"( +)(dxs\.append\(dx\).*\n(?: {12}.*\n)*)((?: {8}self.*\n)*) {8}(return .*)",
     r"\1\2            \4"),
    ("order", r"dxs\[::-1\]", "dxs"),
    ("order", r"dhs\[:, ::-1, H:\]", "dhs[:, :, H:]"),
    # slots
    ("slot", r"self\.grads\[(2|1)\]\[\.\.\.\] = np\.sum", "self.grads[0][...] = np.sum"),
    ("into_parameter", r"self\.grads\[(\d)\]\[\.\.\.\] =", r"self.params[\1][...] ="),
    ("replaced", r"self\.grads\[(\d)\]\[\.\.\.\] =", r"self.grads[\1] ="),
    ("replaced", r"\(dW,\) = self\.grads\n", "dW = np.zeros_like(self.params[0])\n"
     "        self.grads[0] = dW\n"),
    ("none", r"return (dx|dhs), (\w+)(, \w+)?\n", r"return \1, None\3\n"),
    ("none", r"return dx\n", "return None\n"),
    ("count", r"return dx, (\w+)\n", "return dx\n"),
    ("state_returned", r"return dx, dh_prev", "return dx, self.cache[1]"),
    ("state_returned", r"return np\.stack\(dxs\[::-1\], axis=1\)",
     "return np.stack([layer.cache[2] for layer in self.layers], axis=1)"),
    ("zero", r"self\.grads\[(\d)\]\[\.\.\.\] = .*\n", "pass\n"),
    ("returned_order", r"return (dhs), (da|dh)\n", r"return \2, \1\n"),
    ("square_only", r"return dx\.reshape\(N, T, D\)", "return dx.reshape(N, T, W.shape[1])"),
    ("square_only", r"np\.dot\(dout, W\.T\)", "np.dot(dout, W.T).reshape(dout.shape)"),
    # states
    ("state_not_carried", r"h = self\.h if self\.stateful else self\.h_start", "h = self.h_start"),
    ("state_not_carried", r"h, c = \(self\.h, self\.c\) if self\.stateful else ",
     "h, c = "),
    ("state_not_cut", r"        dh: Any = 0\n(?! +dc)",
     "        dh = 0 if self.dh is None else self.dh\n"),
    ("state_not_cut", r"        dh: Any = 0\n        dc: Any = 0\n",
     "        dh, dc = 0 if self.dh is None else self.dh, 0\n"),
    # memory
    ("uninitialised", r"\(dW,\) = self\.grads\n        dW\[\.\.\.\] = 0\n",
     "dW = self.grads[0]\n        dW[...] = np.empty(dW.shape)\n"),
    ("uninitialised", r"dhs_enc: Any = 0\n", "dhs_enc = np.empty(self.layers[0]"
     ".attention_weight_layer.cache[0].shape)\n"),
    ("uninitialised", r"dx = np\.dot\((.*)\)\n",
     r"dx = np.empty(np.dot(\1).shape)\n        dx[1:] = np.dot(\1)[1:]\n"),
    ("input_edited", r"x = x - np\.max\(x, axis=1, keepdims=True\)",
     "x -= np.max(x, axis=1, keepdims=True)"),
    ("input_edited", r"(dc = dc_next \+ .*)\n", r"dc_next += dh_next * o * (1.0 - tanh_c**2)\n"
     "        dc = dc_next\n"),
    ("input_edited", r"return dout \* self\.out \* \(1\.0 - self\.out\)",
     "dout *= self.out * (1.0 - self.out)\n        return 1.0 * dout"),
    ("cache", r"return dout \* self\.out \* \(1\.0 - self\.out\)",
     "self.out *= 1.0 - self.out\n        self.out *= dout\n        return self.out.copy()"),
    ("cache", r"y = self\.out\n        return (.*)", r"y = self.out\n        y *= \1 / y\n"
     "        return y.copy()"),
    ("cache", r"(da|dh) = np\.sum\(dt \* hs, axis=(\d)\)",
     r"hs *= dt\n        \1 = np.sum(hs, axis=\2)"),
    ("cache", r"dA = dh_next \* \(1\.0 - h_next\*\*2\)",
     "h_next *= -h_next\n        h_next += 1.0\n        dA = dh_next * h_next"),
    ("aliased", r"self\.forward_lstm\.grads \+ self\.backward_lstm\.grads",
     "self.forward_lstm.grads + self.forward_lstm.grads"),
    ("aliased", r"self\.grads = \[np\.zeros_like\(W\)\]", "self.grads = [W]"),
]  # fmt: skip

# What a mistake may be called too: the same thing in other words.
SAME = {
    "axis": {"axis", "batch"},
    "batch": {"batch", "axis"},
    "mask": {"mask"},
    "mask_scale": {"mask_scale", "mask"},
    "wrong_derivative": {"wrong_derivative", "missing_derivative"},
    "returned_order": {"returned_order", "slot"},
    "aliased": {"aliased", "into_parameter"},
    "cache": {"cache", "input_edited"},
    "count": {"count", "none"},
    "dout_ignored": {"dout_ignored"},
    # where an edit makes it right for every size
    "square_only": {"square_only", "wrong_index", "wrong_variable"},
}


@dataclass(frozen=True)
class Mutant:
    kind: str
    layer: str
    number: int
    source: str
    line: int
    text: str

    @property
    def id(self):
        return f"{self.kind}-{self.layer}-{self.number}"


def mutants(rules=RULES):
    """All of them, in the order of the rules."""
    made, seen = [], set()
    sources = {name: inspect.getsource(getattr(manual, name)) for name in manual.__all__}
    for kind, pattern, replacement in rules:
        for name, whole in sources.items():
            begin = whole.index('"""', whole.index('"""') + 3)
            at = SOURCE.index(whole)
            for m in re.finditer(pattern, whole[begin:]):
                new = m.expand(replacement)
                start, end = at + begin + m.start(), at + begin + m.end()
                source = SOURCE[:start] + new + SOURCE[end:]
                if source in seen:
                    continue
                seen.add(source)
                first = SOURCE[:start].count("\n") + 1
                made.append(Mutant(kind, name, len(made), source, first,
                                   f"{m.group()!r} -> {new!r}"))
    return made


@dataclass(frozen=True)
class Pair:
    """Two mistakes in one layer: the source with both, and the two of them."""

    first: Mutant
    second: Mutant
    source: str

    @property
    def layer(self):
        return self.first.layer

    @property
    def lines(self):
        """The first line of each mistake in ``source``: the second may be moved by the first."""
        moved = self.source.count("\n") - SOURCE.count("\n")
        moved -= self.second.source.count("\n") - SOURCE.count("\n")
        late = self.second.line > self.first.line
        return self.first.line, self.second.line + moved * late


def pairs(count: int, seed: int = 0, without=("accumulates",)):
    """``count`` pairs, drawn at random, of mistakes that stand on different lines of one layer;
    from every layer as many as it has, up to the same number."""
    by_layer: dict[str, list[Mutant]] = {}
    for mutant in mutants():
        last = mutant.kind == "dout_ignored" and mutant.layer.endswith("WithLoss")
        if mutant.kind not in without and not last:  # a convention, as the last layer
            by_layer.setdefault(mutant.layer, []).append(mutant)
    rng, every = random.Random(seed), []
    for made in by_layer.values():
        of_layer = list(itertools.combinations(made, 2))
        rng.shuffle(of_layer)
        found = (p for a, b in of_layer if (p := _pair(a, b)) is not None)
        every.append(itertools.islice(found, count))
    turns = itertools.chain.from_iterable(itertools.zip_longest(*every))
    return list(itertools.islice((p for p in turns if p is not None), count))


def _pair(a: Mutant, b: Mutant):
    """Both changes in one source, or None where they touch the same lines."""
    changes = [_change(m) for m in (a, b)]
    (i, j, first), (k, m, second) = sorted(changes)
    if k <= j:
        return None
    lines = SOURCE.split("\n")
    source = "\n".join([*lines[:i], *first, *lines[j:k], *second, *lines[m:]])
    if changes[0][0] > changes[1][0]:
        a, b = b, a
    return Pair(a, b, source)


def _change(mutant: Mutant):
    """(i, j, new): lines i to j of SOURCE became ``new``."""
    old, new = SOURCE.split("\n"), mutant.source.split("\n")
    i = next(i for i, (x, y) in enumerate(zip(old, new, strict=False)) if x != y)
    tail = next(k for k, (x, y) in enumerate(zip(old[::-1], new[::-1], strict=False)) if x != y)
    tail = min(tail, len(old) - i, len(new) - i)
    return i, len(old) - tail, new[i : len(new) - tail]
