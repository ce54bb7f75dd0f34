"""Tests of the networks that were trained to compare faces, as brains."""

import keras
import numpy as np
import pytest

import bring_edgeface
import bring_mobilefacenet
from faceverify.base.errors import InputError
from faceverify.faces.aligned_photos import CANVAS_SIZE
from faceverify.model import edge_face, mobile_face_net, network, template_frame
from faceverify.model.cut_layers import CutLayers
from helpers import sample_canvases

EDGE, MOBILE = edge_face.NAME, mobile_face_net.NAME
BRINGS = {EDGE: bring_edgeface, MOBILE: bring_mobilefacenet}
PEOPLE, PHOTOS_EACH = 8, 10

each = pytest.mark.parametrize("name", [EDGE, MOBILE])


def canvases(number, seed=1):
    shape = (number, CANVAS_SIZE, CANVAS_SIZE, 3)
    return np.random.default_rng(seed).integers(256, size=shape).astype(np.uint8)


def build(name, layer="embedding", view=CANVAS_SIZE, seed=1):
    return network.build_brain(name, layer, view, None, seed)


@pytest.mark.parametrize(
    ("name", "numbers", "weights"),
    [
        # The paper's 3.65 million, less the scales, shifts and branch weights that are taken in.
        (EDGE, 512, 3_653_848),
        # Of the paper's, with 512 more channels at the end and 192 numbers for 128.
        (MOBILE, 192, 1_292_992),
    ],
)
def test_the_network_gives_so_many_numbers_a_face_from_so_many_weights(name, numbers, weights):
    brain = build(name)
    assert brain.input_shape == (None, 218, 218, 3)
    assert brain.output_shape == (None, 1, 1, numbers)
    assert brain.count_params() == weights
    found = brain.predict_on_batch(canvases(2))
    assert found.shape == (2, 1, 1, numbers)
    assert np.isfinite(found).all()


@each
def test_equal_seeds_give_equal_numbers(name):
    photos = canvases(2)
    brains = build(name), build(name), build(name, seed=2)
    one, again, other = (brain.predict_on_batch(photos) for brain in brains)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        (EDGE, "stem", (28, 28, 48)),
        (EDGE, "stage2_block2_add", (14, 14, 96)),
        (EDGE, "stage3_block8_add", (7, 7, 160)),
        (EDGE, "normalized", (3, 3, 304)),
        (MOBILE, "conv1", (56, 56, 64)),
        (MOBILE, "stage3_block4_add", (28, 28, 64)),
        (MOBILE, "stage5_block5_add", (14, 14, 128)),
        (MOBILE, "conv8_prelu", (7, 7, 512)),
    ],
)
def test_the_network_can_be_cut_at_the_layers_that_it_is_said_to_have(name, layer, shape):
    assert CutLayers(name, CANVAS_SIZE).shapes[layer] == shape
    assert build(name, layer).output_shape == (None, *shape)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (EDGE, ["stem", "stem_norm", "stage1_block0_depthwise"]),
        (MOBILE, ["conv1", "conv1_prelu", "conv2_depthwise"]),
    ],
)
def test_the_names_of_layers_are_those_of_the_network_not_of_the_process(name, first):
    def names():
        # Slices of tensors have a number of the process; nobody cuts there.
        every = [layer.name for layer in network.FACE_NETWORKS[name].build().layers]
        return [one for one in every if not one.startswith("get_item")]

    assert names() == names()
    assert names()[1:4] == first


@each
def test_the_network_is_the_same_when_it_is_read_from_its_description(name):
    net = network.FACE_NETWORKS[name].build()
    again = keras.Model.from_config(net.get_config())
    again.set_weights(net.get_weights())
    faces = np.random.default_rng(1).normal(size=(2, 112, 112, 3)).astype(np.float32)
    np.testing.assert_array_equal(net.predict_on_batch(faces), again.predict_on_batch(faces))


@each
def test_an_unknown_layer_is_one_line(name):
    with pytest.raises(InputError) as refused:
        build(name, "mixed5")
    assert str(refused.value) == f"model.brain_layer: {name} has no layer 'mixed5'"


@each
def test_there_are_no_imagenet_weights_of_it(name):
    with pytest.raises(InputError, match=f"model.brain_weights: {name} was not trained on"):
        network.build_brain(name, BRINGS[name].CUT, CANVAS_SIZE, "imagenet", 1)


@pytest.mark.parametrize(("name", "half", "middle"), [(EDGE, 127.5, 127.5), (MOBILE, 128, 127.5)])
def test_a_photo_comes_in_the_range_that_the_network_was_trained_with(name, half, middle):
    plain = np.full((1, CANVAS_SIZE, CANVAS_SIZE, 3), (10, 127.5, 240), np.float32)
    preprocess_input = network.FACE_NETWORKS[name].preprocess_input
    found = np.asarray(preprocess_input(plain))
    wanted = (np.array([10, 127.5, 240]) - middle) / half
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-4)
    # A pale one is prepared first.
    pale = canvases(2).astype(np.float32) * 0.3 + 90
    wanted = (np.asarray(template_frame.prepared(pale)) - middle) / half
    np.testing.assert_allclose(np.asarray(preprocess_input(pale)), wanted, atol=1e-4)


@each
def test_the_weight_file_of_the_published_network_tells_people_apart(
    name, request, sample, tmp_path
):
    bring = BRINGS[name]
    published = request.getfixturevalue(f"published_{bring.FOLDER}")
    bring.write(bring.weights_of(published), tmp_path / bring.FOLDER)
    path = tmp_path / bring.FOLDER / bring.WEIGHTS
    brain = network.build_brain(name, "embedding", CANVAS_SIZE, str(path), 1)
    faces, people = sample_canvases(sample, PEOPLE, PHOTOS_EACH)
    found = brain.predict_on_batch(faces)[:, 0, 0]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    same = people[:, None] == people
    cosines = found @ found.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.4
