"""Joining, splitting, padding, inserting and deleting."""

import numpy as np

from .table import NoDerivative, along, array, beside, derive, together

_array = array

derive(np.vstack)(lambda tup: np.concatenate([np.atleast_2d(array(x)) for x in tup], 0))
derive(np.dstack)(lambda tup: np.concatenate([np.atleast_3d(array(x)) for x in tup], 2))


@derive(np.hstack)
def _hstack(tup):
    tup = [np.atleast_1d(array(x)) for x in tup]
    return np.concatenate(tup, 0 if tup[0].ndim == 1 else 1)


@derive(np.column_stack)
def _column_stack(tup):
    tup = map(array, tup)
    return np.concatenate([np.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in tup], 1)


@derive(np.block)
def _block(arrays):
    def depth(x):
        if not isinstance(x, (list, tuple)):
            return 0
        depths = set(map(depth, x))
        if len(depths) != 1:
            raise ValueError("block: lists of the same depth are wanted, and none that is empty")
        return 1 + depths.pop()

    def arrays_in(x):
        return [y for part in x for y in arrays_in(part)] if isinstance(x, (list, tuple)) else [x]

    levels = depth(arrays)
    ndim = max([levels, *map(np.ndim, arrays_in(arrays))])

    def join(x, level):
        if level == 0:
            x = array(x, like)
            return np.reshape(x, (1,) * (ndim - x.ndim) + x.shape)
        return np.concatenate([join(part, level - 1) for part in x], -level)

    like = next((x for x in arrays_in(arrays) if hasattr(x, "__array_function__")), None)
    return join(arrays, levels)


@derive(np.append)
def _append(arr, values, axis=None):
    arr, values = together((arr, values))
    if axis is None:
        arr, values, axis = np.ravel(arr), np.ravel(values), 0
    return np.concatenate([arr, values], axis)


@derive(np.insert)
def _insert(arr, obj, values, axis=None):
    """One take from the array with the new values behind it: index n is the first of them. NumPy
    itself says where they go."""
    arr, values = array(arr), array(values)
    if axis is None:
        arr, axis = np.ravel(arr), 0
    arr, axis = np.moveaxis(arr, axis, 0), axis % arr.ndim
    n = len(arr)
    values = np.reshape(values, (1,) * (arr.ndim - values.ndim) + values.shape)
    if np.ndim(obj) or isinstance(obj, slice):  # at one number their first axis is what is inserted
        values = np.moveaxis(values, axis, 0)
    places = len(np.insert(np.arange(n), obj, 0)) - n
    new = len(values) if places == 1 else places
    values = np.broadcast_to(values, (new, *arr.shape[1:])).astype(arr.dtype)
    order = np.insert(np.arange(n), obj, np.arange(n, n + new))
    return np.moveaxis(np.concatenate([arr, values], 0)[order], 0, axis)


@derive(np.delete)
def _delete(arr, obj, axis=None):
    arr, axis = along(arr, axis)
    return np.take(arr, np.delete(np.arange(arr.shape[axis]), obj), axis)


def _split_along(fn, axis_of, least):
    @derive(fn)
    def split(ary, indices_or_sections):
        if ary.ndim < least:
            raise ValueError(f"{fn.__name__}: {least} axes or more are wanted, shape {ary.shape}"
                             " came")
        return np.split(ary, indices_or_sections, axis_of(ary))

    return split


_split_along(np.hsplit, lambda ary: min(1, ary.ndim - 1), 1)
_split_along(np.vsplit, lambda ary: 0, 2)
_split_along(np.dsplit, lambda ary: 2, 3)


# --- padding --------------------------------------------------------------------------------------


@derive(np.pad)
def _pad(array, pad_width, mode="constant", constant_values=0, end_values=0, stat_length=None,
         reflect_type="even"):  # fmt: skip
    x = _array(array)
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - x.ndim, 0)) for i in range(x.ndim)]
        pad_width = [w if np.ndim(w) else (w, w) for w in pad_width]
    widths = np.broadcast_to(pad_width, (x.ndim, 2))
    if widths.dtype.kind not in "iu" and widths.size:
        raise TypeError(f"pad: whole numbers are wanted, pad_width={pad_width} came")
    widths = widths.tolist()
    if min((n for w in widths for n in w), default=0) < 0:
        raise ValueError(f"pad: no negative widths: {pad_width}")
    if mode in ("edge", "wrap") or (mode in ("symmetric", "reflect") and reflect_type == "even"):
        for axis, width in enumerate(widths):
            x = np.take(x, np.pad(np.arange(x.shape[axis]), width, mode), axis)
        return x
    if mode in ("symmetric", "reflect"):
        for axis, width in enumerate(widths):
            x = _turned(x, axis, width, mode)
        return x
    if mode not in _EDGES:
        raise NoDerivative(f"np.pad: no derivative with mode={mode!r}")
    values = {"constant": constant_values, "linear_ramp": end_values}.get(mode, 0)
    values = np.broadcast_to(_array(values, x), (x.ndim, 2)).astype(x.dtype)
    for axis, width in enumerate(widths):
        if not x.shape[axis] and any(width) and mode not in ("constant", "empty"):
            raise ValueError(f"pad: mode={mode!r} wants elements along axis {axis}; {x.shape} came")
        if not any(width):
            continue
        edges = _EDGES[mode](x, axis, width, values[axis], stat_length)
        x = np.concatenate([edges[0], x, edges[1]], axis)
    return x


def _turned(x, axis, widths, mode):
    """The odd reflection: what lies as far on the other side of the end, turned round that end."""
    most = max(x.shape[axis] - (mode == "reflect"), 1)  # beyond that it is turned again
    while any(widths):
        n, width = x.shape[axis], [min(w, most) for w in widths]
        edge, turned = (np.pad(np.arange(n), width, how) for how in ("edge", mode))
        left, right = (2 * np.take(x, edge[part], axis) - np.take(x, turned[part], axis)
                       for part in (slice(0, width[0]), slice(width[0] + n, None)))  # fmt: skip
        x = np.concatenate([left, x, right], axis)
        widths = [w - v for w, v in zip(widths, width, strict=True)]
    return x


def _constant(x, axis, width, values, _length):
    shapes = ([n if i == axis else m for i, m in enumerate(x.shape)] for n in width)
    return [np.broadcast_to(v, shape) for v, shape in zip(values, shapes, strict=True)]


def _ramp(x, axis, width, values, _length):
    ends = np.take(x, [0], axis), np.take(x, [-1], axis)
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    parts = [beside(np.reshape(np.arange(n, dtype=x.dtype) / max(n, 1), shape), x) for n in width]
    left = values[0] + (ends[0] - values[0]) * parts[0]
    return left, values[1] + (ends[1] - values[1]) * np.flip(parts[1], axis)


def _statistic(reduce):
    def edges(x, axis, width, _values, length):
        lengths = [x.shape[axis]] * 2 if length is None else np.broadcast_to(
            length, (x.ndim, 2))[axis].tolist()  # fmt: skip
        n = x.shape[axis]
        parts = (np.arange(min(lengths[0], n)), np.arange(max(n - lengths[1], 0), n))
        means = [reduce(np.take(x, part, axis), axis=axis, keepdims=True) for part in parts]
        return [np.repeat(mean, w, axis) for mean, w in zip(means, width, strict=True)]

    return edges


_EDGES = {"constant": _constant, "empty": _constant, "linear_ramp": _ramp,
          "mean": _statistic(np.mean), "maximum": _statistic(np.max), "minimum": _statistic(np.min),
          "median": _statistic(np.median)}  # fmt: skip
