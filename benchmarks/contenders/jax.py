"""JAX: the whole step compiled, the cells in a scan."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import networks


class Ops:
    def __init__(self, dropout, key):
        self.p, self.key = dropout, key

    def lstm(self, name, p, xs, state):
        Wh = p[f"{name}.Wh"]

        def step(state, a):
            h, c = state
            f, g, i, o = jnp.split(a + h @ Wh, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        projected = xs @ p[f"{name}.Wx"] + p[f"{name}.b"]
        state, hs = jax.lax.scan(step, state, projected.swapaxes(0, 1))
        return hs.swapaxes(0, 1), state

    def dropout(self, x):
        if not self.p:
            return x
        self.key, key = jax.random.split(self.key)
        return jnp.where(jax.random.bernoulli(key, 1 - self.p, x.shape), x / (1 - self.p), 0)

    def softmax(self, x):
        return jax.nn.softmax(x, axis=-1)

    def transpose(self, x):
        return x.swapaxes(1, 2)

    def concatenate(self, parts):
        return jnp.concatenate(parts, axis=-1)

    def cross_entropy(self, logits, ts):
        picked = jnp.take_along_axis(logits, ts[..., None], axis=-1)[..., 0]
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)


class Contender:
    def __init__(self, workload, dropout):
        w = self.w = workload
        self.p = {name: jnp.asarray(a) for name, a in w.weights().items()}
        self.m = jax.tree.map(jnp.zeros_like, self.p)
        self.v = jax.tree.map(jnp.zeros_like, self.p)
        self.xs, self.ts = map(jnp.asarray, w.batch())
        self.key, self.steps = jax.random.key(0), 0
        self.reset()

        def loss(p, xs, ts, state, key):
            return networks.loss(w, Ops(dropout, key), p, xs, ts, state)

        self.value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))

        @partial(jax.jit, donate_argnums=(0, 1, 2))
        def whole(p, m, v, xs, ts, state, key, steps):
            key, used = jax.random.split(key)
            (value, state), g = jax.value_and_grad(loss, has_aux=True)(p, xs, ts, state, used)
            norm = jnp.sqrt(sum(jnp.sum(a * a) for a in g.values()))
            rate = jnp.minimum(1, w.max_norm / (norm + 1e-6))
            g = {name: a * rate for name, a in g.items()}
            if w.optimizer == "sgd":
                p = {name: a - w.lr * g[name] for name, a in p.items()}
            else:
                m = {name: 0.9 * m[name] + 0.1 * a for name, a in g.items()}
                v = {name: 0.999 * v[name] + 0.001 * a * a for name, a in g.items()}
                lr, root = w.lr / (1 - 0.9**steps), jnp.sqrt(1 - 0.999**steps)
                p = {name: a - lr * m[name] / (jnp.sqrt(v[name]) / root + 1e-8)
                     for name, a in p.items()}  # fmt: skip
            return p, m, v, state, key, value

        self.whole = whole

    def reset(self):
        zeros = jnp.zeros((self.w.N, self.w.H))
        self.state = [(zeros, zeros)] * self.w.layers

    def loss_and_gradients(self):
        (value, _), g = self.value_and_grad(self.p, self.xs, self.ts, self.state, self.key)
        return float(value), {name: np.asarray(a) for name, a in g.items()}

    def step(self):
        self.steps += 1
        state = self.state
        self.p, self.m, self.v, state, self.key, value = self.whole(
            self.p, self.m, self.v, self.xs, self.ts, state, self.key, float(self.steps)
        )
        if not self.w.seq2seq:
            self.state = state
        return value.block_until_ready()
