"""Encoders of other libraries, as docs/fidelity.md shows them: a few lines each. Skipped where a library is missing."""

import numpy as np
import pytest
import torch as th
from torch import nn

from bisimgym.benchmarks.measures import score_encoder
from bisimgym.benchmarks.measures.processes import fidelity_envs, fidelity_process

TASK = "nav2d-8x8"
IMAGES = fidelity_process(TASK, []).observations.copy()  # torch dislikes arrays that are read only


def same(score, embedding):
    """Whether a score is that of an embedding ``float[N, D]`` of all states."""
    known = {image.tobytes(): row for image, row in zip(IMAGES, embedding, strict=True)}
    expected = score_encoder(lambda batch: np.array([known[image.tobytes()] for image in batch]), TASK)
    return score.rows() == pytest.approx(expected.rows(), abs=1e-3)


@pytest.mark.parametrize(
    ("package", "name", "network"), [("stable_baselines3", "PPO", "policy"), ("sb3_contrib", "QRDQN", "quantile_net")]
)
def test_policies_of_stable_baselines3(package, name, network):
    model = getattr(pytest.importorskip(package), name)("MlpPolicy", fidelity_envs(TASK)[0](), seed=1, device="cpu")

    def encode(images):
        policy = getattr(model, network)
        return policy.extract_features(policy.obs_to_tensor(images)[0], policy.features_extractor)

    assert same(score_encoder(encode, TASK), IMAGES.reshape(len(IMAGES), -1) / 255)


def test_a_module_as_in_cleanrl():
    th.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 16))

    def encode(images):
        return network(th.as_tensor(images).permute(0, 3, 1, 2) / 255.0)

    with th.no_grad():
        assert same(score_encoder(encode, TASK), encode(IMAGES).numpy())


def test_a_module_of_tensordict():
    tensordict = pytest.importorskip("tensordict")
    from tensordict.nn import TensorDictModule

    module = TensorDictModule(nn.Sequential(nn.Flatten(), nn.Linear(192, 16)), ["pixels"], ["embedding"])

    def encode(images):
        pixels = th.as_tensor(images) / 255.0
        return module(tensordict.TensorDict({"pixels": pixels}, [len(images)]))["embedding"]

    with th.no_grad():
        assert same(score_encoder(encode, TASK), encode(IMAGES).numpy())


def test_a_transformer_of_scikit_learn():
    pca = pytest.importorskip("sklearn.decomposition").PCA(8).fit(IMAGES.reshape(len(IMAGES), -1))

    def encode(images):
        return pca.transform(images.reshape(len(images), -1))

    assert same(score_encoder(encode, TASK), encode(IMAGES))


def test_a_file_of_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 16))
    names = {"input_names": ["images"], "output_names": ["embedding"], "dynamic_axes": {"images": {0: "batch"}}}
    th.onnx.export(network, (th.zeros(2, 8, 8, 3),), tmp_path / "net.onnx", dynamo=False, **names)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")

    def encode(images):
        return session.run(None, {"images": images.astype(np.float32) / 255})[0]

    with th.no_grad():
        assert same(score_encoder(encode, TASK), network(th.as_tensor(IMAGES) / 255).numpy())


def test_a_function_of_jax():
    jax = pytest.importorskip("jax")
    weights = jax.random.normal(jax.random.key(1), (192, 16))

    @jax.jit
    def embed(images):
        return jax.numpy.tanh(images.reshape(len(images), -1) / 255.0 @ weights)

    assert same(score_encoder(embed, TASK), np.asarray(embed(IMAGES)))
