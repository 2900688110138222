"""A penalty on the gradient with respect to the input, which has to be differentiated again."""

import numpy as np

import tinygrad_rnn as tg

tg.manual_seed(0)
rng = np.random.default_rng(0)
layer, out = tg.nn.GRU(2, 16), tg.nn.Linear(16, 1)
params = [*layer.parameters(), *out.parameters()]
optimizer = tg.optim.Adam(params, lr=0.01)
xs = rng.normal(size=(32, 6, 2)).astype(np.float32)
ts = (xs.sum(axis=(1, 2)) > 0).astype(np.float32)[:, None]


def sensitivity(inputs):
    """Loss, and the mean squared norm of its gradient with respect to the inputs."""
    _, h = layer(inputs)
    loss = tg.functional.binary_cross_entropy_with_logits(out(h), ts)
    g = tg.grad(loss, inputs, create_graph=True)
    return loss, np.mean(np.sum((len(xs) * g) ** 2, axis=(1, 2)))


for step in range(100):
    loss, penalty = sensitivity(tg.Tensor(xs, requires_grad=True))
    grads = tg.grad(loss + 0.1 * penalty, params)
    for p, g in zip(params, grads, strict=True):
        p.grad = g
    optimizer.step()
    if step % 33 == 0:
        print(f"step {step}: loss {loss.item():.4f}, sensitivity {penalty.item():.4f}")
