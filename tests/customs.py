"""``pytest --device``: whole files of tests once more, on the arrays of ``device.py``.

The tests stay as they are, on the host. Between a test and the library is a door: what a test makes
or calls with arrays of NumPy's, the library gets on the device; arrays that it gives come back.
Parameters are there from the beginning. A call that the library makes itself is nobody's business:
where it makes an array of the host beside one of the device, or asks one for its values, the test
fails as it would on a GPU. Ids, masks and lengths stay on the host, where users have them.
"""

import sys
from functools import wraps
from pathlib import Path
from types import FunctionType

import _pytest
import device
import numpy as np
from device import Device, to_device

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, functional, nn, transforms
from tinygrad_rnn.jit.jitted import Jitted
from tinygrad_rnn.operators import Operators
from tinygrad_rnn.protocols import Protocols
from tinygrad_rnn.tensor import host

HERE = Path(__file__).parent
TESTS = {"<string>", *map(str, HERE.rglob("*.py"))} - {__file__, device.__file__}
BETWEEN = tuple(str(Path(room.__file__).parent) for room in (np, _pytest))

FILES = {
    "test_clipping", "test_engine", "test_functional", "test_losses", "test_models",
    "test_models_steps", "test_modules", "test_nn", "test_no_grad", "test_optim", "test_recompute",
    "test_schedules", "test_sequences", "test_ties", "test_transforms",
}  # fmt: skip
# What cannot be asked there, by how its name begins, and why.
EXEMPT = {
    "test_generation_gives_the_same_symbols_recorded": "models/steps.py records on the host alone",
    "test_search_finds_the_same_recorded": "the same",
    "test_a_model_that_has_written_is_not_kept": "the same",
    "test_gradients_through_time_are_those_of_central_differences": "the program makes its arrays",
    "test_scheduled_sampling_can_be_recorded": "asks for the bits of float32, which kernels round",
    "test_a_recorded_step_is_the_same_step": "ReduceLROnPlateau would wait for each loss",
    "test_all_of_it_can_be_recorded": "makes arrays of the host while it is recorded",
    "test_gradients_are_owned_writable_and_of_the_dtype_of_their_tensor": "asks NumPy for memory",
    "test_errors_name_operation_and_shapes_and_change_nothing[<lambda>-ValueError-einsum":
        "NumPy's own words are there for its own arrays",
    "test_a_matrix_is_an_array_and_a_mask_is_not_lost": "about two classes of NumPy's",
}


def by_a_test():
    """Whether a test made the call that led here, by itself or through NumPy or pytest."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(BETWEEN):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename in TESTS


def over(x, kinds="fiub"):
    if type(x) is np.ndarray:  # nothing that is being recorded
        return to_device(x) if x.dtype.kind in kinds else x
    return _inside(x, lambda item: over(item, kinds))


def back(x):
    if isinstance(x, FunctionType):  # of a transform
        return door(x, "f")
    return x.get() if isinstance(x, Device) else _inside(x, back)


def _inside(x, change):
    if type(x) in (list, tuple):
        return type(x)(map(change, x))
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(change, x))
    return {k: change(v) for k, v in x.items()} if type(x) is dict else x


def door(f, kinds="fiub"):
    """``f``, for which arrays of these kinds go over where a test calls it."""
    @wraps(f)
    def through(*args, **kwargs):
        if not by_a_test():
            return f(*args, **kwargs)
        return back(f(*over(args, kinds), **over(kwargs, kinds)))

    return through


def arriving(init, always):
    """What is made of numbers, lists and arrays is on the device: whoever makes it, or a test."""
    @wraps(init)
    def made(self, data, *args, **kwargs):
        if (always or by_a_test()) and not hasattr(data, "__array_function__"):
            data = np.array(data)
        if (always or by_a_test()) and type(data) is np.ndarray and data.dtype.kind in "fiub":
            data = to_device(data)
        init(self, data, *args, **kwargs)

    return made


def open_doors():
    for kind in (Operators, Protocols):
        for name, f in list(vars(kind).items()):
            if callable(f) and name != "__class_getitem__":
                setattr(kind, name, door(f))
    Tensor.__init__ = arriving(Tensor.__init__, False)
    for name in ("__setitem__", "backward", "item", "tolist"):
        setattr(Tensor, name, door(getattr(Tensor, name), "f"))
    Tensor.data = property(Tensor.data.fget, door(Tensor.data.fset))
    Tensor.grad = property(Tensor.grad.fget, door(Tensor.grad.fset))
    given, asked = Tensor.numpy, Tensor.__array__
    Tensor.numpy = lambda self: back(given(self)) if by_a_test() else given(self)
    Tensor.__array__ = lambda self, *args, **kwargs: np.array(host(self), *args[:1]) if (
        by_a_test() and not self.requires_grad) else asked(self, *args, **kwargs)
    for room in (functional, transforms):
        for name in room.__all__:
            f = door(getattr(room, name), "f")
            setattr(room, name, f)
            if hasattr(tg, name):
                setattr(tg, name, f)
    tg.checkpoint = door(tg.checkpoint)
    for kind in (nn.Parameter, nn.Buffer):
        kind.__init__ = arriving(kind.__init__, True)
    nn.Module.__call__ = door(nn.Module.__call__, "f")
    Jitted.__call__ = door(Jitted.__call__, "f")
    # a test may edit what .data has handed out, and look at it
    for name in ("__array_ufunc__", "__array_function__", "__setitem__", "__getitem__"):
        setattr(Device, name, lenient(getattr(Device, name)))
    Device.__array__ = lambda self, *args, **kwargs: np.array(self._a, *args[:1]) if (
        by_a_test()) else _refused(self)


_refused = Device.__array__


def lenient(f):
    @wraps(f)
    def through(*args, **kwargs):
        return f(*over(args), **over(kwargs)) if by_a_test() else f(*args, **kwargs)

    return through
