"""Writes docs/numpy.md from the tables: ``python docs/numpy_page.py``.

tests/test_numpy_page.py fails when the page is not what this gives with the NumPy that it names.
"""

import inspect
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tinygrad_rnn.arguments import signature
from tinygrad_rnn.derived import CREATES, DERIVED, PLAIN
from tinygrad_rnn.primitive import RULES

VERSION = ".".join(np.__version__.split(".")[:2])
HEAD = (
    "Every function in the tables, and what it takes when a Tensor is among its arguments. This"
    " page is made from the tables by `docs/numpy_page.py`.",
    "- **`out=`, `dtype=`** (and `casting=` with it) are taken by every function that has them in"
    " NumPy. `out=` wants a Tensor where there is a gradient, since an array cannot hold a graph."
    " Ufuncs also take `where=` with `out=`, and have the methods `reduce`, `accumulate`,"
    " `reduceat`, `outer` and `at`.",
    "- **An argument that is not listed** may stand at NumPy's default. Any other value is a"
    " TypeError that names the call and what it takes.",
    "- **Values are NumPy's**, bit for bit where a function has a rule. What is said in terms of"
    " others may round its last digit otherwise (`np.std`, `np.cov`, `np.cumprod`, `np.einsum`,"
    " `np.vecdot`, `np.float_power`, `np.gradient`, `np.quantile`, `np.logaddexp2`,"
    " `np.degrees` of float32, parts of `np.linalg`), and where it chooses between 0.0 and -0.0,"
    " which are equal, may return the other one (`np.clip`, `np.fmax`, `np.sort`, `np.median`).",
    "- **What NumPy writes into** (`np.put`, `np.copyto`, `np.add.at` and the like) becomes a new"
    " version of the Tensor, as with `t[i] = v`.",
    "- **Functions in no table** compute as usual on Tensors that want no gradient, give arrays,"
    " and raise a TypeError for any other: no gradient is lost in silence. So do calls that"
    " have a value alone, such as `np.linalg.svd` of a matrix that is not square; they give"
    " Tensors. Complex numbers are refused.",
    "- **NumPy does not ask the Tensor** in `np.array`, `np.asarray`, `np.full`, `np.arange`,"
    " `np.vectorize`, `np.random`, nor for Tensors in a list where one array is wanted"
    " (`np.sum([t, u])`): where a gradient is wanted, these raise. A list of Tensors is joined by"
    " `np.stack`. `np.fromiter` and `a[i] = t` of an array raise in NumPy's words (`setting an"
    " array element with a sequence`); what to write instead says the error above them, which is"
    " their cause.",
    "- Conventions where there is no derivative, and what is decided where PyTorch and JAX differ,"
    " stand at the top of `tinygrad_rnn/rules.py` and of `tinygrad_rnn/derived/linalg.py`.",
)


def name(fn):
    return f"{getattr(fn, '__module__', None) or 'numpy'}.{fn.__name__}".replace("numpy", "np", 1)


def is_numpys(fn):
    return isinstance(fn, np.ufunc) or (getattr(fn, "__module__", None) or "").startswith("numpy")


def parameters(fn):
    """Those of the derivation, which has NumPy's names, or the arrays and metadata of the rule."""
    if fn in DERIVED:
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        ps = inspect.signature(DERIVED[fn]).parameters.values()
        return [stars.get(p.kind, "") + p.name for p in ps]
    if isinstance(fn, np.ufunc):
        return ["x1", "x2"] if fn.nin == 2 else ["x"]
    arrays = 1 if RULES[fn].sequence else RULES[fn].arity
    return [*list(signature(fn).parameters)[:arrays], *RULES[fn].metadata]


def refused():
    """What NumPy asks the Tensor about, and no table has."""
    asked = {f for module in (np, np.linalg, np.fft) for n in dir(module)
             if isinstance(f := getattr(module, n), (np.ufunc, type(np.sum)))}  # fmt: skip
    return asked - RULES.keys() - DERIVED.keys() - PLAIN - CREATES - {
        f for f in asked if not isinstance(f, np.ufunc) and "like" in signature(f).parameters}


def rows(functions):
    found = {name(fn): parameters(fn) for fn in functions if is_numpys(fn)}
    lines = (f"| `{n}` | {', '.join(f'`{p}`' for p in ps)} |" for n, ps in sorted(found.items()))
    return "\n".join(("| function | takes |", "|---|---|", *lines))


def listed(functions):
    return ", ".join(f"`{n}`" for n in sorted({name(fn) for fn in functions}))


def page():
    return "\n\n".join((
        "# NumPy, function by function", *HEAD,
        "## With a rule", rows(fn for fn in RULES if fn not in DERIVED),
        "## Said in terms of others", rows(DERIVED),
        "## Without a derivative: plain arrays, numbers, text", listed(PLAIN - {np.where}),
        "Histograms count; the edges between their bins are plain numbers, too.",
        "## Asked for shape and dtype alone: Tensors without a graph", listed(CREATES),
        f"## Refused where there is a gradient (of NumPy {VERSION})", listed(refused()),
    )) + "\n"  # fmt: skip


if __name__ == "__main__":
    Path(__file__).with_name("numpy.md").write_text(page(), encoding="utf-8")
