"""What the compiler makes of the CUDA kernels (`make cuda-report`): no spills, and vectors kept."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = ROOT / "benchmarks" / "cuda_report.py"
if not PATH.exists():
    pytest.skip("benchmarks/ is not here, as in an sdist", allow_module_level=True)
SPEC = importlib.util.spec_from_file_location("cuda_report", PATH)
cuda_report = importlib.util.module_from_spec(SPEC)
sys.modules["cuda_report"] = cuda_report  # where dataclasses look for their module
SPEC.loader.exec_module(cuda_report)

needs_nvcc = pytest.mark.skipif(cuda_report.nvcc() is None, reason="there is no nvcc")
SOURCES = sorted(path.name for path in (ROOT / "csrc").glob("*.cu"))


@needs_nvcc
@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_spilled_to_memory(name, tmp_path):
    _, said = cuda_report.compile_kernels(ROOT / "csrc" / name, "sm_90", tmp_path)
    spilled = {kernel: each.spilled for kernel, each in cuda_report.resources(said).items()}
    assert not any(spilled.values()), spilled


@needs_nvcc
def test_the_compiler_is_named_with_its_version():
    assert re.fullmatch(r"nvcc \d+\.\d+\.\d+", cuda_report.compiler())


@pytest.fixture(scope="module")
def ptx_of(tmp_path_factory):
    """Compile a source once; return the PTX of each of its kernels, by mangled name."""

    @functools.cache
    def compiled(name):
        ptx = tmp_path_factory.mktemp("ptx") / f"{name}.ptx"
        command = [
            cuda_report.nvcc(), "-std=c++17", "-O3", "-arch=sm_90", "-ptx", f"-I{ROOT / 'csrc'}",
            str(ROOT / "csrc" / f"{name}.cu"), "-o", str(ptx),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        kernels = re.split(r"\.entry ", ptx.read_text())[1:]
        return {text.split("(", 1)[0]: text for text in kernels}

    return compiled


@needs_nvcc
@pytest.mark.parametrize(
    ("types", "vector", "count"),
    [
        ("EfffE", "v4.f32", 2),
        ("EffhE", "v4.f32", 2),
        ("EdddE", "v2.f64", 2),
        ("Ef6__half", "v2.f32", 6),
        ("Ef13__nv_bfloat16", "v2.f32", 6),
    ],
)  # of two likelihoods each; of half types with three kinds of targets
def test_gradients_of_pixels_leave_as_vectors(types, vector, count, ptx_of):
    packed = [text for name, text in ptx_of("nll").items() if "Lb1" + types in name]
    assert len(packed) == count
    for text in packed:
        streamed = re.findall(r"st\.global\.cs\.(\S+)", text)
        assert streamed, "no gradient is written"
        assert set(streamed) == {vector}


@needs_nvcc
def test_tiles_of_bytes_are_copied_sixteen_at_a_time_and_later(ptx_of):
    kernels = ptx_of("tangent_gram")
    packed = [text for name, text in kernels.items() if "byte_gram_kernelILb1" in name]
    assert len(packed) == 4  # float and double, with sums that fit into 32 bits and others
    for text in packed:
        assert re.search(r"cp\.async\.c[ag]\.shared\.global \[.*\], \[.*\], 16", text)
        assert "dp4a" in text
        assert not re.search(r"ld\.global\S*u8", text)


@needs_nvcc
def test_columns_are_loaded_as_vectors_and_multiplied_on_tensor_cores(ptx_of):
    packed = [text for kernel, text in ptx_of("tangent_gram").items() if "Lb1EEE" in kernel]
    assert len(packed) == 8  # four shapes, of float and double
    for text in packed:
        assert re.search(r"ld\.global\S*\.v[24]\.", text)
        assert "mma.sync.aligned.m" in text


def test_loops_and_widths_are_read_off_the_machine_code():
    listing = "\n".join(
        [
            ".text.kernel:",
            "  /*0000*/  LDG.E.128 R4, [R2.64] ;",
            ".L_x_1:",
            "  /*0010*/  LDG.E.64 R4, [R2.64] ;",
            "  /*0020*/  STG.E.U8 [R2.64], R4 ;",
            "  /*0030*/  @P0 BRA `(.L_x_1) ;",
            "  /*0040*/  CALL.REL.NOINC `(slow) ;",
            "  /*0050*/  DMMA.8x8x4 R4, R4, R6, RZ ;",
        ]
    )
    counts = {"kernel": cuda_report.Counts("kernel")}
    cuda_report.count_instructions(listing, counts)
    found = counts["kernel"]
    assert (found.instructions, found.loop, found.calls) == (6, 3, 1)
    assert dict(found.loads) == {128: 1, 64: 1}
    assert dict(found.stores) == {8: 1}
    assert dict(found.tensor) == {"8x8x4": 1}
