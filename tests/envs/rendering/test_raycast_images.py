"""Images that ray casting makes smaller, lays on the sky, or refuses."""

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")
suite = pytest.importorskip("dm_control.suite")
from bisimgym.envs.rendering.look import (  # noqa: E402
    resize_area,
    sky_faces,
    texture_pixels,
)


def compiled(text):
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


class TestImages:
    def test_shrinking_keeps_the_mean_and_squares(self):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
        small = resize_area(images, 4)
        blocks = images.reshape(2, 4, 3, 4, 3, 3).mean(axis=(2, 4))
        np.testing.assert_array_equal(small, np.rint(blocks).astype(np.uint8))
        np.testing.assert_array_equal(resize_area(images, 12), images)

    def test_a_sky_of_one_face_is_on_all_sides(self):
        model, _ = compiled(
            """<mujoco><asset><texture type="skybox" builtin="flat" rgb1="1 0 0" width="8" height="8"/></asset>
            </mujoco>"""
        )
        assert sky_faces(model).shape == (6, 8, 8, 3)
        assert sky_faces(compiled("<mujoco/>")[0]) is None

    def test_other_channels_are_refused(self):
        model, _ = compiled(
            """<mujoco><asset><texture name="four" type="2d" builtin="flat" width="8" height="8"/></asset></mujoco>"""
        )
        model.tex_nchannel[0] = 4
        with pytest.raises(ValueError, match="'four' has 4 channels; only RGB"):
            texture_pixels(model, 0)
