from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaebias import perturb
from vaebias.data import ArrayGrid, Factor, FactorGrid, RenderedGrid, load
from vaebias.errors import InputError


def numbered_grid(axes: list[Factor]) -> ArrayGrid:
    """A grid whose one-pixel images are their own index."""
    n = int(np.prod([axis.size for axis in axes]))
    return ArrayGrid(
        "numbered", axes, np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1), "real", kind="values"
    )


@st.composite
def grids(draw: st.DrawFn) -> ArrayGrid:
    axes = []
    for a in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 6))
        ordinal = draw(st.booleans())
        period = draw(st.none() | st.integers(3, size)) if ordinal and size >= 3 else None
        axes.append(Factor(f"f{a}", np.arange(size) / 10, period, ordinal))
    return numbered_grid(axes)


@pytest.fixture
def grid() -> ArrayGrid:
    return numbered_grid(
        [
            Factor("kind", np.arange(2), ordinal=False),
            Factor("angle", np.linspace(0, 360, 7), period=6),
            Factor("x", np.linspace(0, 1, 5)),
        ]
    )


@given(grids())
def test_index_and_factors_are_inverse_and_row_major(grid: FactorGrid) -> None:
    index = np.arange(len(grid))
    factors = grid.factors(index)
    assert factors.dtype == np.int64
    assert grid.index(factors).dtype == np.int64
    np.testing.assert_array_equal(grid.index(factors), index)
    expected = np.stack(np.meshgrid(*map(np.arange, grid.sizes), indexing="ij"), -1)
    np.testing.assert_array_equal(factors, expected.reshape(len(grid), -1))


@given(grids(), st.integers(1, 4))
def test_neighbours_are_one_step_away_in_one_factor(grid: FactorGrid, stride: int) -> None:
    index = np.arange(len(grid))
    factors, neighbours = grid.factors(index), grid.neighbours(index, stride)
    assert neighbours.shape == (len(grid), len(grid.sizes), 2)
    assert neighbours.dtype == np.int64
    for i in index:
        for a, (size, period) in enumerate(zip(grid.sizes, grid.periods, strict=True)):
            for side, step in enumerate((stride, -stride)):
                moved = factors[i].copy()
                moved[a] = moved[a] + step if period is None else (moved[a] + step) % period
                exists = grid.ordinal[a] and 0 <= moved[a] < size
                expected = grid.index(moved[None])[0] if exists else -1
                assert neighbours[i, a, side] == expected


def test_repeated_last_level_has_the_neighbours_of_the_first() -> None:
    grid = load("dsprites")
    index = grid.index([[0, 0, 0, 4, 5], [0, 0, 39, 4, 5], [0, 0, 38, 4, 5]])
    orientation = grid.names.index("orientation")
    around = grid.neighbours(index)[:, orientation]
    levels = grid.factors(around.ravel())[:, orientation].reshape(3, 2)
    np.testing.assert_array_equal(levels, [[1, 38], [1, 38], [0, 37]])


def test_factor_that_is_not_ordinal_has_no_neighbours(grid: FactorGrid) -> None:
    assert (grid.neighbours(np.arange(len(grid)))[:, 0] == -1).all()


def test_cyclic_says_which_factors_have_a_period(grid: FactorGrid) -> None:
    assert grid.cyclic == (False, True, False)


def test_images_follow_the_index_in_any_order(grid: FactorGrid) -> None:
    index = np.array([7, 0, 69, 7])
    np.testing.assert_array_equal(grid.images(index).ravel(), index)


def test_images_of_an_array_are_copies(grid: FactorGrid) -> None:
    grid.images([3])[:] = -1
    assert grid.images([3]).item() == 3


def test_empty_index_gives_empty_results(grid: FactorGrid) -> None:
    assert grid.images([]).shape == (0, 1, 1, 1)
    assert grid.factors([]).shape == (0, 3)
    assert grid.neighbours([]).shape == (0, 3, 2)
    assert grid.index(np.empty((0, 3), np.int64)).shape == (0,)


def test_samples_cover_the_grid_uniformly(grid: FactorGrid) -> None:
    index = grid.sample(70_000, np.random.default_rng(0))
    assert index.dtype == np.int64
    counts = np.bincount(index, minlength=len(grid))
    # 70 cells of mean 1000: chi-square of 69 degrees of freedom, 99.99 % point 119
    assert ((counts - 1000) ** 2 / 1000).sum() < 119


def test_samples_repeat_with_the_seed(grid: FactorGrid) -> None:
    first, second = (grid.sample(20, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.images([70]), r"index: expected 0\.\.69, found 70"),
        (lambda g: g.factors([0, -1]), r"index: expected 0\.\.69, found -1"),
        (lambda g: g.neighbours([0.5]), "index: expected integers, found dtype float64"),
        (lambda g: g.neighbours([0], 0), "stride: expected a number of levels >= 1, found 0"),
        (lambda g: g.neighbours([0], 1.5), "stride: expected integers, found dtype float64"),
        (lambda g: g.images(np.ones(70, bool)), "index: expected integers, found dtype bool"),
        (lambda g: g.images(3), r"index: expected shape \[n\], found shape \(\)"),
        (lambda g: g.index([[0, 0]]), r"factors: expected shape \[n, 3\] \(kind, angle, x\)"),
        (lambda g: g.index([0, 0, 0]), r"factors: expected shape \[n, 3\]"),
        (lambda g: g.index([[0, 7, 0]]), r"level of 'angle': expected 0\.\.6, found 7"),
        (lambda g: g.index([[0, 0, -1]]), r"level of 'x': expected 0\.\.4, found -1"),
        (lambda g: g.sample(-1, np.random.default_rng(0)), "n: expected n >= 0, found -1"),
        (lambda g: g.restrict(y=0), "factor: expected one of kind, angle, x, found 'y'"),
        (lambda g: g.restrict(x=5), r"level of 'x': expected 0\.\.4, found 5"),
        (lambda g: g.restrict(x=[0, 9]), r"level of 'x': expected 0\.\.4, found 9"),
        (lambda g: g.restrict(x=[]), "level of 'x': expected one level, or a strictly incr"),
        (lambda g: g.restrict(x=[2, 1]), "level of 'x': expected one level, or a strictly incr"),
        (lambda g: g.restrict(x=[1, 1]), "level of 'x': expected one level, or a strictly incr"),
        (lambda g: g.restrict(x=[[1, 2]]), "level of 'x': expected one level, or a strictly"),
        (lambda g: g.restrict(x=slice(9, 12)), "level of 'x': expected one level, or a strictly"),
        (lambda g: g.restrict(x=0.5), "level of 'x': expected integers"),
        (lambda g: g.restrict(kind=0, angle=0, x=0), "at least one factor that is not fixed"),
    ],
)
def test_wrong_input_names_what_is_wrong(grid: FactorGrid, call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(grid)  # type: ignore[operator]


@given(grids(), st.data())
def test_restricted_grid_is_a_window_on_the_whole(grid: FactorGrid, data: st.DataObject) -> None:
    chosen = {}
    for name, size in zip(grid.names, grid.sizes, strict=True):
        subsets = st.lists(st.integers(0, size - 1), min_size=1, unique=True)
        chosen[name] = sorted(data.draw(subsets))
    sub = grid.restrict(**chosen)
    assert sub.sizes == tuple(map(len, chosen.values()))
    index = np.arange(len(sub))
    levels = sub.factors(index)
    whole = np.stack([np.array(chosen[n])[c] for n, c in zip(grid.names, levels.T, strict=True)], 1)
    np.testing.assert_array_equal(sub.images(index), grid.images(grid.index(whole)))
    for name, own in zip(grid.names, sub.values, strict=True):
        all_values = grid.values[grid.names.index(name)]
        np.testing.assert_array_equal(own, all_values[chosen[name]])


def test_a_single_level_removes_the_factor(grid: FactorGrid) -> None:
    sub = grid.restrict(kind=1, x=[0, 2, 4])
    assert sub.names == ("angle", "x")
    assert sub.sizes == (7, 3)
    assert sub.ordinal == (True, True)
    assert (grid.factors(sub.images(range(21)).ravel().astype(int))[:, 0] == 1).all()


def test_list_of_one_level_keeps_the_factor(grid: FactorGrid) -> None:
    sub = grid.restrict(kind=[1])
    assert sub.names == grid.names
    assert sub.sizes == (1, 7, 5)


def test_slices_choose_levels(grid: FactorGrid) -> None:
    np.testing.assert_array_equal(grid.restrict(x=slice(1, None, 2)).values[2], [0.25, 0.75])


def test_neighbours_in_a_sub_grid_are_one_step_within_it(grid: FactorGrid) -> None:
    sub = grid.restrict(kind=0, angle=0, x=[0, 3, 4])
    np.testing.assert_array_equal(sub.neighbours([0, 1, 2])[:, 0], [[1, -1], [2, 0], [-1, 1]])


@pytest.mark.parametrize(
    ("levels", "period"),
    [
        (slice(None), 6),
        ([0, 1, 2, 3, 4, 5], 6),
        ([1, 2, 3, 4, 5, 6], 6),
        ([0, 1, 2, 3, 4], None),
        ([0, 2, 4, 6], None),
        ([0, 1, 2, 3, 5, 6], None),
    ],
)
def test_sub_grid_is_cyclic_only_where_the_circle_is_whole(
    grid: FactorGrid, levels: slice | list[int], period: int | None
) -> None:
    assert grid.restrict(angle=levels).periods[1] == period


def test_restriction_of_a_restriction_composes(grid: FactorGrid) -> None:
    twice = grid.restrict(kind=1, x=[1, 2, 4]).restrict(x=[0, 2], angle=3)
    once = grid.restrict(kind=1, angle=3, x=[1, 4])
    np.testing.assert_array_equal(twice.images([0, 1]), once.images([0, 1]))


def test_restriction_is_recorded(grid: FactorGrid) -> None:
    sub = grid.restrict(kind=1, x=slice(0, 2))
    assert sub.provenance == {"restricted": {"kind": 1, "x": [0, 1]}, "base": {}}
    assert (sub.name, sub.source, sub.image_shape) == (grid.name, grid.source, grid.image_shape)


def test_restricting_nothing_is_the_grid_itself(grid: FactorGrid) -> None:
    assert grid.restrict() is grid


def test_axes_rebuild_the_grid(grid: FactorGrid) -> None:
    again = numbered_grid(list(grid.axes))
    assert (again.names, again.sizes, again.periods) == (grid.names, grid.sizes, grid.periods)
    assert again.ordinal == grid.ordinal


def test_repr_says_what_it_is(grid: FactorGrid) -> None:
    assert repr(grid) == "<ArrayGrid numbered (real): kind 2 x angle 7 x x 5; images 1x1x1>"


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((3, 1, 2, 2), np.uint8),
        np.zeros((2, 4), np.uint8),
        np.zeros((2, 1, 2, 2), np.complex64),
        np.full((2, 1, 2, 2), 1.5, np.float32),
        np.full((2, 1, 2, 2), np.nan),
    ],
    ids=["one too many", "no image", "complex", "range", "nan"],
)
def test_array_that_does_not_fit_the_factors_is_refused(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="images: expected"):
        ArrayGrid("a", [Factor("x", np.arange(2))], images, "real")


def test_arrays_of_values_may_have_any_shape_and_range() -> None:
    axis = [Factor("x", np.arange(2))]
    spectra = np.array([[-3.0, 7.0, 100.0], [0.0, 1.0, 2.0]])
    grid = ArrayGrid("spectra", axis, spectra, "real", kind="values")
    assert grid.image_shape == (1, 1, 3)
    np.testing.assert_array_equal(grid.images([1, 0])[:, 0, 0], spectra[::-1])
    assert ArrayGrid("v", axis, np.zeros((2, 3, 5)), "real", kind="values").image_shape == (1, 3, 5)
    with pytest.raises(InputError, match="images: expected finite numbers"):
        ArrayGrid("v", axis, [[0.0], [np.inf]], "real", kind="values")
    with pytest.raises(InputError, match="kind: expected 'images' or 'values'"):
        ArrayGrid("v", axis, spectra, "real", kind="spectra")


def test_binary_bytes_of_an_array_are_black_and_white() -> None:
    stored = (np.arange(8).reshape(2, 1, 2, 2) % 2).astype(np.uint8)
    grid = ArrayGrid("sprites", [Factor("x", np.arange(2))], stored, "real")
    np.testing.assert_array_equal(grid.images([0, 1]), stored * 255)
    assert stored.max() == 1


def test_memory_mapped_images_are_read(tmp_path: object) -> None:
    stored = np.memmap(f"{tmp_path}/images", np.uint8, "w+", shape=(4, 1, 2, 2))
    stored[:] = np.arange(16).reshape(stored.shape)
    grid = ArrayGrid("mapped", [Factor("x", np.arange(4))], stored, "real")
    np.testing.assert_array_equal(grid.images([2])[0, 0], [[8, 9], [10, 11]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": []}, "values of 'f': expected shape"),
        ({"values": [[1, 2]]}, "values of 'f': expected shape"),
        ({"values": [1, 2, 3], "period": 2}, "period of 'f': expected an ordinal factor and 3"),
        ({"values": [1, 2, 3], "period": 4}, "period <= size 3, found period 4"),
        ({"values": [1, 2, 3], "period": 3, "ordinal": False}, "found period 3, ordinal False"),
    ],
)
def test_impossible_factor_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Factor("f", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [(), ("x", "x")])
def test_grid_without_factors_or_with_a_name_twice_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="each with its own name"):
        numbered_grid([Factor(name, np.arange(2)) for name in names])


class Drawn:
    """A renderer that counts what it is asked: an image is a + 10 b."""

    def __init__(self, **options: object) -> None:
        self.calls: list[int] = []
        axes = [Factor("a", np.linspace(0, 1, 3)), Factor("b", np.linspace(5, 6, 4))]
        self.grid = RenderedGrid("drawn", axes, self.draw, (1, 1, 2), dtype=np.float32, **options)  # type: ignore[arg-type]

    def draw(self, columns: np.ndarray) -> np.ndarray:
        self.calls.append(len(columns))
        pixels = (columns[:, 0] + 10 * columns[:, 1]).astype(np.float32)
        return np.repeat(pixels, 2).reshape(-1, 1, 1, 2)


def expected_pixels(levels: bool = False) -> np.ndarray:
    a = np.arange(3.0) if levels else np.linspace(0, 1, 3)
    b = np.arange(4.0) if levels else np.linspace(5, 6, 4)
    return (a[:, None] + 10 * b).ravel().astype(np.float32)


@pytest.mark.parametrize("cache_bytes", [0, 24, 1000])
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_rendered_images_are_those_of_their_values(cache_bytes: int, chunk: int) -> None:
    grid = Drawn(cache_bytes=cache_bytes, chunk=chunk).grid
    index = np.random.default_rng(0).integers(12, size=50)
    for _ in range(2):
        images = grid.images(index)
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images[:, 0, 0, 1], expected_pixels()[index])


def test_renderer_of_levels_gets_levels() -> None:
    grid = Drawn(takes="levels").grid
    np.testing.assert_array_equal(grid.images(range(12))[:, 0, 0, 0], expected_pixels(levels=True))


def test_no_more_than_a_chunk_is_drawn_at_once() -> None:
    drawn = Drawn(chunk=5)
    drawn.grid.images(range(12))
    assert drawn.calls == [5, 5, 2]


def test_cached_images_are_drawn_once() -> None:
    drawn = Drawn()
    for _ in range(3):
        drawn.grid.images([4, 4, 7])
    assert drawn.calls == [2]


def test_cache_stays_within_its_bound() -> None:
    drawn = Drawn(cache_bytes=3 * 8 + 7)  # room for three images of two float32
    for _ in range(2):
        drawn.grid.images(range(12))
    assert drawn.calls == [12, 9]


def test_without_a_cache_everything_is_drawn_again() -> None:
    drawn = Drawn(cache_bytes=0)
    for _ in range(2):
        drawn.grid.images([1, 2])
    assert drawn.calls == [2, 2]


def test_writing_to_images_leaves_the_cache_alone() -> None:
    grid = Drawn().grid
    for _ in range(2):  # the first are drawn, the second come from the cache
        grid.images([3])[:] = -1
    assert grid.images([3])[0, 0, 0, 0] == expected_pixels()[3]


def test_images_of_a_sub_grid_are_cached_too() -> None:
    drawn = Drawn(cache_bytes=4 * 8)
    sub = drawn.grid.restrict(a=1)
    for _ in range(2):
        np.testing.assert_array_equal(sub.images(range(4))[:, 0, 0, 0], expected_pixels()[4:8])
    assert drawn.calls == [4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 0}, "chunk: expected chunk >= 1, found 0"),
        ({"cache_bytes": -1}, "cache_bytes: expected cache_bytes >= 0, found -1"),
        ({"takes": "numbers"}, "takes: expected 'values' or 'levels'"),
    ],
)
def test_impossible_rendering_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Drawn(**options)


def test_renderer_that_returns_another_shape_or_dtype_is_named() -> None:
    axes = [Factor("a", np.arange(3))]
    wrong_shape = RenderedGrid("w", axes, lambda v: np.zeros((len(v), 2, 2), np.uint8), (1, 2, 2))
    wrong_dtype = RenderedGrid("w", axes, lambda v: np.zeros((len(v), 1, 2, 2)), (1, 2, 2))
    for grid in (wrong_shape, wrong_dtype):
        with pytest.raises(InputError, match="result of render: expected uint8"):
            grid.images([0])


def test_sampled_factors_can_be_fixed(grid: FactorGrid) -> None:
    rng = np.random.default_rng(0)
    levels = grid.factors(grid.sample(500, rng, {"angle": 4}))
    assert (levels[:, 1] == 4).all()
    assert {len(set(levels[:, a].tolist())) for a in (0, 2)} == {2, 5}
    wanted = np.arange(500) % 5
    levels = grid.factors(grid.sample(500, rng, {"x": wanted, "kind": 1}))
    np.testing.assert_array_equal(levels[:, 2], wanted)
    assert (levels[:, 0] == 1).all()


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"y": 0}, "factor: expected one of kind, angle, x, found 'y'"),
        ({"x": 5}, r"level of 'x': expected 0\.\.4, found 5"),
        ({"x": [0, 1]}, r"level of 'x': expected one, or shape \[3\]"),
        ({"x": 0.5}, "level of 'x': expected integers"),
    ],
)
def test_levels_that_cannot_be_fixed_are_refused(
    grid: FactorGrid, fixed: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        grid.sample(3, np.random.default_rng(0), fixed)  # type: ignore[arg-type]


def test_indexing_is_that_of_an_array(grid: FactorGrid) -> None:
    every = grid.images(np.arange(len(grid)))
    np.testing.assert_array_equal(grid[3], every[3])
    np.testing.assert_array_equal(grid[-1], every[-1])
    np.testing.assert_array_equal(grid[2:9:3], every[2:9:3])
    np.testing.assert_array_equal(grid[[5, 0]], every[[5, 0]])
    assert len(list(grid)) == len(grid)
    with pytest.raises(IndexError, match="index 70 is out of range for 70 images"):
        grid[70]


@pytest.mark.parametrize(
    "make",
    [
        lambda: load("blobs"),
        lambda: load("dsprites").restrict(shape=1, orientation=slice(3)),
        lambda: load("shapes3d", size=8),
        lambda: load("scream_dsprites").restrict(scale=0),
        lambda: perturb.PerturbedGrid(load("blobs"), perturb.noise(load("blobs"), 0.1)),
        lambda: perturb.PerturbedGrid(load("blobs"), perturb.pattern(load("blobs"), [("x", "y")])),
    ],
    ids=["blobs", "dsprites", "shapes3d", "derived", "noise", "pattern"],
)
def test_grids_are_pickled_without_their_caches(make: Callable[[], FactorGrid]) -> None:
    grid = make()
    index = np.array([0, 7, 11])
    expected = grid.images(index)
    content = pickle.dumps(grid)
    assert len(content) < 2**21
    np.testing.assert_array_equal(pickle.loads(content).images(index), expected)
