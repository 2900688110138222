"""The graph of a Tensor as a picture; nothing has to be installed for it."""

from .graph import Step, cell_steps, draw
from .picture import Drawing

__all__ = ["Drawing", "Step", "cell_steps", "draw"]
