"""Write docs/licences.md: the packages that vaebias requires, and their licences.

Run as ``python docs/list_licences.py > docs/licences.md`` where vaebias is installed.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

ABOUT = """\
vaebias is under the MIT licence. Its wheels contain pybind11 (BSD-3-Clause) in compiled form, and
no other third-party code. It depends on the packages below, listed with the licences that their
metadata name (on Linux, with the versions of `constraints.txt`). CUDA wheels of torch install
NVIDIA's libraries, under NVIDIA's licences. The optional Ray and TensorBoard are under Apache-2.0.
`python docs/list_licences.py > docs/licences.md` writes this page.
"""


def licence(name: str) -> str:
    """Return the licence that a package's metadata names, in short."""
    metadata = distribution(name).metadata
    if expression := metadata.get("License-Expression"):
        return expression
    prefix = "License :: OSI Approved :: "
    classes = [c.removeprefix(prefix) for c in metadata.get_all("Classifier", []) if prefix in c]
    text = (metadata.get("License") or "").strip().partition("\n")[0]
    return "; ".join(classes) or text or "not said in its metadata"


def needed(name: str, found: dict[str, set[str]], by: str) -> None:
    """Add ``name``, for which ``by`` asks, and all that it asks for itself."""
    seen = name in found
    found.setdefault(name, set()).add(by)
    if seen:
        return
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        other = re.sub(r"[-_.]+", "-", requirement.name).lower()
        try:
            distribution(other)
        except PackageNotFoundError:
            continue
        needed(other, found, name)


def main() -> None:
    """Print the page."""
    found: dict[str, set[str]] = {}
    needed("vaebias", found, "")
    direct = sorted(name for name, by in found.items() if "vaebias" in by)
    others = sorted(found.keys() - {"vaebias", *direct})
    print("# Licences\n")
    print(ABOUT)
    for title, names in (("required by vaebias", direct), ("required by these packages", others)):
        print(f"| {title} | version | licence |\n|---|---|---|")
        for name in names:
            print(f"| {name} | {distribution(name).version.partition('+')[0]} | {licence(name)} |")
        print()


if __name__ == "__main__":
    main()
