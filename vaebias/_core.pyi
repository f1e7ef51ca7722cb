from types import ModuleType

PIECE: int
MAX_COLUMNS: int
TARGET_TOLERANCE: float
LIKELIHOODS: tuple[str, ...]
BORDERS: tuple[str, ...]
STORAGES: tuple[str, ...]
COMPILER: str
CUDA_COMPILER: str
CUDA_ARCHITECTURES: str
OPENMP: bool
cpu: ModuleType
cuda: ModuleType  # present only where nvcc was found at build time

def instruction_set() -> str: ...
def total_correlation_spans(batch: int, /) -> int: ...
