"""Twenty layers with a mistake each, from easy to hard, for notebooks/find_the_mistake.py.

The layers are those of tinygrad_rnn.manual; each exercise changes one place.
"""

import ast
import inspect
import re
from typing import NamedTuple

from tinygrad_rnn import manual
from tinygrad_rnn.check import check


class Exercise(NamedTuple):
    """``layer`` of manual/, in which ``right`` was replaced by ``wrong``; hints from weak to
    strong."""

    layer: str
    right: str
    wrong: str
    hints: tuple[str, ...]


EXERCISES = [
    Exercise("Sigmoid", "dout * self.out * (1.0 - self.out)", "dout * (1.0 - self.out)",
             ("What is the derivative of the sigmoid, in terms of its output y?",
              "y (1 - y) has two factors.")),
    Exercise("MatMul", "np.dot(dout, W.T)", "np.dot(dout, W)",
             ("Write down the shapes: dout (N, H), W (D, H), and dx is (N, D).",
              "Which side of W has H elements? With a square W nothing complains.")),
    Exercise("Affine", "np.sum(dout, axis=0)", "np.mean(dout, axis=0)",
             ("The bias is added to each of the N rows.",
              "What is used N times gets the sum of N gradients.")),
    Exercise("RNN", "dh_next * (1.0 - h_next**2)", "dh_next * h_next * (1.0 - h_next)",
             ("Which function made h_next?", "y (1 - y) is not the derivative of tanh.")),
    Exercise("RNN", "self.grads[1][...] = np.dot(h_prev.T, dA)",
             "self.grads[1][...] = np.dot(h_next.T, dA)",
             ("All three gradients come from dA, but what is multiplied by Wh going forward?",
              "It is the state before this step.")),
    Exercise("RNN", "return dx, dh_prev", "return dh_prev, dx",
             ("The gradients are right. Who gets which?",
              "They are returned in the order of the arguments of forward.")),
    Exercise("Embedding", "np.add.at(dW, self.idx, dout)", "dW[self.idx] += dout",
             ("It is right as long as no word comes twice in a batch.",
              "NumPy's x[[0, 0]] += 1 adds 1, not 2.")),
    Exercise("LSTM", "dg * (1.0 - g**2)", "dg * g * (1.0 - g)",
             ("Go through the four gates: which activation has each?", "g is the tanh.")),
    Exercise("LSTM", "dc_prev = dc * f", "dc_prev = dc * i",
             ("c = f c_prev + i g.", "What is c_prev multiplied by?")),
    Exercise("LSTM", "dc_next + dh_next * o * (1.0 - tanh_c**2)", "dh_next * o * (1.0 - tanh_c**2)",
             ("How many paths lead from c to the loss?",
              "One goes through h; the other is handed over by the next step.")),
    Exercise("LSTM", "do = dh_next * tanh_c", "do = dh_next * c_prev",
             ("h = o tanh(c).", "What is o multiplied by?")),
    Exercise("GRU", "(1.0 - h_hat**2)", "(1.0 - h_hat)",
             ("Which activation has the candidate h_hat?", "tanh' = 1 - tanh squared.")),
    Exercise("GRU", "+ dh_next * (1.0 - z)", "+ dh_next * z",
             ("h = (1 - z) h_prev + z h_hat.", "How much of h_prev goes straight into h?")),
    Exercise("GRU", " + du * r", "",
             ("u = r h_prev. Count the paths from h_prev.", "One of them goes through u.")),
    Exercise("TimeRNN", "dhs[:, t, :] + dh", "dhs[:, t, :]",
             ("h_t is used twice: above, and by the next step.",
              "What comes from the next step is in dh.")),
    Exercise("TimeRNN", "_add(self.grads, layer.grads)",
             "for grad, step in zip(self.grads, layer.grads):\n                grad[...] = step",
             ("The weights are used at every time step.", "What is used T times gets a sum.")),
    Exercise("TimeGRU", "np.stack(dxs[::-1], axis=1)", "np.stack(dxs, axis=1)",
             ("In which order are the steps walked backward?",
              "The gradient of the last step is first in the list.")),
    Exercise("Softmax", "y * (dout - np.sum(dout * y, axis=-1, keepdims=True))",
             "y * dout * (1.0 - y)",
             ("Each output depends on all inputs, not only on its own.",
              "y (1 - y) is the diagonal of the Jacobian; what about the rest?")),
    Exercise("TimeDropout", "dout * self.mask", "dout * (self.mask > 0)",
             ("What else than zeros is in the mask?", "What passes was divided by 1 - p.")),
    Exercise("TimeBiLSTM", "dhs[:, ::-1, H:]", "dhs[:, :, H:]",
             ("The second layer reads the sequence from its end.",
              "Its outputs were turned round going forward, so their gradients are, too.")),
]  # fmt: skip


def source(number: int) -> str:
    """The layer of an exercise, as it is handed to the reader: without its derivation."""
    exercise = EXERCISES[number - 1]
    module = inspect.getmodule(getattr(manual, exercise.layer))
    code = inspect.getsource(getattr(manual, exercise.layer))
    code = re.sub(r'\n    """.*?"""\n', "\n", code, count=1, flags=re.S)
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    names = sorted(used & vars(module).keys() - {"np", "Any", exercise.layer})
    head = "from typing import Any\n\n" * ("Any" in used) + "import numpy as np\n\n"
    head += f"from {module.__name__} import {', '.join(names)}\n\n\n"
    assert exercise.right in code
    return head + code.replace(exercise.right, exercise.wrong, 1).replace(":\n\n    def", ":\n    def")


def exercise(number: int) -> None:
    """Print the layer of exercise ``number`` (1 to 20), to be copied into a cell and mended."""
    print(f"# exercise {number} of {len(EXERCISES)}\n{source(number)}")


def hint(number: int, strength: int = 1) -> None:
    """Print a hint; ``strength`` 2 says more."""
    hints = EXERCISES[number - 1].hints
    print(hints[min(strength, len(hints)) - 1])


def judge(number: int, layer: type, explain: bool = False) -> bool:
    """Whether ``layer``, the reader's repair of exercise ``number``, has right gradients. Where it
    has not, which are wrong is printed; with ``explain`` the likely mistake as well."""
    wanted = EXERCISES[number - 1].layer
    if layer.__name__ != wanted:
        raise ValueError(f"judge: exercise {number} is about {wanted}, {layer.__name__} came")
    report = check(layer, explain=explain)
    if not explain and report.verdict == "wrong":
        report.cause, report.causes = None, []  # some are seen without a search
    right = report.verdict in ("ok", "convention")
    print("Right." if right else report)
    return right
