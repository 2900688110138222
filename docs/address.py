"""The one address of the project: ``Source`` under ``[project.urls]`` of pyproject.toml.

    python docs/address.py                                  what stands there, and where else
    python docs/address.py https://github.com/YOU/NAME      set it, everywhere

From it come the other URLs of pyproject.toml, the badges of the READMEs, the links and pictures of
the README that PyPI shows (setup.py), the buttons of the notebooks and the links from the site to
its source (conf.py), and the links of an installed ``check`` (tinygrad_rnn/address.py). While the
owner is still called OWNER nobody has published the project: badges are left out, and
.github/workflows/release.yml refuses.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORM = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)")
BADGES = re.compile(r"(?<=<!-- badges -->\n).*?(?=<!-- -->)", re.S)


def source() -> str:
    """Such as https://github.com/OWNER/tinygrad_rnn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["urls"]["Source"]


def urls(address: str) -> dict[str, str]:
    """All of ``[project.urls]``."""
    owner, name = FORM.fullmatch(address).groups()
    return {
        "Source": address,
        "Documentation": f"https://{owner.lower()}.github.io/{name}/",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


def badges(address: str) -> str:
    """For the head of a README; nothing while nobody has published the project."""
    if "/OWNER/" in address:
        return ""
    runs = f"{address}/actions/workflows/tests.yml"
    return (f"[![tests]({runs}/badge.svg)]({runs})"
            " [![PyPI](https://img.shields.io/pypi/v/tinygrad-rnn)]"
            "(https://pypi.org/project/tinygrad-rnn/)\n")  # fmt: skip


def buttons(notebook: str, address: str) -> str:
    """Markdown of the buttons that open a notebook; .github/workflows/pages.yml builds it."""
    built = f"notebooks/{notebook}.ipynb"
    repository = address.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{repository}/blob/gh-pages/{built}"
    binder = f"https://mybinder.org/v2/gh/{repository}/gh-pages?labpath={built.replace('/', '%2F')}"
    return (f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
            f" [![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})")  # fmt: skip


def readme(text: str, address: str) -> str:
    """A README whose links and pictures are absolute, as PyPI wants them."""

    def absolute(found: re.Match) -> str:
        picture, label, path = found.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}[{label}]({address}/{kind}/main/{path})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", absolute, text)


def written(address: str) -> dict[Path, str]:
    """The files that hold the address, as they should be."""
    project = ROOT / "pyproject.toml"
    table = "".join(f'{key} = "{url}"\n' for key, url in urls(address).items())
    files = {project: re.sub(r"(?<=\[project\.urls\]\n)(?:\w+ = .*\n)+", table,
                             project.read_text("utf-8"))}  # fmt: skip
    for path in sorted(ROOT.glob("README*.md")):
        files[path] = BADGES.sub(badges(address), path.read_text("utf-8"))
    cff = ROOT / "CITATION.cff"
    files[cff] = re.sub(r"(?<=repository-code: ).*", address, cff.read_text("utf-8"))
    listed = ROOT / "notebooks" / "README.md"
    files[listed] = re.sub(
        r"^(\| \[(\w+)\].*\|) \[!.*\|$",
        lambda row: f"{row[1]} {buttons(row[2], address)} |", listed.read_text("utf-8"), flags=re.M,
    )  # fmt: skip
    return files


def main(arguments: list[str]) -> None:
    address = (arguments[0] if arguments else source()).rstrip("/")
    if not FORM.fullmatch(address):
        sys.exit(f"address: {address}, wanted one of the form https://github.com/YOU/NAME")
    for path, text in written(address).items():
        if arguments:
            path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))
    print(f"{address} stands in these files")


if __name__ == "__main__":
    main(sys.argv[1:])
