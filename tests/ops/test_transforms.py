from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vaebias
from vaebias.ops import _transforms

WITHOUT = """
import warnings
import torch

del torch.{name}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from vaebias.ops import bernoulli_nll, sample_and_kl
    from vaebias.ops.selftest import self_test

    x = torch.randn(3, 4, 5, requires_grad=True)
    loss = torch.vmap(bernoulli_nll)(x, torch.zeros(3, 4, 5)).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    assert torch.allclose(gradient, x.sigmoid())
    assert all(result.error == 0 for result in self_test())
messages = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
assert len(messages) == 1, messages
assert "torch.{name}" in messages[0] and "references" in messages[0], messages
"""


@pytest.mark.parametrize(
    "name", ["_C._AutoDispatchBelowAutograd", "_C._functorch.get_interpreter_stack"]
)
def test_without_a_private_name_the_references_run_and_one_warning_says_so(name, tmp_path):
    # elsewhere than in a checkout, which python -c would import instead of what is installed
    command = [sys.executable, "-c", WITHOUT.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_this_torch_has_every_name():
    assert _transforms.SUPPORTED


def test_no_other_module_uses_torchs_private_names():
    root = Path(vaebias.__file__).parent
    for path in root.rglob("*.py"):
        if path.name != "_transforms.py":
            assert not re.search(r"torch\._(?!_)", path.read_text()), path
