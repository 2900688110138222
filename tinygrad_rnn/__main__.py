"""``python -m tinygrad_rnn``: the command line of the models."""

import sys
from typing import Any


def main() -> Any:
    try:
        if sys.argv[1:2] != ["check"] and not {"-h", "--help", "--version"} & {*sys.argv}:
            from tinygrad_rnn.models.commands.machine import tune_blas

            tune_blas()  # starts it again, which takes as long as a small check
        from tinygrad_rnn.models.commands.main import main as run
    except ModuleNotFoundError as error:
        if error.name != "tinygrad_rnn.models":
            raise
        sys.exit('tinygrad-rnn: the models are not installed; run pip install -e ".[models]"')
    except KeyboardInterrupt:
        sys.exit(130)
    return run()


if __name__ == "__main__":
    sys.exit(main())
