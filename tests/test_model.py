"""Tests of model.network: the angle between two faces, the Siamese pair, brain and tower."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import view_corner
from faceverify.model import network, weight_files
from faceverify.model.losses import ContrastiveLoss

SOURCE = Path(__file__).resolve().parents[1] / "src"
NUMBERS = 32  # of a vector whose angle to another one is measured
DEFAULTS = network.Tower(16, [150, 100], [100, 128], dropout=0.0, l2=0.0)
SMALL = network.Tower(4, [8, 6], [7, 5], dropout=0.0, l2=0.0)
SMALL_FEATURES = (6, 6, 8)
CUT = "block_1_expand_relu"  # of MobileNetV2: 3,904 parameters


def drawn(*shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def reference_theta(first, second):
    """In float64, by the parts of one vector along and across the other; pi / 2 for no vector."""
    u, v = (np.asarray(x, np.float64) for x in (first, second))
    lengths = [np.linalg.norm(x / max(np.abs(x).max(), 1e-300)) for x in (u, v)]
    if 0 in lengths:
        return np.pi / 2
    u, v = (x / np.abs(x).max() / n for x, n in zip((u, v), lengths, strict=True))
    along = u @ v
    return np.arctan2(np.linalg.norm(v - along * u), along)


def reference_gradient(first, second, step):
    """Of theta with respect to both vectors, by central differences in float64."""
    both = np.array([first, second], np.float64)
    gradient = np.empty_like(both)
    for place in np.ndindex(both.shape):
        ends = []
        for side in (step, -step):
            moved = both.copy()
            moved[place] += side
            ends.append(reference_theta(*moved))
        gradient[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def theta_and_gradient(first, second, dtype="float32"):
    """theta (B,) of two batches in `dtype`, and the gradients of its sum."""
    batches = [tf.Variable(tf.cast(x, dtype)) for x in (first, second)]
    with tf.GradientTape() as tape:
        theta = network.angle(*batches)
        total = tf.reduce_sum(theta)
    return theta, [g.numpy().astype(np.float64) for g in tape.gradient(total, batches)]


def nearby(vector, difference):
    return vector + difference * drawn(*vector.shape, seed=4) / np.sqrt(vector.size)


SOME, OTHER, NONE = drawn(NUMBERS), drawn(NUMBERS, seed=5), np.zeros(NUMBERS, np.float32)
VECTORS = {
    "equal": (SOME, SOME),
    "parallel": (SOME, 3 * SOME),
    "opposite": (SOME, -SOME),
    "first zero": (NONE, SOME),
    "second zero": (SOME, NONE),
    "both zero": (NONE, NONE),
    "nearly equal": (SOME, nearby(SOME, 1e-4)),
    "nearly opposite": (SOME, -nearby(SOME, 1e-4)),
    "tiny": (1e-20 * SOME, 1e-20 * OTHER),
    "tiny and huge": (1e-20 * SOME, 1e30 * OTHER),
    "huge": (1e30 * SOME, 1e30 * OTHER),
    "huge and equal": (1e30 * SOME, 1e30 * SOME),
    "orthogonal": (np.eye(NUMBERS, dtype=np.float32)[0], np.eye(NUMBERS, dtype=np.float32)[1]),
    "some": (SOME, OTHER),
}


# theta


@pytest.mark.parametrize("case", VECTORS)
def test_theta_is_the_angle_and_its_gradient_is_finite(case):
    first, second = VECTORS[case]
    theta, gradients = theta_and_gradient(first[None], second[None])
    assert theta.dtype == tf.float32
    assert theta.shape == (1,)
    assert theta.numpy()[0] == pytest.approx(reference_theta(first, second), abs=5e-7)
    assert 0 <= theta.numpy()[0] <= np.float32(np.pi)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "case", [name for name in VECTORS if "tiny" not in name and "huge" not in name]
)
def test_theta_of_half_precision_vectors_is_as_exact_as_of_others(case, dtype):
    halves = [tf.cast(x[None], dtype) for x in VECTORS[case]]
    theta, gradients = theta_and_gradient(*halves, dtype=dtype)
    assert theta.dtype == tf.float32
    expected = reference_theta(*(tf.cast(x[0], "float64").numpy() for x in halves))
    assert theta.numpy()[0] == pytest.approx(expected, abs=5e-7)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_vector_that_is_no_number_has_no_angle(number):
    # A wrong 90 degrees would hide that the weights are spoiled.
    spoiled = SOME.copy()
    spoiled[3] = number
    vectors = np.stack([spoiled, SOME, np.full_like(SOME, number), SOME])
    theta, _ = theta_and_gradient(vectors, np.stack([OTHER, spoiled, OTHER, OTHER]))
    assert np.isnan(theta.numpy()).tolist() == [True, True, True, False]


def test_theta_of_random_vectors_is_arccos_of_their_cosine():
    first, second = drawn(200, NUMBERS), drawn(200, NUMBERS, seed=6)
    theta, _ = theta_and_gradient(first, second)
    u, v = (x.astype(np.float64) for x in (first, second))
    cosines = (u * v).sum(axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(theta, np.arccos(cosines), atol=1e-6)


@pytest.mark.parametrize(
    ("case", "step", "tolerance"),
    [("some", 1e-6, 1e-5), ("nearly equal", 1e-9, 1e-2), ("nearly opposite", 1e-9, 1e-2)],
)
def test_gradient_of_theta_matches_numeric_differences(case, step, tolerance):
    first, second = VECTORS[case]
    _, gradients = theta_and_gradient(first[None], second[None])
    expected = reference_gradient(first, second, step)
    found = np.concatenate(gradients)
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_one_degenerate_pair_leaves_the_gradients_of_the_others_alone():
    first, second = (np.stack(vectors) for vectors in zip(*VECTORS.values(), strict=True))
    _, together = theta_and_gradient(first, second)
    row = list(VECTORS).index("some")
    _, alone = theta_and_gradient(SOME[None], OTHER[None])
    np.testing.assert_allclose([g[row] for g in together], [g[0] for g in alone], rtol=1e-5)
    assert np.isfinite(together).all()


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("case", ["different", "equal", "nearly equal", "no direction"])
def test_theta_keeps_float32_in_a_model_of_mixed_precision(policy, case):
    tower = network.build_tower(SMALL_FEATURES, SMALL, seed=1)
    assert tower.compute_dtype == policy.removeprefix("mixed_")
    siamese = network.build_siamese(tower)
    if case == "no direction":
        tower.set_weights([np.zeros_like(w) for w in tower.get_weights()])
    first = drawn(4, *SMALL_FEATURES)
    second = {"equal": first, "nearly equal": first + np.float32(1e-2)}.get(case, first[::-1])
    with tf.GradientTape() as tape:
        outputs = siamese({"feature0": first, "feature1": second}, training=True)
        total = tf.reduce_sum(outputs["targetD"])
    theta = outputs["targetD"]
    assert theta.dtype == tf.float32
    tails = [tf.cast(tower(x)["tail"], "float64").numpy() for x in (first, second)]
    expected = [reference_theta(*pair) for pair in zip(*tails, strict=True)]
    np.testing.assert_allclose(theta, expected, atol=5e-7)
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(total, tower.trainable_variables)]
    assert all(np.isfinite(g).all() for g in gradients)
    if case == "different":
        assert any(np.any(g) for g in gradients)


# The pair


@pytest.mark.parametrize("pairs", [1, 3, 8, 33])
def test_swapping_the_photos_swaps_the_landmarks_and_changes_nothing_else(pairs):
    siamese = network.build_siamese(network.build_tower((11, 11, 768), DEFAULTS, seed=1))
    first, second = drawn(pairs, 11, 11, 768), drawn(pairs, 11, 11, 768, seed=7)
    one = siamese.predict_on_batch({"feature0": first, "feature1": second})
    other = siamese.predict_on_batch({"feature0": second, "feature1": first})
    np.testing.assert_array_equal(one["targetD"], other["targetD"])
    np.testing.assert_array_equal(one["target0"], other["target1"])
    np.testing.assert_array_equal(one["target1"], other["target0"])
    assert not np.array_equal(one["target0"], one["target1"])
    assert one["targetD"].shape == (pairs,)
    assert one["target0"].shape == (pairs, 136)


def test_each_face_gets_what_the_tower_says_and_theta_is_between_the_tails():
    tower = network.build_tower(SMALL_FEATURES, SMALL, seed=1)
    faces = [drawn(5, *SMALL_FEATURES), drawn(5, *SMALL_FEATURES, seed=7)]
    outputs = network.build_siamese(tower).predict_on_batch(
        {"feature0": faces[0], "feature1": faces[1]}
    )
    alone = [tower.predict_on_batch(face) for face in faces]
    for slot in (0, 1):
        np.testing.assert_allclose(outputs[f"target{slot}"], alone[slot]["landmarks"], atol=1e-6)
    tails = zip(alone[0]["tail"], alone[1]["tail"], strict=True)
    np.testing.assert_allclose(outputs["targetD"], [reference_theta(*t) for t in tails], atol=1e-5)


def test_both_faces_share_one_set_of_weights():
    brain = network.build_brain("MobileNetV2", CUT, 218, None, seed=1)
    tower = network.build_tower(brain.output_shape[1:], SMALL, seed=1)
    siamese = network.build_siamese(network.join(brain, tower))
    assert siamese.count_params() == brain.count_params() + tower.count_params()
    own = {id(weight) for weight in brain.weights + tower.weights}
    assert {id(weight) for weight in siamese.weights} == own


# Brain and tower


def test_the_defaults_have_the_sizes_of_the_original():
    brain = network.build_brain("InceptionV3", "mixed5", 218, None, seed=1)
    assert brain.input_shape == (None, 218, 218, 3)
    assert brain.output_shape == (None, 11, 11, 768)
    assert brain.count_params() == 5_138_656
    tower = network.build_tower(brain.output_shape[1:], DEFAULTS, seed=1)
    shapes = [layer.output.shape for layer in tower.layers]
    assert shapes.index((None, 4, 4, 16)) + 1 == shapes.index((None, 256))
    assert tower.count_params() == 204_622
    shapes = {name: output.shape for name, output in tower.output.items()}
    assert shapes == {"landmarks": (None, 136), "tail": (None, 128)}


def test_a_smaller_view_gives_fewer_features_of_the_same_canvas():
    brain = network.build_brain("InceptionV3", "mixed5", 128, None, seed=1)
    assert brain.input_shape == (None, 218, 218, 3)
    assert brain.output_shape == (None, 6, 6, 768)
    assert brain.count_params() == 5_138_656


@pytest.mark.parametrize("view", [64, 128])
def test_the_brain_looks_at_its_view_and_at_nothing_else(view):
    brain = network.build_brain("MobileNetV2", CUT, view, None, seed=1)
    top, left = view_corner(view)
    inside = slice(top, top + view), slice(left, left + view)
    rng = np.random.default_rng(1)
    photo, other = rng.integers(256, size=(2, 218, 218, 3)).astype(np.float32)
    other[inside] = photo[inside]
    # One at a time: places in a batch may be summed in other orders.
    plain, elsewhere = (brain.predict_on_batch(one[None])[0] for one in (photo, other))
    np.testing.assert_array_equal(plain, elsewhere)
    for row in (top, top + view - 3):
        for column in (left, left + view - 3):
            changed = photo.copy()
            changed[row : row + 3, column : column + 3] = 255 - changed[row, column]
            assert not np.array_equal(brain.predict_on_batch(changed[None])[0], plain)


def test_a_view_too_small_for_the_network_is_refused():
    with pytest.raises(InputError, match="model.brain_view: 40 is too small for InceptionV3"):
        network.build_brain("InceptionV3", "mixed5", 40, None, seed=1)


@pytest.mark.parametrize(
    ("application", "module", "layer"),
    [
        ("MobileNetV2", "mobilenet_v2", CUT),  # to [-1, 1]
        ("VGG16", "vgg16", "block1_pool"),  # BGR, less a mean
        ("DenseNet121", "densenet", "conv1_relu"),  # less a mean, over a deviation
    ],
)
def test_brain_scales_photos_as_its_network_expects(application, module, layer):
    brain = network.build_brain(application, layer, 218, None, seed=1)
    whole = getattr(keras.applications, application)(
        weights=None, include_top=False, input_shape=(218, 218, 3)
    )
    cut = keras.Model(whole.input, whole.get_layer(layer).output)
    cut.set_weights(brain.get_weights())
    photos = np.random.default_rng(1).integers(256, size=(2, 218, 218, 3)).astype(np.uint8)
    scaling = importlib.import_module(f"keras.applications.{module}").preprocess_input
    expected = cut.predict_on_batch(scaling(photos.astype(np.float32)))
    assert np.ptp(expected) > 0
    # Order of sums apart, the two are one network.
    np.testing.assert_allclose(
        brain.predict_on_batch(photos), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )


def test_brain_and_tower_are_drawn_from_their_seeds():
    builders = [
        lambda seed: network.build_brain("MobileNetV2", CUT, 218, None, seed),
        lambda seed: network.build_tower(SMALL_FEATURES, SMALL, seed),
    ]
    for build in builders:
        one, again, other = (build(seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_layer_without_a_name_of_its_own_is_found_each_time():
    # InceptionV3 leaves most names to Keras, which counts on from network to network.
    shapes = [
        network.build_brain("InceptionV3", "activation_2", 218, None, seed=1).output_shape
        for _ in range(2)
    ]
    assert shapes == [(None, 106, 106, 64)] * 2


@pytest.mark.parametrize("name", ["Inception4", "inception_v3", "", "__doc__", "__class__"])
def test_an_unknown_network_is_refused(name):
    with pytest.raises(InputError, match="model.brain: "):
        network.build_brain(name, "mixed5", 218, None, seed=1)


def test_an_unknown_layer_is_refused():
    with pytest.raises(InputError, match="model.brain_layer: MobileNetV2 has no layer 'mixed5'"):
        network.build_brain("MobileNetV2", "mixed5", 218, None, seed=1)


@pytest.fixture(scope="module")
def brain():
    return network.build_brain("MobileNetV2", CUT, 218, None, seed=1)


@pytest.fixture(scope="module")
def weight_file(brain, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "brain.weights.h5"
    brain.save_weights(path)
    weight_files.write_checksum(path)
    return path


def test_brain_takes_the_weights_of_a_file(brain, weight_file):
    found = network.build_brain("MobileNetV2", CUT, 218, str(weight_file), seed=2).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(found, brain.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("application", "layer"),
    [
        ("MobileNetV2", "Conv1_relu"),
        ("MobileNetV2", "block_3_expand_relu"),
        ("VGG16", "block1_conv1"),
    ],
)
def test_weights_of_another_brain_are_refused(weight_file, application, layer):
    with pytest.raises(InputError, match="brain.weights.h5 does not fit the brain"):
        network.build_brain(application, layer, 218, str(weight_file), seed=2)


def test_float16_weights_become_the_float32_weights_of_the_brain(brain, tmp_path):
    path = tmp_path / "half.weights.h5"
    keras.config.set_dtype_policy("float16")
    try:
        half = network.build_brain("MobileNetV2", CUT, 218, None, seed=1)
    finally:
        keras.config.set_dtype_policy("float32")
    rounded = [weight.astype(np.float16) for weight in brain.get_weights()]
    half.set_weights(rounded)
    half.save_weights(path)
    weight_files.write_checksum(path)
    with h5py.File(path) as file:
        assert stored_types(file) == {np.dtype(np.float16)}
    found = network.build_brain("MobileNetV2", CUT, 218, str(path), seed=2).get_weights()
    assert {weight.dtype for weight in found} == {np.dtype(np.float32)}
    assert all(np.array_equal(a, b) for a, b in zip(found, rounded, strict=True))


def stored_types(file):
    types = set()
    file.visititems(lambda _, item: types.add(item.dtype) if hasattr(item, "dtype") else None)
    return types


@pytest.fixture
def weight_copy(weight_file, tmp_path):
    """A weight file with its checksum, to be spoiled."""
    path = tmp_path / weight_file.name
    path.write_bytes(weight_file.read_bytes())
    weight_files.write_checksum(path)
    return path


def test_sha256sum_accepts_the_checksum_of_a_weight_file(weight_copy):
    result = subprocess.run(
        ["sha256sum", "--check", "--strict", f"{weight_copy.name}.sha256"],
        cwd=weight_copy.parent,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{weight_copy.name}: OK\n"


CHECKSUMS = {
    "missing": (None, "brain.weights.h5.sha256 is missing"),
    "of another file": (f"{'0' * 64}  brain.weights.h5\n", "brain.weights.h5 is not what"),
    "empty": ("", "brain.weights.h5 is not what"),
}


@pytest.mark.parametrize("case", CHECKSUMS)
def test_weights_are_refused_without_the_right_checksum(weight_copy, case):
    text, message = CHECKSUMS[case]
    checksum = weight_copy.with_name(f"{weight_copy.name}.sha256")
    checksum.unlink()
    if text is not None:
        checksum.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        network.build_brain("MobileNetV2", CUT, 218, str(weight_copy), seed=2)
    assert "\n" not in str(refused.value)


def test_weights_that_are_not_what_their_checksum_says_are_refused(weight_copy):
    data = bytearray(weight_copy.read_bytes())
    data[len(data) // 2] ^= 1
    weight_copy.write_bytes(data)
    with pytest.raises(InputError, match=r"brain.weights.h5 is not what .*\.sha256 says"):
        network.build_brain("MobileNetV2", CUT, 218, str(weight_copy), seed=2)


def test_a_checksum_without_its_weights_is_refused(weight_copy):
    weight_copy.unlink()
    with pytest.raises(InputError, match="brain.weights.h5 is missing"):
        network.build_brain("MobileNetV2", CUT, 218, str(weight_copy), seed=2)


@pytest.fixture
def tower_file(tmp_path):
    path = tmp_path / "tower.weights.h5"
    network.build_tower(SMALL_FEATURES, SMALL, seed=1).save_weights(path)
    weight_files.write_checksum(path)
    return path


def test_a_tower_takes_the_weights_of_a_file(tower_file):
    found, expected = (
        network.build_tower(SMALL_FEATURES, SMALL, seed, weights).get_weights()
        for seed, weights in ((2, str(tower_file)), (1, None))
    )
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "change", [{"neck_units": [9, 6]}, {"neck_units": [8]}, {"tail_units": [9, 9]}]
)
def test_weights_of_another_tower_are_refused_with_the_remedy(tower_file, change):
    sizes = SMALL._replace(**change)
    with pytest.raises(InputError, match="tower.weights.h5 does not fit the tower: ") as refused:
        network.build_tower(SMALL_FEATURES, sizes, 2, str(tower_file))
    assert str(refused.value).endswith("; `model.tower_weights: null` starts from random ones")
    assert "\n" not in str(refused.value)


def test_tower_weights_that_are_not_what_their_checksum_says_are_refused(tower_file):
    tower_file.write_bytes(tower_file.read_bytes() + b"more")
    with pytest.raises(InputError, match=r"tower.weights.h5 is not what .*\.sha256 says"):
        network.build_tower(SMALL_FEATURES, SMALL, 2, str(tower_file))


DAMAGES = {
    "missing": None,
    "empty": lambda data: b"",
    "text": lambda data: b"these are no weights\n" * 500,
    "cut off": lambda data: data[: len(data) // 2],
    # Parts of an HDF5 file that h5py notices late, each by another error.
    "broken tree": lambda data: data.replace(b"TREE", b"EERT"),
    "broken heap": lambda data: data.replace(b"HEAP", b"PAEH"),
    "broken node": lambda data: data.replace(b"SNOD", b"DONS"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_weight_file_is_refused(brain, weight_file, tmp_path, damage):
    path = tmp_path / "damaged.weights.h5"
    if DAMAGES[damage]:
        path.write_bytes(DAMAGES[damage](weight_file.read_bytes()))
    with pytest.raises(InputError, match="damaged.weights.h5"):
        weight_files.load_weights(brain, path)


def test_imagenet_weights_without_a_network_are_refused(tmp_path):
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), nowhere)
    environment = {
        **{k: v for k, v in os.environ.items() if k.lower() != "no_proxy"},
        **proxies,
        **{name.upper(): value for name, value in proxies.items()},
        "KERAS_HOME": str(tmp_path),
        "PYTHONPATH": str(SOURCE),
    }
    code = f"""
from faceverify.base import errors
from faceverify.model import network
errors.run(lambda: network.build_brain("MobileNetV2", {CUT!r}, 218, "imagenet", 1), {{}})
"""
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 2, result.stderr
    assert "error: model.brain_weights: ImageNet weights: " in result.stderr
    assert "Traceback" not in result.stderr


def test_features_too_small_for_the_head_are_refused():
    with pytest.raises(InputError, match="model.brain_layer: 2 x 11 features are too small"):
        network.build_tower((2, 11, 8), SMALL, seed=1)
    for side in (3, 4):
        tower = network.build_tower((side, side, 8), SMALL, seed=1)
        assert tower.output["tail"].shape == (None, 5)


# What the tail reads


READS = {reads: SMALL._replace(tail_reads=reads) for reads in ("landmarks", "neck", "brain")}
NUMBERS_OF_TAIL = {"landmarks": 5, "neck": 6, "brain": 6}  # the last dense layer has 5


@pytest.mark.parametrize("reads", READS)
def test_the_tail_begins_where_it_is_said_to(reads):
    tower = network.build_tower(SMALL_FEATURES, READS[reads], seed=1)
    assert tower.output["landmarks"].shape == (None, 136)
    assert tower.output["tail"].shape == (None, NUMBERS_OF_TAIL[reads])
    begin = {"landmarks": 136, "neck": 6, "brain": 8}[reads]
    assert tower.get_layer("tail0").kernel.shape == (begin, 7)
    assert tower.get_layer("tail1").kernel.shape == (7, 5)
    if reads == "brain":
        assert tower.get_layer("tail_depthwise").kernel.shape == (6, 6, 8, 1)


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("units", [[5], [7, 5], [9, 7, 5]], ids=len)
def test_a_tail_has_as_many_dense_layers_as_it_has_entries(reads, units):
    sizes = READS[reads]._replace(tail_units=units, dropout=0.5)
    tower = network.build_tower(SMALL_FEATURES, sizes, seed=1)
    dense = [layer for layer in tower.layers if layer.name in ("tail0", "tail1", "tail2")]
    assert [layer.units for layer in dense] == units
    activations = [layer.activation.__name__ for layer in dense]
    assert activations == ["elu"] * (len(units) - 1) + ["tanh"]
    dropouts = [layer for layer in tower.layers if isinstance(layer, keras.layers.Dropout)]
    assert len(dropouts) == len(sizes.neck_units) + len(units) - 1


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("reads", READS)
def test_theta_teaches_what_the_tail_reads_and_nothing_else(policy, reads):
    tower = network.build_tower(SMALL_FEATURES, READS[reads], seed=1)
    siamese = network.build_siamese(tower)
    pair = {"feature0": drawn(4, *SMALL_FEATURES), "feature1": drawn(4, *SMALL_FEATURES, seed=7)}
    with tf.GradientTape() as tape:
        theta = siamese(pair, training=True)["targetD"]
        total = tf.reduce_sum(theta)
    assert theta.dtype == tf.float32
    gradients = tape.gradient(total, tower.trainable_variables)
    taught = set()
    for variable, gradient in zip(tower.trainable_variables, gradients, strict=True):
        if gradient is not None:
            assert np.isfinite(tf.convert_to_tensor(gradient)).all()
            taught.add(variable.path.split("/")[-2])
    tail = {"tail0", "tail1"}
    neck = tail | {"head", "neck0", "neck1"}
    expected = {
        "landmarks": neck | {"landmarks"}, "neck": neck, "brain": tail | {"tail_depthwise"}
    }  # fmt: skip
    assert taught == expected[reads]


@pytest.mark.parametrize("reads", ["neck", "brain"])
def test_theta_of_other_tails_does_not_depend_on_the_order_either(reads):
    siamese = network.build_siamese(network.build_tower(SMALL_FEATURES, READS[reads], seed=1))
    first, second = drawn(5, *SMALL_FEATURES), drawn(5, *SMALL_FEATURES, seed=7)
    one = siamese.predict_on_batch({"feature0": first, "feature1": second})
    other = siamese.predict_on_batch({"feature0": second, "feature1": first})
    np.testing.assert_array_equal(one["targetD"], other["targetD"])
    np.testing.assert_array_equal(one["target0"], other["target1"])


@pytest.mark.parametrize("reads", ["neck", "brain"])
def test_landmarks_are_the_same_whatever_the_tail_reads(reads):
    features = drawn(3, *SMALL_FEATURES)
    usual, other = (
        network.build_tower(SMALL_FEATURES, READS[r], seed=1) for r in ("landmarks", reads)
    )
    # Head, neck and landmarks are drawn before the tail.
    for tower in (usual, other):
        tower.get_layer("landmarks").set_weights([drawn(6, 136), drawn(136)])
    found = [tower.predict_on_batch(features)["landmarks"] for tower in (usual, other)]
    np.testing.assert_array_equal(*found)


def test_a_tail_on_the_brain_weighs_each_place_of_each_channel():
    sizes = READS["brain"]._replace(tail_units=[3])
    tower = network.build_tower(SMALL_FEATURES, sizes, seed=1)
    features = drawn(2, *SMALL_FEATURES)
    filters, bias = tower.get_layer("tail_depthwise").get_weights()
    kernel, shift = tower.get_layer("tail0").get_weights()
    begin = np.einsum("bhwc,hwc->bc", features, filters[..., 0]) + bias
    expected = np.tanh(begin @ kernel + shift)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = tower.predict_on_batch(features)["tail"]
    np.testing.assert_allclose(found, np.pad(expected, ((0, 0), (0, 1))), atol=1e-6)


@pytest.mark.parametrize("reads", READS)
def test_a_tower_too_large_is_refused_whatever_its_tail_reads(reads):
    sizes = READS[reads]._replace(tail_units=[10_000, 10_000])
    with pytest.raises(InputError, match="tail_units make a tower of more than 100,000,000"):
        network.check_size(SMALL_FEATURES, sizes)
    network.check_size(SMALL_FEATURES, sizes._replace(tail_units=[9_000, 9_000]))


# The calibration


def calibrated(tails, constant):
    layer = network.Calibration()
    layer.build(tails.shape)
    layer.constant.assign([constant])
    return layer(tails)


@pytest.mark.parametrize("constant", [0, 0.3, 1, 2.5])
def test_the_calibration_scales_theta_by_its_equation(constant):
    first, second = 3 * drawn(50, NUMBERS), drawn(50, NUMBERS, seed=6)
    second[:25] += first[:25]  # smaller angles too
    theta = keras.ops.convert_to_numpy(network.angle(first, second)).astype(float)
    found = network.angle(*(calibrated(tails, constant) for tails in (first, second)))
    expected = np.arccos((np.cos(theta) + constant**2) / (1 + constant**2))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert (np.diff(np.asarray(found)[np.argsort(theta)]) > 0).all()


@pytest.mark.parametrize("constant", [0, 1.5])
def test_a_tail_without_a_direction_stays_without_one(constant):
    vectors = np.stack([NONE, SOME])
    found = keras.ops.convert_to_numpy(calibrated(vectors, constant))
    np.testing.assert_array_equal(found[0], 0)
    # Two zero vectors are no match, and a zero vector matches nobody.
    theta = network.angle(found[[0, 0]], found)
    np.testing.assert_allclose(theta, np.pi / 2, atol=1e-6)


@pytest.mark.parametrize("case", VECTORS)
def test_the_gradient_of_a_calibrated_theta_is_finite(case):
    batches = [tf.Variable(vector[None]) for vector in VECTORS[case]]
    with tf.GradientTape() as tape:
        theta = network.angle(*(calibrated(batch, 1.5) for batch in batches))
    assert np.isfinite(theta).all()
    assert all(np.isfinite(g).all() for g in tape.gradient(theta, batches))


def test_a_tail_that_is_no_number_stays_none_when_calibrated():
    assert np.isnan(calibrated(np.full((1, 4), np.nan, np.float32), 1.5)).any()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("reads", ["neck", "brain"])
def test_the_calibration_survives_training(policy, reads):
    tower = network.build_tower(SMALL_FEATURES, READS[reads], seed=1)
    layer = tower.get_layer("calibration")
    layer.constant.assign([1.5])
    before = tower.get_weights()
    siamese = network.build_siamese(tower)
    siamese.compile(keras.optimizers.RMSprop(0.01), {"targetD": ContrastiveLoss(1.0)})
    pair = {"feature0": drawn(8, *SMALL_FEATURES), "feature1": drawn(8, *SMALL_FEATURES, seed=7)}
    siamese.fit(pair, {"targetD": np.zeros(8, np.float32)}, epochs=2, verbose=0)
    assert layer.constant.numpy().tolist() == [1.5]
    assert not all(np.array_equal(a, b) for a, b in zip(before, tower.get_weights(), strict=True))


def test_the_calibration_is_stored_with_the_tower(tmp_path):
    path = tmp_path / "tower.weights.h5"
    tower = network.build_tower(SMALL_FEATURES, READS["brain"], seed=1)
    tower.get_layer("calibration").constant.assign([1.5])
    tower.save_weights(path)
    weight_files.write_checksum(path)
    found = network.build_tower(SMALL_FEATURES, READS["brain"], 2, str(path))
    assert found.get_layer("calibration").constant.numpy().tolist() == [1.5]
    np.testing.assert_array_equal(
        *(t.predict_on_batch(drawn(2, *SMALL_FEATURES))["tail"] for t in (tower, found))
    )


# Keras's own files


def test_a_saved_siamese_comes_back_with_the_same_theta_and_loss(tmp_path):
    siamese = network.build_siamese(network.build_tower(SMALL_FEATURES, SMALL, seed=1))
    siamese.compile(loss={"targetD": ContrastiveLoss(1.2)})
    siamese.optimizer.build(siamese.trainable_variables)
    pairs = {f"feature{slot}": drawn(4, *SMALL_FEATURES, seed=slot) for slot in (0, 1)}
    same = {"targetD": np.array([0, 1, 0, 1], np.float32)}
    siamese.save(tmp_path / "siamese.keras")
    loaded = keras.saving.load_model(tmp_path / "siamese.keras", safe_mode=True)
    found, expected = (m.predict_on_batch(pairs)["targetD"] for m in (loaded, siamese))
    np.testing.assert_array_equal(found, expected)
    found, expected = (m.evaluate(pairs, same, verbose=0) for m in (loaded, siamese))
    assert found == expected
    assert loaded.loss["targetD"].delta == 1.2


def test_angle_and_contrastive_loss_are_registered_with_keras():
    assert keras.saving.get_registered_object("faceverify>Angle") is network.Angle
    assert keras.saving.get_registered_object("faceverify>ContrastiveLoss") is ContrastiveLoss
