"""PyTorch with its fused nn.LSTM."""

import numpy as np
import torch

from . import torch_cells

ORDER = [2, 0, 1, 3]  # its gates are i, f, g, o; ours f, g, i, o
BACK = [1, 2, 0, 3]


class Ops(torch_cells.Ops):
    def lstm(self, name, p, xs, state):
        hs, (h, c) = self.layers[name](xs, tuple(part[None] for part in state))
        return hs, (h[0], c[0])


def gates(array, order):
    """Blocks of gates along the last axis in another order."""
    return np.concatenate([np.split(array, 4, axis=-1)[k] for k in order], axis=-1)


class Contender(torch_cells.Contender):
    ops = Ops

    def prepare(self):
        self.network.layers = {}
        for name in [n.removesuffix(".Wx") for n in self.p if n.endswith(".Wx")]:
            Wx, Wh, b = (gates(self.p.pop(f"{name}.{a}").detach().numpy(), ORDER)
                         for a in ("Wx", "Wh", "b"))  # fmt: skip
            layer = torch.nn.LSTM(Wx.shape[0], Wh.shape[0], batch_first=True)
            with torch.no_grad():
                layer.weight_ih_l0.copy_(torch.from_numpy(Wx.T.copy()))
                layer.weight_hh_l0.copy_(torch.from_numpy(Wh.T.copy()))
                layer.bias_ih_l0.copy_(torch.from_numpy(b))
                layer.bias_hh_l0.zero_()
            layer.bias_hh_l0.requires_grad_(False)
            self.network.layers[name] = layer

    def trained(self):
        layers = self.network.layers.values()
        return [*self.p.values(), *(a for m in layers for a in m.parameters() if a.requires_grad)]

    def gradients(self):
        found = super().gradients()
        for name, m in self.network.layers.items():
            found[f"{name}.Wx"] = gates(m.weight_ih_l0.grad.numpy().T, BACK)
            found[f"{name}.Wh"] = gates(m.weight_hh_l0.grad.numpy().T, BACK)
            found[f"{name}.b"] = gates(m.bias_ih_l0.grad.numpy(), BACK)
        return found
