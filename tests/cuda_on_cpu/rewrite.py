"""Turn the two things in a .cu file that are not C++ into calls of cuda_runtime.h beside this file.

kernel<<<grid, block, shared, stream>>>(...)  ->  emulated::launch(..., [&] { kernel(...); })
__shared__ T a[m], b;                         ->  references into the block's shared memory
extern __shared__ T a[];                      ->  a pointer to its dynamic part

Lines keep their numbers. A declaration that is not understood stays, and does not compile.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TYPE = r"(?:const\s+)?[\w:]+(?:<[\w:, ]+>)?\s*\*?"
DECLARATION = rf"(extern\s+)?__shared__\s+(?:alignas\(\d+\)\s+)?({TYPE})\s+([^;]+);"
KEY = "[] { static char key; return &key; }()"


def closing(text: str, at: int) -> int:
    """Return where the bracket at ``at`` is closed."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    raise ValueError(f"a bracket that is not closed: {text[at : at + 40]}")


def kernel_before(text: str, at: int) -> int:
    """Return where the name, with its template arguments, starts that ends at ``at``."""
    start = len(text[:at].rstrip())
    if text[start - 1] == ">":
        depth = 0
        while True:
            start -= 1
            depth += (text[start] == ">") - (text[start] == "<")
            if depth == 0:
                break
    found = re.search(r"[\w:]+$", text[:start])
    if found is None:
        raise ValueError(f"a launch without a kernel: {text[at - 40 : at + 3]}")
    return found.start()


def launches(text: str) -> str:
    """Rewrite every launch."""
    while (at := text.find("<<<")) >= 0:
        start, end = kernel_before(text, at), text.index(">>>", at)
        last = closing(text, text.index("(", end))
        call = text[start:at] + text[end + 3 : last + 1]
        launch = f"::emulated::launch({text[at + 3 : end]}, [&] {{ {call}; }})"
        text = text[:start] + launch + text[last + 1 :]
    return text


def shared(match: re.Match[str]) -> str:
    """Rewrite one declaration of shared memory."""
    dynamic, of, names = match.groups()
    if dynamic:
        name = names.partition("[")[0]
        return f"{of}* const {name} = static_cast<{of}*>(::emulated::dynamic_shared_memory());"
    declared = [re.fullmatch(r"\s*(\w+)\s*(.*)", each, re.DOTALL) for each in names.split(",")]
    return " ".join(
        f"auto& {each[1]} = ::emulated::shared<{of}{each[2]}>({KEY});" for each in declared if each
    ) + "\n" * names.count("\n")


def rewritten(text: str, path: str) -> str:
    """Return the text of a .cu file as C++."""
    text = re.sub(DECLARATION, shared, text)
    return f'#line 1 "{path}"\n{launches(text)}'


if __name__ == "__main__":
    source, made = map(Path, sys.argv[1:])
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(rewritten(source.read_text(encoding="utf-8"), source.name), encoding="utf-8")
