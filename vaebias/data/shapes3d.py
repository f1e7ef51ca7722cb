"""A ray-traced replica of Shapes3D.

The data set (Burgess and Kim, 3D Shapes, 2018) shows one object in a square room under an open
sky. Geometry and light were fitted to published images; the replica is close, but not exact to
the pixel. Lengths are in world units; z points up, and the object stands on the floor at the
origin.

Scale, shape and orientation (a "pass") determine what each ray hits and how brightly it is lit;
the hues only tint. With the published hues a colour channel has six values. A pass tabulated
for these six yields all its 1,000 images as sums of three planes, for any number of rays per
pixel and with exact clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vaebias.data.catalogue import DATASETS
from vaebias.data.grid import FactorGrid
from vaebias.data.layouts import shapes3d_axes
from vaebias.data.published import real_or_none
from vaebias.data.rendered_grid import DEFAULT_CACHE_BYTES, RenderedGrid, check_size
from vaebias.errors import InputError
from vaebias.interfaces import Progress

__all__ = ["render", "shapes3d"]

Floats = npt.NDArray[np.float64]

_NATIVE = 64
_FOCAL = 65.02 / _NATIVE  # in widths of the image
_DISTANCE, _HEIGHT, _PITCH = 4.153, 1.322, 0.001434
_ROOM, _WALL = 5.804, 3.598  # half width, height
_SKY = np.array([153, 226, 249]) / 255
_CUBE = 0.6168  # half side
_CYLINDER = (0.6487, 0.6327)  # radius, half height
_SPHERE = 0.6994
_CAPSULE = (0.5735, 0.5847)  # radius, half length of its cylinder
_LIGHT = np.array([-2.42, 0.295, 11.63])
_SPOT_AT, _SPOT_EXPONENT = np.array([-2.259, 1.416, 0.0]), 12.68
_AMBIENT, _DIFFUSE, _HEADLIGHT = 0.3686, 0.7836, 0.5921
_SPECULAR, _SHININESS = 0.2063, 6.869

_FLOOR, _WALLS, _OBJECT = range(3)
_FAR = 1e9


@dataclass(frozen=True)
class _Pass:
    """What rays hit and how it is lit: colour c of the surface appears as c * shade + gloss."""

    hit: npt.NDArray[np.int64]  # [rays, P]: _FLOOR, _WALLS or _OBJECT; -1 the sky
    shade: Floats  # [rays, P]
    gloss: Floats  # [rays, P]


def _trace(scale: float, shape: int, orientation: float, size: int, supersamples: int) -> _Pass:
    """Trace ``supersamples**2`` rays per pixel; orientation in degrees."""
    angle = np.deg2rad(orientation)
    camera = np.array([_DISTANCE * np.sin(angle), -_DISTANCE * np.cos(angle), _HEIGHT])
    right = np.array([np.cos(angle), np.sin(angle), 0.0])
    ahead = np.array([-np.sin(angle), np.cos(angle), 0.0])
    forward = np.cos(_PITCH) * ahead - np.sin(_PITCH) * np.array([0.0, 0.0, 1.0])
    up = np.cross(right, forward)
    fine = size * supersamples
    offset = ((np.arange(fine) + 0.5) / fine - 0.5) / _FOCAL
    ray = forward + offset[None, :, None] * right - offset[:, None, None] * up
    # group the rays of a pixel: [supersamples, supersamples, size, size]
    ray = ray.reshape(size, supersamples, size, supersamples, 3).transpose(1, 3, 0, 2, 4)
    ray = ray.reshape(supersamples**2, size * size, 3)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)

    distance, normal = _room(camera, ray)
    point = camera + distance[..., None] * ray
    hit = np.where(normal[..., 2] == 1, _FLOOR, np.where(point[..., 2] < _WALL, _WALLS, -1))
    near, object_normal = _object(camera, ray, scale, shape)
    on_object = near < distance
    distance = np.where(on_object, near, distance)
    hit = np.where(on_object, _OBJECT, hit)
    normal = np.where(on_object[..., None], object_normal, normal)
    point = camera + distance[..., None] * ray

    to_light = _LIGHT - point
    to_light /= np.linalg.norm(to_light, axis=-1, keepdims=True)
    axis = (_LIGHT - _SPOT_AT) / np.linalg.norm(_LIGHT - _SPOT_AT)
    spot = np.maximum(to_light @ axis, 0) ** _SPOT_EXPONENT
    lit = spot * np.maximum((normal * to_light).sum(-1), 0)
    floor = hit == _FLOOR
    shadow, _ = _object(point[floor], to_light[floor], scale, shape)
    lit[floor] *= shadow == _FAR
    facing = np.maximum(-(normal * ray).sum(-1), 0)
    shade = _AMBIENT + _HEADLIGHT * facing + _DIFFUSE * lit
    half = to_light - ray
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    gloss = _SPECULAR * np.maximum((normal * half).sum(-1), 0) ** _SHININESS
    return _Pass(hit, shade, gloss * on_object)


def _room(
    origin: Floats,  # [3]
    ray: Floats,  # [..., 3]
) -> tuple[Floats, Floats]:  # distance [...], normal [..., 3]
    """Intersect rays from inside with the floor and the four infinitely high walls."""
    normals = np.array([[0, 0, 1], [-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0]], dtype=float)
    offsets = np.array([0, _ROOM, _ROOM, _ROOM, _ROOM])  # planes n.x + offset = 0
    speed = ray @ normals.T
    with np.errstate(divide="ignore"):
        far = np.where(speed < 0, -(normals @ origin + offsets) / speed, _FAR)
    nearest = far.argmin(-1)
    return np.take_along_axis(far, nearest[..., None], -1)[..., 0], normals[nearest]


def _object(
    origin: Floats,  # [3] or [..., 3]
    ray: Floats,  # [..., 3]
    scale: float,
    shape: int,
) -> tuple[Floats, Floats]:  # distance [...], normal [..., 3]
    """Intersect rays from outside with the object; _FAR where they miss it."""
    if shape == 0:
        return _slabs(origin, ray, scale * _CUBE)
    if shape == 1:
        radius, half = scale * _CYLINDER[0], scale * _CYLINDER[1]
        side = _tube(origin, ray, radius, 0, 2 * half)
        return _nearer(side, _disc(origin, ray, radius, 2 * half))
    if shape == 2:
        return _ball(origin, ray, scale * _SPHERE, scale * _SPHERE)
    radius, half = scale * _CAPSULE[0], scale * _CAPSULE[1]
    ends = _nearer(
        _ball(origin, ray, radius, radius), _ball(origin, ray, radius, radius + 2 * half)
    )
    return _nearer(_tube(origin, ray, radius, radius, radius + 2 * half), ends)


def _nearer(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    first = a[0] <= b[0]
    return np.where(first, a[0], b[0]), np.where(first[..., None], a[1], b[1])


def _slabs(origin: Floats, ray: Floats, half: float) -> tuple[Floats, Floats]:
    """Intersect rays with a cube of half side ``half`` on the floor."""
    local = origin - np.array([0, 0, half])
    safe = np.where(np.abs(ray) < 1e-12, 1e-12, ray)
    enter = (-np.sign(safe) * half - local) / safe  # [..., 3]
    leave = (np.sign(safe) * half - local) / safe
    near, far = enter.max(-1), leave.min(-1)
    normal = np.zeros_like(ray)
    face = enter.argmax(-1)[..., None]
    np.put_along_axis(normal, face, -np.sign(np.take_along_axis(safe, face, -1)), -1)
    return np.where((near < far) & (near > 1e-6), near, _FAR), normal


def _ball(origin: Floats, ray: Floats, radius: float, z: float) -> tuple[Floats, Floats]:
    """Intersect rays with a sphere around (0, 0, z)."""
    local = origin - np.array([0, 0, z])
    b = (local * ray).sum(-1)
    inside = b * b - (local * local).sum(-1) + radius**2
    t = -b - np.sqrt(np.maximum(inside, 0))
    hit = (inside > 0) & (t > 1e-6)
    normal = (local + t[..., None] * ray) / radius
    return np.where(hit, t, _FAR), normal


def _tube(
    origin: Floats, ray: Floats, radius: float, bottom: float, top: float
) -> tuple[Floats, Floats]:
    """Intersect rays with the side of an upright cylinder around the z axis."""
    a = np.maximum((ray[..., :2] ** 2).sum(-1), 1e-12)
    b = (origin[..., :2] * ray[..., :2]).sum(-1)
    inside = b * b - a * ((origin[..., :2] ** 2).sum(-1) - radius**2)
    t = (-b - np.sqrt(np.maximum(inside, 0))) / a
    z = origin[..., 2] + t * ray[..., 2]
    hit = (inside > 0) & (t > 1e-6) & (z >= bottom) & (z <= top)
    normal = (origin + t[..., None] * ray) / radius
    normal[..., 2] = 0
    return np.where(hit, t, _FAR), normal


def _disc(origin: Floats, ray: Floats, radius: float, z: float) -> tuple[Floats, Floats]:
    """Upper end of an upright cylinder."""
    down = np.minimum(ray[..., 2], -1e-12)
    t = (z - origin[..., 2]) / down
    across = origin[..., :2] + t[..., None] * ray[..., :2]
    hit = (ray[..., 2] < 0) & (t > 1e-6) & ((across**2).sum(-1) <= radius**2)
    return np.where(hit, t, _FAR), np.broadcast_to(np.array([0.0, 0.0, 1.0]), ray.shape)


def _tint(
    hue: npt.ArrayLike,  # [...]
) -> Floats:  # [..., 3]
    """RGB of HSV (hue, 1, 1)."""
    turn = 6 * np.asarray(hue, float)[..., None] + np.array([0.0, 4.0, 2.0])
    return np.asarray(np.clip(np.abs(turn % 6 - 3) - 1, 0, 1))


def _render_pass(
    planes: _Pass,
    colours: Floats,  # [3 things, 3]
    size: int,
) -> npt.NDArray[np.uint8]:  # [3, size, size]
    sky = planes.hit < 0
    colour = np.where(sky[..., None], _SKY, colours[planes.hit])
    shade = np.where(sky, 1.0, planes.shade)[..., None]
    lit = np.minimum(colour * shade + planes.gloss[..., None], 1)
    pixels: npt.NDArray[np.uint8] = np.rint(255 * lit.mean(axis=0)).astype(np.uint8)
    return pixels.T.reshape(3, size, size)


def render(
    floor_hue: npt.ArrayLike,  # [n]
    wall_hue: npt.ArrayLike,  # [n]
    object_hue: npt.ArrayLike,  # [n]
    scale: npt.ArrayLike,  # [n]
    shape: npt.ArrayLike,  # [n]
    orientation: npt.ArrayLike,  # [n]
    size: int = _NATIVE,
    supersamples: int = 2,
) -> npt.NDArray[np.uint8]:  # [n, 3, size, size]
    """Trace scenes one by one, for any factor values.

    Parameters
    ----------
    floor_hue, wall_hue, object_hue
        Hues as fractions of the colour circle; 0 to 0.9 in the data set.
    scale
        Positive; 0.75 to 1.25 in the data set.
    shape
        0 cube, 1 cylinder, 2 sphere, 3 capsule.
    orientation
        Degrees; -30 to 30 in the data set. The camera is inside the room up to +-90.
    size
        Width and height of the image in pixels.
    supersamples
        Each pixel is the mean of ``supersamples**2`` rays.

    Scalars broadcast against arrays.

    Raises
    ------
    InputError
        A shape is not 0, 1, 2 or 3, a scale is not positive, a value is not finite, or arrays
        have different lengths.
    """
    given = (floor_hue, wall_hue, object_hue, scale, shape, orientation)
    try:
        table = np.stack(np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in given)))
    except ValueError:
        lengths = [np.shape(v) for v in given]
        raise InputError("factor values", "scalars and arrays of one length", lengths) from None
    if table.ndim != 2 or not np.isfinite(table).all():
        raise InputError("factor values", "finite, shape [n]", f"shape {table.shape[1:]}")
    if not np.isin(table[4], range(4)).all():
        expected = "0 (cube), 1 (cylinder), 2 (sphere) or 3 (capsule)"
        raise InputError("shape", expected, np.unique(table[4]))
    if (table[3] <= 0).any():
        raise InputError("scale", "positive", table[3].min())
    check_size(size, supersamples)
    out = np.empty((table.shape[1], 3, size, size), dtype=np.uint8)
    for image, (*hues, zoom, kind, angle) in zip(out, table.T, strict=True):
        planes = _trace(zoom, int(kind), angle, size, supersamples)
        image[:] = _render_pass(planes, _tint(hues), size)
    return out


class _Table:
    """Passes of the published grid, each tabulated when first needed.

    A pass holds, for each surface and each value 0, .2, ..., 1 of a colour channel, its
    contribution to each pixel; and the three channels of the sky. Entries are 16-bit fixed
    point numbers in 1/64 of a level.
    """

    def __init__(self, size: int, supersamples: int) -> None:
        self._size, self._supersamples = size, supersamples
        *_, self._scale, self._shape, self._orientation = shapes3d_axes()
        self._sizes = (self._scale.size, self._shape.size, self._orientation.size)
        passes = int(np.prod(self._sizes))
        self._planes = np.empty((passes, 21, size * size), dtype=np.uint16)
        self._known = np.zeros(passes, dtype=bool)
        # the channels of every hue of the grid are multiples of 1/5
        self._channel = np.rint(5 * _tint(shapes3d_axes()[0].values)).astype(np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        # other processes tabulate for themselves
        return _Table, (self._size, self._supersamples)

    def render(
        self,
        levels: npt.NDArray[np.int64],  # [n, 6]
    ) -> npt.NDArray[np.uint8]:  # [n, 3, size, size]
        """Return the images with these levels."""
        row = np.ravel_multi_index(tuple(levels[:, 3:].T), self._sizes)
        for wanted in np.unique(row[~self._known[row]]):
            self._planes[wanted] = self._tabulate(int(wanted))
            self._known[wanted] = True
        out = np.empty((len(levels), 3, self._size**2), dtype=np.uint8)
        for i, (planes, hues) in enumerate(zip(row, levels[:, :3], strict=True)):
            channel = self._channel[hues]  # [3 things, 3]
            here = self._planes[planes]
            for c in range(3):
                total = here[18 + c] + 32
                for thing in (_FLOOR, _WALLS, _OBJECT):
                    total += here[6 * thing + channel[thing, c]]
                out[i, c] = total >> 6
        return out.reshape(-1, 3, self._size, self._size)

    def _tabulate(self, row: int) -> npt.NDArray[np.uint16]:  # [21, P]
        scale, shape, orientation = np.unravel_index(row, self._sizes)
        traced = _trace(
            float(self._scale.values[scale]),
            int(shape),
            float(self._orientation.values[orientation]),
            self._size,
            self._supersamples,
        )
        planes = [
            np.where(
                traced.hit == thing, np.minimum(value * traced.shade + traced.gloss, 1), 0.0
            ).mean(axis=0)
            for thing in (_FLOOR, _WALLS, _OBJECT)
            for value in np.linspace(0, 1, 6)
        ]
        sky = (traced.hit < 0).mean(axis=0)
        planes += [sky * channel for channel in _SKY]
        return np.asarray(np.rint(64 * 255 * np.stack(planes)), dtype=np.uint16)


@DATASETS.register("shapes3d")
def shapes3d(
    *,
    size: int = _NATIVE,
    supersamples: int = 2,
    source: str | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    progress: Progress | None = None,
) -> FactorGrid:
    """Return the grid of all 480,000 Shapes3D images: uint8, (3, size, size).

    Parameters
    ----------
    size
        Width and height of the images in pixels; 64 in the published file.
    supersamples
        Each pixel of a rendered image is the mean of ``supersamples**2`` rays.
    source
        "real" reads the published 3dshapes.h5, "rendered" draws the replica. By default the
        file is read if it is on this machine and ``size`` is 64.
    cache_bytes
        See `RenderedGrid`; with 0, only the table of passes is kept (82 MB at size 64).
    progress
        Called as ``progress(done, total)`` while the file is unpacked, once.
    """
    check_size(size, supersamples)
    real = real_or_none("shapes3d", source, native=size == _NATIVE, progress=progress)
    if real is not None:
        return real
    return RenderedGrid(
        "shapes3d",
        shapes3d_axes(),
        _Table(size, supersamples).render,
        (3, size, size),
        takes="levels",
        provenance={
            "renderer": "vaebias.data.shapes3d",
            "size": size,
            "supersamples": supersamples,
        },
        cache_bytes=cache_bytes,
    )
