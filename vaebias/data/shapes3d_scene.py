"""Ray tracing of the scene of Shapes3D: what each ray hits, and how brightly it is lit.

The data set (Burgess and Kim, 3D Shapes, 2018) shows one object in a square room under an open
sky. Geometry and light were fitted to published images. Lengths are in world units; z points up,
and the object stands on the floor at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FLOOR", "OBJECT", "SKY", "WALLS", "Pass", "trace"]

Floats = npt.NDArray[np.float64]

_FOCAL = 65.02 / 64  # in widths of the image
_DISTANCE, _HEIGHT, _PITCH = 4.153, 1.322, 0.001434
_ROOM, _WALL = 5.804, 3.598  # half width, height
SKY = np.array([153, 226, 249]) / 255
_CUBE = 0.6168  # half side
_CYLINDER = (0.6487, 0.6327)  # radius, half height
_SPHERE = 0.6994
_CAPSULE = (0.5735, 0.5847)  # radius, half length of its cylinder
_LIGHT = np.array([-2.42, 0.295, 11.63])
_SPOT_AT, _SPOT_EXPONENT = np.array([-2.259, 1.416, 0.0]), 12.68
_AMBIENT, _DIFFUSE, _HEADLIGHT = 0.3686, 0.7836, 0.5921
_SPECULAR, _SHININESS = 0.2063, 6.869

FLOOR, WALLS, OBJECT = range(3)
_FAR = 1e9


@dataclass(frozen=True)
class Pass:
    """What rays hit and how it is lit: colour c of the surface appears as c * shade + gloss."""

    hit: npt.NDArray[np.int64]  # [rays, P]: FLOOR, WALLS or OBJECT; -1 the sky
    shade: Floats  # [rays, P]
    gloss: Floats  # [rays, P]


def trace(scale: float, shape: int, orientation: float, size: int, supersamples: int) -> Pass:
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
    hit = np.where(normal[..., 2] == 1, FLOOR, np.where(point[..., 2] < _WALL, WALLS, -1))
    near, object_normal = _object(camera, ray, scale, shape)
    on_object = near < distance
    distance = np.where(on_object, near, distance)
    hit = np.where(on_object, OBJECT, hit)
    normal = np.where(on_object[..., None], object_normal, normal)
    point = camera + distance[..., None] * ray

    to_light = _LIGHT - point
    to_light /= np.linalg.norm(to_light, axis=-1, keepdims=True)
    axis = (_LIGHT - _SPOT_AT) / np.linalg.norm(_LIGHT - _SPOT_AT)
    spot = np.maximum(to_light @ axis, 0) ** _SPOT_EXPONENT
    lit = spot * np.maximum((normal * to_light).sum(-1), 0)
    floor = hit == FLOOR
    shadow, _ = _object(point[floor], to_light[floor], scale, shape)
    lit[floor] *= shadow == _FAR
    facing = np.maximum(-(normal * ray).sum(-1), 0)
    shade = _AMBIENT + _HEADLIGHT * facing + _DIFFUSE * lit
    half = to_light - ray
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    gloss = _SPECULAR * np.maximum((normal * half).sum(-1), 0) ** _SHININESS
    return Pass(hit, shade, gloss * on_object)


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
