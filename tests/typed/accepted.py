"""What a typed program does with the library: ``mypy --strict`` accepts all of it, and it runs.

NumPy's stubs do not know its protocols and call ``np.tanh(t)`` an array: where its type matters, a
typed program takes the method ``t.tanh()``, the named function, or says what it is.
"""

from typing import TYPE_CHECKING, assert_type

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor
from tinygrad_rnn.nn import Module, Parameter


class Cell(Module):
    def __init__(self, D: int, H: int) -> None:
        self.W = Parameter(np.ones((D, H)))
        self.state_sizes = (H,)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        a = x @ self.W
        return tg.functional.sigmoid(a) * h + a


x = Tensor(np.ones((2, 3)), requires_grad=True)

# operators, methods, indices
y = -((x + 1) * 2 - x / 2) ** 2 @ np.ones((3, 4))
assert_type(y, Tensor)
assert_type(x[:, 0], Tensor)
assert_type(x.tanh(), Tensor)
assert_type(x.sum(axis=0, keepdims=True), Tensor)
assert_type(x.T, Tensor)
assert_type(x.shape, tuple[int, ...])
half: Tensor = 0.5 * x
like_numpy: Tensor = np.tanh(x)  # type: ignore[assignment]  # if a name must have the right type
total = np.sum(np.tanh(x) * np.concatenate([x, x])[:2])

# modules: a call takes and gives what forward does
h = Cell(3, 4)(x, Tensor(np.ones((2, 4))))
assert_type(h, Tensor)
lstm = tg.nn.LSTM(3, 4, num_layers=2, bidirectional=True)
hs, (state, memory) = lstm(x.reshape(1, 2, 3), lengths=np.array([2]))
assert_type(hs, Tensor)
c, memory = tg.nn.LSTMCell(3, 4)(x, h, np.zeros((2, 4)))
context, weights = tg.nn.Attention("general", H=4)(np.ones((1, 2, 4)), np.ones((1, 5, 4)))
assert_type(context, Tensor)
assert_type(tg.nn.Linear(8, 2)(hs), Tensor)
assert_type(tg.nn.Embedding(5, 2)(np.array([1, 4])), Tensor)
names = [name for name, _ in lstm.named_parameters()]

# gradients
loss = tg.functional.softmax(hs).mean() * 2 - 1 + tg.functional.cross_entropy(h, np.array([0, 1]))
loss.backward(retain_graph=True)
if x.grad is not None:
    print(x.grad.numpy().sum())
gradient: Tensor = tg.grad(loss, x)


def energy(w: Tensor) -> Tensor:
    return (w * w).sum()


value, product = tg.hvp(energy, np.ones(3), np.ones(3))
value.item()
value, slope = tg.value_and_grad(energy)(np.ones(3))

# checks
tg.check.check_gradients(energy, np.ones(3), order=2)


class Square:
    """A layer written by hand."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        y: np.ndarray = x**2
        return y

    def backward(self, dout: np.ndarray) -> np.ndarray:
        dx: np.ndarray = 2 * self.x * dout
        return dx


tg.check.assert_matches_autograd(Square(), np.ones((4, 2)))
affine = tg.manual.Affine(np.ones((3, 4)), np.zeros(4))
assert_type(affine.forward(np.ones((2, 3))), np.ndarray)
assert_type(affine.grads, list[np.ndarray])
if TYPE_CHECKING:  # hypothesis is an extra
    from tinygrad_rnn.check import strategies

    strategies.sizes(distinct=True).flatmap(lambda s: strategies.arrays((s.N, s.D)))
assert tg.check.check_layer(Square(), np.ones((4, 2))).verdict == "ok"

# training
optimizer = tg.optim.Adam(lstm.parameters(), lr=0.01)
norm: float = tg.optim.clip_grad_norm_(lstm.parameters(), 1.0)
optimizer.step()
optimizer.zero_grad()
lstm.eval().load_state_dict(lstm.state_dict())
tg.manual_seed(1)


@tg.jit
def step(xs: Tensor, scale: float = 1.0) -> Tensor:
    loss = lstm(xs)[0].mean() * scale
    loss.backward()
    return loss.detach()


@tg.jit(fallback="eager")
def forward(xs: Tensor) -> tuple[Tensor, float]:
    return lstm(xs)[0], 1.0


assert_type(step(x.detach().reshape(1, 2, 3), scale=0.5), Tensor)
assert_type(forward(Tensor(np.ones((1, 2, 3)))), tuple[Tensor, float])
step.explain()


@tg.no_grad()
def length(text: str) -> int:
    return len(text)


assert_type(length("abc"), int)
with tg.no_grad():
    print(tg.draw(energy(x)).count("->"), "arrows")
