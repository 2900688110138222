"""A package whose own operators are put in place where it is imported."""

from boxes.core import Box, setup_box

setup_box()
