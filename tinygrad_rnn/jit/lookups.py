"""Rows that are looked up in a table: less is done where they are few, or the table is small.

A network over a few characters looks up thousands of rows of a small table E. Their product with
a matrix is the product of the table, looked up: E[ids] W = (E W)[ids]. In the backward pass, with
the gradients g of the rows, equal rows are added up first, S[i] = sum of g[n] where ids[n] = i;
then the gradient of W is E^T S, that of E is S W^T, and that of a bias is the sum of S.

A network over many words looks up a few rows of a large table. Gradient descent moves these alone.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from .loops import FLOAT, basic
from .passes import drop_unused
from .recording import added
from .rows import added_rows, in_range, looked_up, moved_rows, summed_rows, used_rows
from .tape import Call, Tape, Value, chosen

__all__ = ["look_up_late", "moved_alone", "tables_first"]

FEWER = 4  # how many times smaller than what is looked up in it a table has to be


def tables_first(tape: Tape) -> Tape:
    """Products with looked-up rows become products with the table."""
    return _TablesFirst(tape).tape


class _Rows:
    """Rows of a table: row n is table[ids.flat[order[n]]]."""

    def __init__(self, table, ids, order):
        self.table, self.ids, self.order = table, ids, order
        self.n = table.shape[0]
        self.key = ids, order.tobytes(), self.n


class _TablesFirst:
    def __init__(self, tape):
        self.made = {call.out: call for call in tape.calls}
        self.calls, self.constants = [], dict(tape.constants)
        self.ids: dict[tuple, Value] = {}  # of rows in some order
        self.sums: dict[tuple, Value] = {}
        # gradients of products with looked-up rows, and which rows these are
        self.gradients: dict[Value, list] = {}
        for call in tape.calls:
            if (rows := self.turned_rows(call)) is not None:
                self.gradients.setdefault(call.args[1], []).append(rows)
        for call in tape.calls:
            self.line = call.line
            if not (call.fn in (np.matmul, added) and self.rewritten(call)):
                self.calls.append(call)
        self.tape = drop_unused(Tape(self.calls, tape.inputs, self.constants, tape.results))

    def rewritten(self, call):
        if call.fn is added:
            return self.gradient_of_table(call)
        a, b = call.args
        if call.out.dtype != FLOAT or len(b.shape) != 2:
            return False
        if (rows := self.rows(a)) is not None:
            y = self.emit(np.matmul, rows.table, b, shape=(rows.n, b.shape[1]))
            self.emit(looked_up, y, self.ordered(rows), out=call.out)
        elif (rows := self.turned_rows(call)) is not None:
            s = self.sum(b, rows)
            used = self.emit(used_rows, rows.table, self.ordered(rows), shape=rows.table.shape)
            turned = self.emit(np.transpose, used, shape=used.shape[::-1], view=True)
            self.emit(np.matmul, turned, s, out=call.out)
        elif b in self.gradients and len(a.shape) == 1 and np.all(self.constants.get(a, 0) == 1):
            s = self.sum(b, self.gradients[b][0])
            ones = Value(s.shape[:1], FLOAT)
            self.constants[ones] = np.ones(ones.shape, FLOAT)
            self.emit(np.matmul, ones, s, out=call.out)
        else:
            return False
        return True

    def gradient_of_table(self, call):
        """``added(buffer, ids, g W^T)``, whose last operand is looked at in the order of ids."""
        buffer, ids, y = call.args
        path, product = self.path(y)
        if not product or product.fn is not np.matmul:
            return False
        g, w = product.args
        for rows in self.gradients.get(g, ()):
            place = np.arange(len(rows.order))
            at = _followed(place[:, None], path, product.out.shape)
            if rows.ids is ids and rows.n == buffer.shape[0] and at is not None and (
                    len(at) == len(place) and np.array_equal(rows.order[at], place)):
                s = self.emit(np.matmul, self.sum(g, rows), w, shape=call.out.shape)
                self.emit(np.add, buffer, s, out=call.out)
                return True
        return False

    def turned_rows(self, call):
        """The looked-up rows X of a product X^T g."""
        turned = self.made.get(call.args[0]) if call.fn is np.matmul else None
        if not turned or turned.fn is not np.transpose or len(call.out.shape) != 2:
            return None
        return self.rows(turned.args[0]) if turned.args[1:] in ((), (None,)) else None

    def rows(self, x):
        """What x looks up, or None if it is something else."""
        path, source = self.path(x)
        if not source or source.fn is not operator.getitem or source.view or len(x.shape) != 2:
            return None
        table, ids = source.args
        if not (isinstance(ids, Value) and ids.dtype and ids.dtype.kind == "i" and ids.shape
                and len(table.shape) == 2 and table.dtype == FLOAT
                and chosen(table.shape[0] * FEWER <= x.shape[0])):
            return None
        place = np.arange(math.prod(ids.shape)).reshape(*ids.shape, 1)
        order = _followed(place, path, source.out.shape)
        return None if order is None else _Rows(table, ids, order)

    def path(self, x):
        """The views that lead to x, and the call that made what they look at."""
        path = []
        while (call := self.made.get(x)) and (call.view or call.fn is np.reshape) and (
                call.inputs() == [call.args[0]]):
            path.append(call)
            x = call.args[0]
        return path[::-1], call

    def ordered(self, rows):
        """The ids of the rows, one for each."""
        key = rows.key
        if key not in self.ids:
            ids, size, dtype = rows.ids, math.prod(rows.ids.shape), rows.ids.dtype
            self.calls.append(Call(in_range, (ids, rows.n), {}, Value(), effect=True,
                                   line=self.line))
            flat = self.emit(np.reshape, ids, (size,), shape=(size,), dtype=dtype, view=True)
            if not np.array_equal(rows.order, np.arange(size)):
                place = Value.of(rows.order)
                self.constants[place] = rows.order
                flat = self.emit(operator.getitem, flat, place, shape=place.shape, dtype=dtype)
            self.ids[key] = flat
        return self.ids[key]

    def sum(self, g, rows):
        """S: the rows of g, added up by their ids."""
        key = g, rows.key
        if key not in self.sums:
            zeros = Value((rows.n, g.shape[1]), FLOAT)
            self.constants[zeros] = np.zeros(zeros.shape, FLOAT)
            self.sums[key] = self.emit(added_rows, zeros, self.ordered(rows), g, shape=zeros.shape)
        return self.sums[key]

    def emit(self, fn, *args, out=None, shape=None, dtype=FLOAT, view=False):
        out = out or Value(shape, dtype)
        self.calls.append(Call(fn, args, {}, out, view=view, line=self.line))
        return out


def _followed(rows, path, shape):
    """Which row stands where, when ``rows`` (..., 1) is looked at along the path; None where rows
    are not left whole."""
    rows = np.broadcast_to(rows, shape)
    for call in path:
        rows = call.fn(rows, *call.args[1:], **call.kwargs)
    whole = rows.shape[-1:] == shape[-1:] and np.array_equal(rows[..., :1] + 0 * rows, rows)
    return rows[..., 0].ravel() if whole else None


def look_up_late(tape: Tape) -> Tape:
    """A view of looked-up rows looks up less: only what a chain of calls reads, when it does."""
    while True:
        users, results = tape.users(), set(tape.results)
        calls: list[Call] = []
        late: dict[Value, Call] = {}
        for call in tape.calls:
            if call.fn is looked_up and call.out not in results and all(
                    _looks_at_rows(user) for user in users.get(call.out, ())):
                late[call.out] = call
            elif call.view and (source := late.get(call.args[0])) is not None:
                _look_up(call, source, calls)
            else:
                calls.append(call)
        tape = Tape(calls, tape.inputs, tape.constants, tape.results)
        if not late:
            return tape


def _looks_at_rows(user):
    if not user.view:
        return False
    source, out = user.args[0].shape, user.out.shape
    if user.fn is np.reshape:
        return source[-1] == out[-1]
    return user.fn is operator.getitem and len(out) > 1 and basic(user.args[1], len(source))


def _look_up(view, source, calls):
    """The view of what the call ``source`` looks up, as rows that are looked up."""
    table, ids = source.args
    if view.fn is np.reshape:
        shape = view.out.shape[:-1]
        part = Value(shape, ids.dtype)
        calls.append(Call(np.reshape, (ids, shape), {}, part, view=True, line=view.line))
    else:
        index = view.args[1] if isinstance(view.args[1], tuple) else (view.args[1],)
        index, column = index[: len(ids.shape)], index[len(ids.shape) :]
        part = ids
        if any(i != slice(None) for i in index):
            part = Value(np.empty(ids.shape, np.bool_)[index].shape, ids.dtype)
            calls.append(Call(operator.getitem, (ids, index), {}, part, view=True, line=view.line))
        if column:
            columns = Value((table.shape[0], view.out.shape[-1]), table.dtype)
            calls.append(Call(operator.getitem, (table, (slice(None), *column)), {},
                              columns, view=True, line=view.line))
            table = columns
    calls.append(Call(looked_up, (table, part), {}, view.out, line=view.line))


def moved_alone(tape: Tape) -> Tape:
    """The gradient of a large table is 0 in all rows but those that were looked up; where gradient
    descent is all that reads it, with its norm or without, the others are left alone."""
    users = tape.users()
    calls: list[Call] = []
    # a gradient, or a multiple of it -> ids, and the rows that have one
    few: dict[Value, tuple[Value, Value]] = {}
    for call in tape.calls:
        read = next((few[v] for v in call.inputs() if v in few), None)
        if call.fn is added_rows and _sparse(call, tape) and _descends(call.out, users, tape):
            (n, D), (_, ids, g) = call.out.shape, call.args
            few[call.out] = ids, Value((math.prod(ids.shape) + 1, D), FLOAT)
            call = Call(summed_rows, (ids, g, n), {}, few[call.out][1], line=call.line)
        elif read and call.fn is np.subtract:
            call = Call(moved_rows, (call.args[0], *read), {}, call.out, line=call.line)
        elif read:
            ids, rows = read
            made = call.out
            if call.fn is np.multiply:
                made = Value(rows.shape, FLOAT)
                few[call.out] = ids, made
            args = tuple(rows if x in few else x for x in call.args)
            call = Call(call.fn, args, {}, made, line=call.line)
        calls.append(call)
    return Tape(calls, tape.inputs, tape.constants, tape.results)


def _sparse(call, tape):
    """Whether it adds a few rows to many zeros."""
    zeros, ids, _ = call.args
    return (math.prod(ids.shape) * FEWER <= zeros.shape[0] and zeros in tape.constants
            and not tape.constants[zeros].any())


def _descends(g, users, tape):
    """Whether g, a gradient or a multiple of it, is only squared for its norm, and subtracted from
    what comes in."""
    def good(user):
        if user.fn is np.vdot:
            return user.args == (g, g)
        if user.kwargs or user.out.dtype != FLOAT or user.out.shape != g.shape:
            return False
        if user.fn is np.multiply:
            factor = user.args[user.args[0] is g]
            return getattr(factor, "shape", ()) == () and _descends(user.out, users, tape)
        return user.fn is np.subtract and user.args[1] is g and user.args[0] in tape.inputs

    return g in users and g not in tape.results and all(map(good, users[g]))
