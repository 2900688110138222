"""The training step that the tests of tg.jit record."""

from tinygrad_rnn import optim


def step_of(model, optimizer):
    """A training step: loss, and norm of the gradients before they were clipped."""

    def step(xs, ts):
        loss = model.loss(xs, ts)
        loss.backward()
        norm = optim.clip_grad_norm_(optimizer.params, 0.25)
        optimizer.step()
        optimizer.zero_grad()
        return loss, norm

    return step
