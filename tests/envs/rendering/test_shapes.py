import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from bisimgym.envs.rendering import shapes  # noqa: E402

ROUND = (shapes.CAPSULE, shapes.CYLINDER)
every_shape = pytest.mark.parametrize("shape", sorted(shapes.SHAPES))


def random_rotation(rng):
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return rotation * np.linalg.det(rotation)


def random_place(shape, rng, turned):
    """Return size, position and rotation; the size as scenes give it, half extents along x, y and z."""
    size = rng.uniform(0.05, 1.0, 3)
    if shape == shapes.SPHERE:
        size[:] = size[0]
    elif shape in ROUND:
        size[1] = size[0]
    return size, rng.standard_normal(3), random_rotation(rng) if turned else np.eye(3)


def random_rays(position, rotation, size, distance, rng):
    """Return an origin outside the shape and directions: towards it, past it, and parallel to its axes."""
    origin = position + distance * random_rotation(rng)[0]
    targets = position + rng.standard_normal((40, 3)) * size.max()
    axes = np.concatenate([rotation.T, -rotation.T])
    directions = np.concatenate([targets - origin, axes, [origin - position]])
    return origin, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def reference(shape, size, position, rotation, origin, directions):
    model_size = size[[0, 2, 2]] if shape in ROUND else size  # models give radius and half length
    normals = np.zeros_like(directions)
    distance = np.array(
        [
            mujoco.mju_rayGeom(position, rotation.ravel(), model_size, origin, direction, shape, normal)
            for direction, normal in zip(directions, normals, strict=True)
        ]
    )
    return np.where(distance < 0, np.inf, distance), normals


def assert_agrees(shape, place, origin, directions):
    size, position, rotation = place
    distance = shapes.entry_distance(shape, size, position, rotation, origin, directions)
    expected, normals = reference(shape, size, position, rotation, origin, directions)
    np.testing.assert_allclose(distance, expected, rtol=1e-9, atol=1e-9)
    hit = np.isfinite(distance)
    points = origin + distance[hit, None] * directions[hit]
    np.testing.assert_allclose(shapes.surface_normal(shape, size, position, rotation, points), normals[hit], atol=1e-6)
    return hit


@every_shape
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("distance", [2.5, 6.0, 100.0])
def test_rays_meet_shapes_where_mujoco_says(shape, turned, distance):
    rng = np.random.default_rng(int(distance))
    hits = []
    for _ in range(40):
        place = random_place(shape, rng, turned)
        size, position, rotation = place
        origin, directions = random_rays(position, rotation, size, distance, rng)
        hits.append(assert_agrees(shape, place, origin, directions))
    hits = np.concatenate(hits)
    assert 100 < hits.sum() < len(hits) - 100


@every_shape
@pytest.mark.parametrize("turned", [False, True])
def test_rays_parallel_to_an_axis(shape, turned):
    rng = np.random.default_rng(1)
    hits = []
    for axis in (0, 1, 2) * 20:
        place = random_place(shape, rng, turned)
        size, position, rotation = place
        side = rng.choice([-1.0, 1.0])
        shift = rng.uniform(-1.3, 1.3, 3) * size
        shift[axis] = 5.0 * side
        for offset in (shift, np.eye(3)[axis] * 5.0 * side):
            direction = -side * rotation[:, axis]
            hits.append(assert_agrees(shape, place, position + rotation @ offset, direction[None]))
    assert 0.5 < np.mean(hits) < 1.0


@every_shape
def test_what_is_behind_is_not_met(shape):
    rng = np.random.default_rng(2)
    size, position, rotation = random_place(shape, rng, True)
    origin = position + 5.0 * rotation[:, 0]
    ahead = -rotation[:, 0]
    distances = shapes.entry_distance(shape, size, position, rotation, origin, np.array([ahead, -ahead]))
    assert np.isfinite(distances).tolist() == [True, False]


def test_many_capsules_equal_single_ones():
    rng = np.random.default_rng(3)
    places = [random_place(shapes.CAPSULE, rng, True) for _ in range(7)]
    origin, directions = random_rays(np.zeros(3), np.eye(3), np.ones(3), 8.0, rng)
    halves = np.array([rotation[:, 2] * size[2] for size, _, rotation in places])
    centers = np.array([position for _, position, _ in places])
    radii = np.array([size[0] for size, _, _ in places])
    together = shapes.capsules_distance(radii, centers - halves, centers + halves, origin, directions)
    single = [shapes.entry_distance(shapes.CAPSULE, *place, origin, directions) for place in places]
    assert np.isfinite(single).any(axis=1).sum() >= 5
    np.testing.assert_allclose(together, single, rtol=1e-12)


def test_a_capsule_without_length_is_a_sphere():
    rng = np.random.default_rng(4)
    origin, directions = random_rays(np.zeros(3), np.eye(3), np.ones(3), 4.0, rng)
    point = np.zeros((1, 3))
    capsule = shapes.capsules_distance(np.array([0.7]), point, point, origin, directions)[0]
    sphere = shapes.entry_distance(shapes.SPHERE, np.full(3, 0.7), np.zeros(3), np.eye(3), origin, directions)
    assert np.isfinite(sphere).any()
    np.testing.assert_allclose(capsule, sphere, rtol=1e-12)
