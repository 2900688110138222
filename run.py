"""Set up and run tinygrad_rnn with one command; needs nothing but Python 3.11 or newer.

    python run.py train date      train a model that reads dates (about two minutes)
    python run.py test            run the tests
    python run.py --help          all that the command line can do

The first run makes the virtual environment .venv beside this file and installs into it what the
README promises, numba (which makes training faster) and hypothesis (which finds the smallest
example that shows a mistake) included: about 400 MB, half of which is numba's compiler. Later
runs start at once. After `test` come options of pytest; everything else goes to
`python -m tinygrad_rnn`.
"""

# No f-strings and no annotations: a Python that is too old must get as far as the sentence in
# main() that says so. For the same reason only modules that it has are imported here.
import hashlib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
EXTRAS = {"use": "models,check,fast", "test": "test"}
# What one wants is also there when the other was installed.
INSTALLED_WITH = {"use": ("use", "test"), "test": ("test",)}


def main(arguments):
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit("run.py: this is Python " + sys.version.split()[0] + ", wanted 3.11 or newer")
    if not arguments:
        sys.exit(__doc__.strip())
    if arguments[0] == "test":
        prepare("test")
        os.chdir(ROOT)
        become(PYTHON, "-m", "pytest", *arguments[1:])
    prepare("use")
    # So that the program names its next commands as this one was called.
    os.environ["TINYGRAD_RNN_COMMAND"] = called()
    become(PYTHON, "-m", "tinygrad_rnn", *arguments)


def called():
    """This program as a person calls it, quoted for the shell."""
    words = [os.path.basename(sys.executable), sys.argv[0]]
    if os.name == "nt":
        return subprocess.list2cmdline(words)
    import shlex

    return " ".join(shlex.quote(word) for word in words)


def prepare(purpose):
    """Install the project into .venv for this purpose, unless that was done for this very state."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        # The folder too, because an environment does not survive being moved.
        state = hashlib.sha256(file.read() + ROOT.encode()).hexdigest()
    if os.path.exists(PYTHON) and any(read(stamp(e)) == state for e in INSTALLED_WITH[purpose]):
        return
    try:
        import ensurepip  # noqa: F401  (Debian has Pythons without it)
        import venv  # noqa: F401
    except ImportError:
        sys.exit("run.py: this Python cannot make virtual environments; install its venv module"
                 " (Debian, Ubuntu: sudo apt install python3-venv)")  # fmt: skip
    sys.stderr.write("run.py: installing into " + VENV + " (this once: about a minute, 400 MB)\n")
    make = [sys.executable, "-m", "venv", "--clear", VENV]
    if not os.path.exists(PYTHON) and subprocess.call(make):
        sys.exit("run.py: could not make the virtual environment " + VENV + ", see above")
    if subprocess.call([PYTHON, "-c", "import pip"], stderr=subprocess.DEVNULL):
        subprocess.call([PYTHON, "-m", "ensurepip"])  # uv makes environments without pip
    if install(EXTRAS[purpose]) and (purpose == "test" or install("models,check")):
        sys.exit("run.py: the installation failed, see above: check the network connection, or "
                 "delete " + VENV + ", and run the same command again")  # fmt: skip
    with open(stamp(purpose), "w") as file:
        file.write(state)


def install(extras):
    """Returns pip's exit status. (A Python that numba does not know yet does without.)"""
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.call([*pip, "--editable", ROOT + "[" + extras + "]"])


def stamp(purpose):
    return os.path.join(VENV, "installed-" + purpose)


def read(path):
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return file.read()


def become(*command):
    """Go on as this command: its exit status is ours, and so are the signals that it gets."""
    if os.name != "nt":
        os.execv(command[0], command)
    process = subprocess.Popen(command)
    while process.returncode is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C reached both processes; training saves before it ends
    sys.exit(process.returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
