"""What the model is trained on: landmark loss, contrastive loss on the angle, and two metrics."""

import keras
from keras import ops

from faceverify.data.landmark_range import CANVAS_SCALE, LandmarkRange
from faceverify.faces.landmarks import OUTER_EYE_CORNERS, POINTS


def landmark_loss(target, predicted):
    """L_E of each face: the Euclidean distance of (B, 136) targets and outputs, (B,).

    Not divided by the batch size again, as the original's code does: alpha is the equation's.
    """
    squared = ops.sum(ops.square(predicted - target), axis=-1)
    # The root's gradient is infinite at zero, where a prediction is exact.
    return ops.sqrt(ops.maximum(squared, keras.config.epsilon() ** 2))


@keras.saving.register_keras_serializable(package="faceverify")
class ContrastiveLoss(keras.losses.Loss):
    """L_C = y theta^2 + (1 - y) max(0, delta - theta)^2, y = 1 for the same person.

    Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR
    2006, on angles: pairs of one person are pulled together, others pushed `delta` radians apart.
    """

    def __init__(self, delta: float, **options) -> None:
        """Take the margin in radians and Keras's loss options."""
        super().__init__(**options)
        self.delta = delta

    def call(self, same, theta):
        """The loss of each pair, (B,), of labels and angles (B,)."""
        apart = ops.maximum(self.delta - theta, 0.0)
        return same * ops.square(theta) + (1 - same) * ops.square(apart)

    def get_config(self) -> dict:
        """What Keras needs to make the loss again."""
        return {**super().get_config(), "delta": self.delta}


def contrastive(delta: float) -> keras.metrics.Metric:
    """L_C as a metric: the mean over all pairs, where Keras's own figure of a loss is that of
    the batches, in which a smaller last one counts as much as the others."""
    return keras.metrics.MeanMetricWrapper(ContrastiveLoss(delta).call, name="contrastive")


def pairwise_accuracy(threshold: float) -> keras.metrics.Metric:
    """Share of pairs judged right when theta < `threshold` says "same person"."""

    def accuracy(same, theta):
        return ops.cast((theta < threshold) == (same > 0.5), "float32")

    return keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")


def landmark_error(limits: LandmarkRange) -> keras.metrics.Metric:
    """Mean distance of the 68 points over the distance of the outer eye corners.

    In photo pixels; the norm of the 300-W challenge, https://ibug.doc.ic.ac.uk/resources/300-W/
    """
    scale = (limits.span / CANVAS_SCALE).astype("float32")
    shift = (limits.minimum / CANVAS_SCALE).astype("float32")

    def error(target, predicted):
        truth, guess = (
            ops.reshape(numbers * scale + shift, (-1, 2, POINTS)) for numbers in (target, predicted)
        )
        distances = ops.sqrt(ops.sum(ops.square(guess - truth), axis=1))  # (B, 68)
        right, left = OUTER_EYE_CORNERS
        eyes = ops.sqrt(ops.sum(ops.square(truth[:, :, right] - truth[:, :, left]), axis=1))
        return ops.mean(distances, axis=-1) / eyes

    return keras.metrics.MeanMetricWrapper(error, name="landmark_error")
