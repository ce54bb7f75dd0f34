"""The losses, landmark loss and contrastive loss on the angle, and the metrics of the training."""

import keras
from keras import ops

from faceverify.data.landmark_range import CANVAS_SCALE, LandmarkRange
from faceverify.faces.landmarks import OUTER_EYE_CORNERS, POINTS


def landmark_loss(target, predicted):
    """L_E of each face, (B,): the Euclidean distance of its target and its output, (B, 136).

    The original's code divides by the batch size once more; here alpha is that of the equation.
    """
    squared = ops.sum(ops.square(predicted - target), axis=-1)
    # The root's gradient is infinite at zero, where a prediction is exact.
    return ops.sqrt(ops.maximum(squared, keras.config.epsilon() ** 2))


@keras.saving.register_keras_serializable(package="faceverify")
class ContrastiveLoss(keras.losses.Loss):
    """L_C = y theta^2 + (1 - y) max(0, delta - theta)^2, y = 1 for the same person.

    Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR
    2006, on angles in radians: theta of one person's photos is drawn to 0, that of two people's
    photos is pushed to `delta`, the margin, and not beyond.
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
    """L_C as a metric: the mean over all pairs of an epoch.

    Keras's own figure of a loss is the mean over the batches, of which a smaller last one counts
    as much as the others.
    """
    return keras.metrics.MeanMetricWrapper(ContrastiveLoss(delta).call, name="contrastive")


def pairwise_accuracy(threshold: float) -> keras.metrics.Metric:
    """The share of pairs decided rightly where theta < `threshold` means the same person."""

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
