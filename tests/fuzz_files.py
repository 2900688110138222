"""Coverage-guided mutation of the readers of strangers' files (atheris), for hours if you like.

    pip install atheris
    python -m tests.fuzz_files pickle -max_total_time=1800 [CORPUS_FOLDER]
    python -m tests.fuzz_files torch -max_total_time=1800 [CORPUS_FOLDER]

Options with one dash are libFuzzer's. The corpus begins with files as NumPy, Python 2 and PyTorch
write them. Whatever the bytes are: arrays of numbers, or one FormatError of one printable line, in
less than a second, and no more memory than a multiple of the file. A crash of the process is a
finding as well, and so is a warning.
"""

import io
import pickle
import sys
import tempfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np

ARRAYS = [np.ones((2, 3), np.float16), np.arange(4.0), np.asfortranarray(np.eye(2, 3))]
PYTHON_2 = (
    b"(lp0\ncnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\np4\n"
    b"tp5\nRp6\n(I1\n(I1\nI2\ntp7\ncnumpy\ndtype\np8\n(S'f4'\np9\nI0\nI1\ntp10\nRp11\n(I3\nS'<'\n"
    b"p12\nNNNI-1\nI-1\nI0\ntp13\nbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np14\ntp15\nba."
)
# {"w": tensor of storage 0, 6 float32, as (2, 3)}
STATE_DICT = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00"
    b"\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K"
    b"\x06tq\x07QK\x00K\x02K\x03\x86q\x08K\x03K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0b"
    b"tq\x0cRq\rs."
)
LIMIT = 8_000_000  # bytes, beside 64 times the file


def torch_archive(pickled: bytes, numbers: bytes = bytes(24)) -> bytes:
    """A .pth file of one storage."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("data.pkl", pickled), ("byteorder", b"little"), ("data/0", numbers)):
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def legacy_archive() -> bytes:
    """The older kind of .pth file, of the same tensor."""
    magic = 0x1950A86A20F9469CFC6C
    head = b"".join(pickle.dumps(x, 2) for x in (magic, 1001, {"little_endian": True}))
    tree = STATE_DICT.replace(b"q\x06K\x06tq", b"q\x06K\x06Ntq")
    return head + tree + pickle.dumps(["0"], 2) + (6).to_bytes(8, "little") + bytes(24)


def seeds(kind: str) -> list[bytes]:
    if kind == "pickle":
        return [pickle.dumps(ARRAYS, protocol) for protocol in range(6)] + [PYTHON_2]
    return [torch_archive(STATE_DICT), legacy_archive(), STATE_DICT]


def check(kind: str, content: bytes) -> None:
    """AssertionError, or whatever it was, if a reader does anything but what it promises."""
    from tinygrad_rnn.interop import files, torch_files

    if kind == "torch" and content[:1] == b"\x80" and len(content) < 2000:
        content = torch_archive(content)  # mutations inside of the archive, past its checksums
    torch_files.read_bytes = lambda path: content
    tracemalloc.start()
    try:
        read = torch_files.read_torch if kind == "torch" else torch_files.read_pickled
        found = read("file")
    except files.FormatError as error:
        text = str(error)
        assert text.isprintable() and len(text) < 300, text
    else:
        for array in found.values():
            assert array.dtype.kind in "fiub" and not array.dtype.hasobject
            array.sum(dtype=object if array.dtype.kind in "iu" else None)  # every byte can be read
        assert sum(array.nbytes for array in found.values()) <= 8 * len(content)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < LIMIT + 64 * len(content), f"{peak} bytes of memory for {len(content)}"


def main() -> None:
    import atheris

    kind = sys.argv.pop(1)
    with atheris.instrument_imports(include=["tinygrad_rnn.interop", "pickletools", "zipfile"]):
        import tinygrad_rnn.interop.torch_files  # noqa: F401
    warnings.simplefilter("error")
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as folder:
        for i, content in enumerate(seeds(kind)):
            (Path(folder) / f"seed{i}").write_bytes(content)
        atheris.Setup([*sys.argv, folder], lambda content: check(kind, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
