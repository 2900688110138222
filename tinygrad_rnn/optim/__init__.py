"""Update rules, in PyTorch's form and with its defaults; schedules, clipping, averages of weights.

p is a parameter of any shape, g its gradient; what a rule keeps has their shape and dtype (float16
is kept and computed in float32). ``weight_decay`` adds ``weight_decay * p`` to g; ``maximize`` goes
up, not down. ValueError for an optimizer of no parameters, or of numbers that make no sense;
TypeError for one of anything but leaf Tensors, or groups of them:

    Adam([{"params": model.embed.parameters(), "lr": 1e-4},
          {"params": model.lstm.parameters()}], lr=1e-3)
"""

from .average import EMA
from .clipping import clip_grad_norm_, clip_grad_value_
from .optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from .schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
)

__all__ = [
    "EMA", "SGD", "AdaGrad", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LinearLR",
    "Momentum", "Nesterov", "OneCycleLR", "Optimizer", "RMSprop", "ReduceLROnPlateau", "Schedule",
    "SequentialLR", "StepLR", "clip_grad_norm_", "clip_grad_value_",
]  # fmt: skip
