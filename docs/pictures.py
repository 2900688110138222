"""The pictures of the pages: docs/pictures/*.svg.

    python docs/pictures.py          draw them from docs/pictures.json
    python docs/pictures.py RUNS     measure first, and write docs/pictures.json

RUNS is a folder with trained models: date-N (``tinygrad-rnn train date --seed N --epochs 4``) and
plain-N, reverse-N, peeky-N (``tinygrad-rnn train addition --seed N --epochs 25``, with
``--reverse``, and with ``--reverse --model peeky``), N from 1 to 3. The tests see whether the
pictures are those of the numbers, and the numbers those of the code that is marked below.

Letters and axes have the colour of the text around them: the site puts the pictures into its pages
as they are (conf.py); where they stand for themselves, they follow the reader's dark mode.
"""

import hashlib
import inspect
import json
import math
import re
import sys
from html import escape
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))
import tinygrad_rnn as tg  # noqa: E402
from tinygrad_rnn import nn  # noqa: E402

BLUE, ORANGE, GREEN, VIOLET, GREY = "#3b82d6", "#e07020", "#2f9e62", "#a05fc8", "#8a8a8a"
WIDTH, LETTERS = 520, 13
TITLES = {
    "attention": "Where a trained model looks while it writes a date",
    "gates": "How open the gates of a trained LSTM are",
    "through-time": "Gradients through time in an LSTM",
    "curves": "Learning curves of addition and dates",
    "speed": "How long a training step takes: hand-written layers, tg.jit, PyTorch and JAX",
    "tape": "The calls of a training step before and after the passes of tg.jit",
}


# --- what is measured ----------------------------------------------------------------------------


def through_time(cell, xs, dh):
    """Norms for each step t of d loss / d h_t (and d c_t), where the loss is dh . h_T; and of the
    path from c_T back to c_t through the forget gates alone."""
    H, lstm = dh.shape[1], len(cell.state_sizes) == 2
    state = tuple(tg.Tensor(np.zeros((len(dh), H))) for _ in cell.state_sizes)
    hs, cs, forget = [], [], []
    for x in xs:
        if lstm:
            a = x @ cell.Wx.numpy() + state[0].detach().numpy() @ cell.Wh.numpy() + cell.b.numpy()
            forget.append(1 / (1 + np.exp(-a[:, :H])))
        new = cell(x, *state)
        state = new if lstm else (new,)
        hs.append(state[0])
        cs.append(state[-1])
    gh, gc = tg.grad(hs[-1], hs, dh, retain_graph=True), tg.grad(hs[-1], cs, dh)
    found = {"h": [np.linalg.norm(g.numpy()) for g in gh]}
    if lstm:
        found["c"] = [np.linalg.norm(g.numpy()) for g in gc]
        path = [gc[-1].numpy()]
        for f in forget[:0:-1]:
            path.append(path[-1] * f)
        found["path"] = [np.linalg.norm(g) for g in reversed(path)]
    return {key: [float(f"{norm:.4g}") for norm in norms] for key, norms in found.items()}


def untrained(T=50, N=16, H=64):
    """Of an RNN and of LSTMs with their forget gates at three biases, at their initial weights."""
    rng = np.random.default_rng(1)
    xs, dh = rng.normal(size=(T, N, H)), rng.normal(size=(N, H)) / math.sqrt(N * H)
    found = {"RNN": through_time(nn.RNNCell(H, H, dtype=np.float64, rng=rng), xs, dh)}
    lstm = nn.LSTMCell(H, H, dtype=np.float64, rng=rng)
    for bias in (0, 1, 3):
        lstm.b.data[:H] = bias
        found[f"LSTM, bias {bias}"] = through_time(lstm, xs, dh)
    return found


def trained(T=15, H=16, steps=400):
    """Of an RNN and an LSTM before and after they learn to say what the first of T numbers was."""
    found = {}
    for name, kind in (("RNN", nn.RNN), ("LSTM", nn.LSTM)):
        rng = np.random.default_rng(0)
        layer = kind(1, H, dtype=np.float64, rng=rng)
        output = nn.Linear(H, 1, dtype=np.float64, rng=rng)
        if name == "LSTM":
            layer.cells[0].b.data[:H] = 1
        parameters = [*layer.parameters(), *output.parameters()]
        optimizer = tg.optim.Adam(parameters, lr=0.02)
        xs = np.random.default_rng(5).normal(size=(T, 32, 1))
        for when in ("before", "after"):
            dh = np.repeat(output.W.numpy().T, 32, axis=0) / math.sqrt(32)
            found[f"{name} {when}"] = through_time(layer.cells[0], xs, dh)
            for _ in range(steps if when == "before" else 0):
                batch = rng.normal(size=(32, T, 1))
                loss = np.mean((output(layer(batch)[0][:, -1]) - batch[:, 0]) ** 2)
                loss.backward()
                tg.optim.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                optimizer.zero_grad()
        found[f"{name} loss"] = round(loss.item(), 4)
    return found


def tape():
    """The calls of a training step of an LSTM over four time steps: as recorded, and replayed."""
    layer = nn.LSTM(32, 64)
    optimizer = tg.optim.SGD(layer.parameters(), lr=0.1)

    @tg.jit
    def step(xs):
        loss = np.mean(layer(xs)[0] ** 2)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    xs = np.random.default_rng(0).normal(size=(32, 4, 32)).astype(np.float32)
    for _ in range(4):
        step(xs)
    (recording,) = step.recordings.values()
    return {"recorded": list(map(kind_of, recording.recorded.calls)),
            "replayed": list(map(kind_of, recording.program.tape.calls))}  # fmt: skip


def kind_of(call):
    if call.view:
        return "view"
    name = getattr(call.fn, "__name__", "")
    return "product" if name == "matmul" else "loop" if name.startswith("fused") else "call"


def of_runs(folder):
    """Attention, gates and learning curves of trained models."""
    from models.pictures.gates import on_held_out_data
    from models.training import load_config, load_model, load_task, model_file

    text = "saturday, may 2, 1987"
    path = model_file(folder / "date-3")
    answer, columns, weights = load_model(path).attend(text)
    seen = len("".join(columns).rstrip())  # what comes after is padding
    gates = on_held_out_data(load_task(path, load_config(path)))
    bins = np.linspace(0, 1, 21)
    curves = {}
    for model in ("plain", "reverse", "peeky", "date"):
        for seed in (1, 2, 3):
            lines = (folder / f"{model}-{seed}" / "log.jsonl").read_text("utf-8").splitlines()
            epochs = [r for r in map(json.loads, lines) if "valid_accuracy" in r]
            if len(epochs) >= 4:  # a run that was cut short is none
                curves[f"{model} {seed}"] = [r["valid_accuracy"] for r in epochs]
    return {
        "attention": {"read": "".join(columns)[:seen], "written": answer,
                      "weights": np.round(np.asarray(weights)[:, :seen], 3).tolist()},
        "gates": {f"{path}: {name}": np.histogram(a, bins)[0].tolist()
                  for path, cell in gates.items() for name, a in cell.items()},
        "curves": curves,
    }  # fmt: skip


MEASURED_BY = (through_time, untrained, trained, tape, kind_of, of_runs)


def digest():
    """Of the code that measures. (What it measures is measured again by the tests, where that
    takes no training.)"""
    code = "".join(map(inspect.getsource, MEASURED_BY))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


# --- how it is drawn -----------------------------------------------------------------------------


def text(x, y, said, anchor="middle", **options):
    more = "".join(f' {key}="{value}"' for key, value in options.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(said)}</text>'


def svg(name, height, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' width="{WIDTH}" height="{height:.0f}" style="max-width: 100%; height: auto"'
        f' font-family="sans-serif" font-size="{LETTERS}" fill="currentColor" role="img"'
        f' aria-label="{TITLES[name]}"><style>svg {{color: #222}}'
        " @media (prefers-color-scheme: dark) {svg {color: #ddd}}</style>\n" + "\n".join(parts)
        + "\n</svg>\n"
    )


def panel(top, title, series, x_label, x_ticks, y_ticks, log=False, height=190):
    """A chart: series are (xs, ys, colour, dashes). Returns its parts and where it ends."""
    left, right, head = 58, WIDTH - 12, top + 30
    xs = [x for s in series for x in s[0]]
    scale = math.log10 if log else float
    low, high = scale(min(y_ticks)[0]), scale(max(y_ticks)[0])

    def place(x, y):
        y = min(max(scale(y), low), high) if y > 0 or not log else low
        return (left + (x - min(xs)) / (max(xs) - min(xs)) * (right - left),
                head + height - (y - low) / (high - low) * height)  # fmt: skip

    parts = [text(left, top + 16, title, "start", **{"font-weight": "bold"})]
    for y, said in y_ticks:
        at = place(min(xs), y)[1]
        parts.append(f'<path d="M{left} {at:.1f}H{right}" stroke="currentColor"'
                     ' stroke-opacity=".2"/>')  # fmt: skip
        parts.append(text(left - 6, at + 4, said, "end"))
    for x in x_ticks:
        parts.append(text(place(x, y_ticks[0][0])[0], head + height + 18, str(x)))
    parts.append(text((left + right) / 2, head + height + 36, x_label))
    for points_x, points_y, colour, dashes in series:
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(place, points_x, points_y))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"'
                     + f' stroke-dasharray="{dashes}"' * bool(dashes) + "/>")  # fmt: skip
    return parts, head + height + 46


def legend(top, entries, columns=2):
    """Below the chart, where it hides nothing: entries are (what it is, colour, dashes)."""
    parts = []
    for k, (said, colour, dashes) in enumerate(entries):
        x, y = 58 + (k % columns) * (WIDTH - 70) / columns, top + 14 + 20 * (k // columns)
        parts.append(f'<path d="M{x:.1f} {y - 4:.1f}h26" stroke="{colour}" stroke-width="2"'
                     + f' stroke-dasharray="{dashes}"' * bool(dashes) + "/>")  # fmt: skip
        parts.append(text(x + 32, y, said, "start"))
    return parts, top + 20 * math.ceil(len(entries) / columns) + 10


def powers(low, high, by=2):
    small = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return [(10.0**k, "1" if k == 0 else f"10{str(k).translate(small)}")
            for k in range(low, high + 1, by)]  # fmt: skip


def draw_through_time(numbers):
    first, second = numbers["untrained"], numbers["trained"]
    T = len(first["RNN"]["h"])
    back = [T - 1 - t for t in range(T)]
    colours = {"LSTM, bias 0": BLUE, "LSTM, bias 1": GREEN, "LSTM, bias 3": ORANGE}
    series = [(back, first["RNN"]["h"], GREY, "")]
    series += [(back, first[name]["h"], colour, "") for name, colour in colours.items()]
    series += [(back, first[name]["path"], colour, "2 4") for name, colour in colours.items()]
    parts, end = panel(0, "At the initial weights", series, "time steps back",
                       range(0, T, 10), powers(-16, 0, 4), log=True)  # fmt: skip
    more, end = legend(end, [("RNN, all paths", GREY, ""),
                             *((f"{name}, all paths", c, "") for name, c in colours.items()),
                             ("dotted: through c alone", GREY, "2 4")])  # fmt: skip
    parts += more
    T = len(second["RNN before"]["h"])
    back = [T - 1 - t for t in range(T)]
    series = [(back, second[f"{name} {when}"][key], colour, dashes)
              for name, key, colour in (("RNN", "h", GREY), ("LSTM", "c", ORANGE))
              for when, dashes in (("before", "6 4"), ("after", ""))]  # fmt: skip
    more, end = panel(end + 10, "Before and after training to recall the first of 15 numbers",
                      series, "time steps back", range(0, T, 2), powers(-12, 3, 3), log=True)
    parts += more
    more, end = legend(end, [("RNN (h), before", GREY, "6 4"), ("RNN (h), after", GREY, ""),
                             ("LSTM (c), before", ORANGE, "6 4"), ("LSTM (c), after", ORANGE, "")])
    return svg("through-time", end, parts + more)


def draw_attention(numbers):
    read, written, weights = (numbers["attention"][key] for key in ("read", "written", "weights"))
    left, top = 34, 44
    cell = (WIDTH - left - 6) / len(read)
    parts = [text(left, 14, "a column for each symbol read, a row for each one written", "start")]
    for j, symbol in enumerate(read):
        parts.append(text(left + (j + 0.5) * cell, top - 8, "␣" if symbol == " " else symbol))
    for i, symbol in enumerate(written):
        parts.append(text(left - 12, top + (i + 0.5) * cell + 5, symbol))
        for j, weight in enumerate(weights[i]):
            parts.append(f'<rect x="{left + j * cell:.1f}" y="{top + i * cell:.1f}"'
                         f' width="{cell - 1:.1f}" height="{cell - 1:.1f}" fill="{ORANGE}"'
                         f' fill-opacity="{weight:.2f}" stroke="currentColor"'
                         ' stroke-opacity=".15"/>')  # fmt: skip
    return svg("attention", top + len(written) * cell + 8, parts)


def draw_gates(numbers):
    parts, end = [], 0
    meaning = {"f": "forget gate", "i": "input gate", "o": "output gate"}
    for k, (name, counts) in enumerate(numbers["gates"].items()):
        module, gate = name.split(": ")
        side = module.split(".")[0]
        x, y = 8 + (k % 3) * 170, 26 + (k // 3) * 170
        share = np.array(counts) / sum(counts)
        parts.append(text(x + 78, y, f"{side}: {meaning[gate]}"))
        for b, part in enumerate(share):
            tall = 100 * min(part / 0.4, 1)
            parts.append(f'<rect x="{x + 8 * b:.1f}" y="{y + 112 - tall:.1f}" width="7"'
                         f' height="{tall:.1f}" fill="{BLUE}"/>')  # fmt: skip
        parts.append(f'<path d="M{x} {y + 112}h160" stroke="currentColor" stroke-opacity=".5"/>')
        parts += [text(x, y + 128, "0", "start"), text(x + 160, y + 128, "1", "end"),
                  text(x + 80, y + 128, f"over 0.9: {share[-2:].sum():.0%}")]  # fmt: skip
        end = y + 140
    return svg("gates", end, parts)


def draw_curves(numbers):
    curves = numbers["curves"]
    colours = {"plain": GREY, "reverse": BLUE, "peeky": ORANGE}
    series = [(range(1, len(ys) + 1), ys, colours[name.split()[0]], "")
              for name, ys in curves.items() if not name.startswith("date")]  # fmt: skip
    percent = [(k / 4, f"{25 * k} %") for k in range(5)]
    parts, end = panel(0, "Addition: held-out sums that are right", series, "epoch",
                       (1, 5, 10, 15, 20, 25), percent)  # fmt: skip
    more, end = legend(end, [("Seq2seq", GREY, ""), ("... reversed", BLUE, ""),
                             ("PeekySeq2seq, reversed", ORANGE, "")])  # fmt: skip
    parts += more
    dates = [(range(1, len(ys) + 1), ys, GREEN, "")
             for name, ys in curves.items() if name.startswith("date")]  # fmt: skip
    more, end = panel(end + 10, "Dates: held-out dates that are right", dates, "epoch",
                      (1, 2, 3, 4), percent, height=110)
    parts += more
    more, end = legend(end, [("AttentionSeq2seq", GREEN, "")])
    return svg("curves", end, parts + more)


def draw_tape(numbers):
    kinds = {"product": (ORANGE, "product of matrices"), "loop": (GREEN, "compiled loop"),
             "call": (BLUE, "other call"), "view": (GREY, "view: costs nothing")}  # fmt: skip
    parts, y = [], 0
    for title, key in (("As recorded", "recorded"), ("As replayed, with numba", "replayed")):
        calls = numbers["tape"][key]
        work = sum(kind != "view" for kind in calls)
        y += 18
        parts.append(text(8, y, f"{title}: {len(calls)} calls, {work} of them work", "start",
                          **{"font-weight": "bold"}))  # fmt: skip
        y += 8
        for k, kind in enumerate(calls):
            column, row = k % 42, k // 42
            faint = ' fill-opacity=".35"' if kind == "view" else ""
            parts.append(f'<rect x="{8 + 12 * column}" y="{y + 14 * row}" width="10" height="12"'
                         f' fill="{kinds[kind][0]}"{faint}/>')  # fmt: skip
        y += 14 * math.ceil(len(calls) / 42) + 8
    for k, (colour, said) in enumerate(kinds.values()):
        x, at = 8 + 250 * (k % 2), y + 16 + 20 * (k // 2)
        parts += [f'<rect x="{x}" y="{at - 10}" width="10" height="12" fill="{colour}"/>',
                  text(x + 16, at, said, "start")]  # fmt: skip
    return svg("tape", y + 46, parts)


def speed_table():
    """Milliseconds of a training step, as the table of docs/performance.md has them."""
    page = (DOCS / "performance.md").read_text("utf-8")
    head, _, *rows = re.search(r"^\| workload .*?(?=\n\n)", page, re.M | re.S)[0].splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")[1:]]
    table = {}
    for row in rows:
        workload, *cells = (cell.strip(" *") for cell in row.strip("|").split("|"))
        table[workload] = dict(zip(names, map(float, cells), strict=True))
    return table


def draw_speed(table):
    shown = {"hand-written": GREY, "eager": BLUE, "tg.jit": ORANGE, "torch nn.LSTM": GREEN,
             "JAX jit(scan)": VIOLET}  # fmt: skip
    parts, y = [text(8, 16, "Time of a training step; hand-written layers are 1", "start")], 26
    wide = (WIDTH - 190) / max(row[name] / row["hand-written"] for row in table.values()
                               for name in shown)  # fmt: skip
    for workload, row in table.items():
        y += 22
        parts.append(text(8, y, workload, "start", **{"font-weight": "bold"}))
        for name, colour in shown.items():
            ratio = row[name] / row["hand-written"]
            y += 18
            parts += [text(128, y, name, "end"),
                      f'<rect x="136" y="{y - 11}" width="{ratio * wide:.1f}" height="13"'
                      f' fill="{colour}"/>',
                      text(142 + ratio * wide, y, f"{ratio:.2f}", "start")]  # fmt: skip
    return svg("speed", y + 12, parts)


def pictures(numbers):
    """All of them, by name."""
    return {"attention": draw_attention(numbers), "gates": draw_gates(numbers),
            "through-time": draw_through_time(numbers), "curves": draw_curves(numbers),
            "tape": draw_tape(numbers), "speed": draw_speed(speed_table())}  # fmt: skip


def main(arguments):
    kept = DOCS / "pictures.json"
    if arguments:
        numbers = {"digest": digest(), "untrained": untrained(), "trained": trained(),
                   "tape": tape(), **of_runs(Path(arguments[0]))}  # fmt: skip
        kept.write_text(json.dumps(numbers, separators=(",", ":")) + "\n", "utf-8")
    for name, picture in pictures(json.loads(kept.read_text("utf-8"))).items():
        (DOCS / "pictures" / f"{name}.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
