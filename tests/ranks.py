"""What each rank does in test_distributed.py: ``mpiexec -n K python ranks.py JOB FOLDER``; what it
found is in FOLDER/JOB.K.RANK.npz."""

import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import distributed, nn, optim
from tinygrad_rnn.functional import cross_entropy
from tinygrad_rnn.optim import clip_grad_norm_

N, T, V = 7, 5, 11


def model(seed):
    tg.manual_seed(seed)
    net = nn.Module()
    net.embed = nn.Embedding(V, 6, dtype=np.float64)
    net.lstm = nn.LSTM(6, 8, dtype=np.float64)
    net.affine = nn.Linear(8, V, dtype=np.float64)
    net.unused = nn.Parameter(np.ones(3))
    return net


def loss_of(net, xs, ts):
    return cross_entropy(net.affine(net.lstm(net.embed(xs))[0]), ts)


def train(jit=False, rows=(N,), steps=50):
    net = model(1 + distributed.rank())  # they begin as different models,
    distributed.broadcast(net)  # and become one
    adam = optim.Adam(net.parameters(), 0.01)

    def step(xs, ts):
        loss = loss_of(net, xs, ts)
        loss.backward()
        distributed.average_gradients(net.parameters())
        norm = clip_grad_norm_(net.parameters(), 0.5)
        adam.step()
        adam.zero_grad()
        return loss, norm

    step = tg.jit(step) if jit else step
    rng = np.random.default_rng(3)
    norms = []
    for i in range(steps):
        xs, ts = rng.integers(0, V, (2, rows[i % len(rows)], T))
        _, norm = step(*distributed.shard((xs, ts)))
        norms.append(float(norm))
    return {**net.state_dict(), "norms": np.array(norms)}


def errors():
    found = {}
    net = nn.Linear(3, 2)
    if distributed.rank() == 0:
        net(np.ones((2, 3), np.float32)).sum().backward()
    try:
        distributed.average_gradients(net.parameters())
    except RuntimeError as error:
        found["some"] = str(error)
    try:
        distributed.broadcast(nn.Linear(3, 2 + distributed.rank()))
    except ValueError as error:
        found["shapes"] = str(error)
    for p in net.parameters():
        p.grad = np.full(p.shape, distributed.rank(), np.float32)
    distributed.average_gradients(net.parameters(), weight=distributed.rank())
    found["weighed"] = net.b.grad.data
    half = nn.Parameter(np.ones(3, np.float16))
    half.grad = np.full(3, distributed.rank(), np.float16)
    distributed.average_gradients([half], weight=1)
    found["half"] = half.grad.data
    return found


def dies():
    if distributed.rank() == 1:
        raise SystemError("rank 1 has had enough")
    distributed.average_gradients(model(0).parameters())


JOBS = {
    "eager": train, "jit": lambda: train(jit=True), "errors": errors, "dies": dies,
    # the same rows here, another number in all: what a replay weighs with must come in anew
    "sizes": lambda: train(rows=(5, 6, 5, 7, 1), steps=25),
    "sizes_jit": lambda: train(jit=True, rows=(5, 6, 5, 7, 1), steps=25),
}


if __name__ == "__main__":
    job, folder = sys.argv[1:]
    name = f"{folder}/{job}.{distributed.size()}.{distributed.rank()}.npz"
    np.savez(name, **JOBS[job]())
