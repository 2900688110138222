"""The command line: ``tinygrad-rnn`` and ``python -m tinygrad_rnn``. See ``main``."""
