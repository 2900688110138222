"""Mistakes that ``mypy --strict`` finds in a typed program: each line says which error it wants."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor


class Cell(tg.nn.Module):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return x * h


@tg.jit
def step(xs: Tensor) -> Tensor:
    return xs.sum()


x = Tensor([1.0], requires_grad="yes")  # wants arg-type
x.sum(axis="time")  # wants arg-type
x.shape + 1  # wants operator
x.grad.numpy()  # wants union-attr
print(x.gradient)  # wants attr-defined
Cell()(x)  # wants call-arg
Cell()(x, "h")  # wants arg-type
tg.nn.LSTM(3, 4)("xs")  # wants arg-type
tg.nn.LSTM(3, 4, layers="two", num_layers="2")  # wants arg-type
tg.nn.LSTMCell(3, 4)("x")  # wants arg-type
tg.manual.Affine("W", np.ones(3))  # wants arg-type
tg.manual.MatMul(np.ones((3, 4))).forward()  # wants call-arg
tg.optim.SGD([np.ones(3)])  # wants list-item
tg.optim.SGD([x], lr="0.1")  # wants arg-type
ids: int = tg.nn.Embedding(5, 2)(np.array([1]))  # wants assignment
step(x, 2)  # wants call-arg
step("xs")  # wants arg-type
count: int = step(x)  # wants assignment
tg.jit(step, cache=2)  # wants call-overload
tg.functional.softmax("logits")  # wants arg-type
tg.functional.dropout(x, training="no")  # wants arg-type
