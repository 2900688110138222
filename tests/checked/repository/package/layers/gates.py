from ..factor import FACTOR
from . import scaling


class Twice:
    def forward(self, x):
        return scaling.scaled(x)

    def backward(self, dout):
        return FACTOR * dout
