"""What pyproject.toml cannot say: PyPI's page is README.md with links and pictures that lead there
from anywhere."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "docs"))
import address  # noqa: E402

setup(long_description=address.readme((ROOT / "README.md").read_text("utf-8"), address.source()),
      long_description_content_type="text/markdown")  # fmt: skip
