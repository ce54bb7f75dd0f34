"""The student: the brain's network with a small head, trained to give dlib's descriptors."""

import keras
from keras import layers, ops

from faceverify.model.network import cut_network
from recipe import Recipe

DESCRIPTOR_NUMBERS = 128
LARGEST_GRADIENT = 5.0  # norm over all weights, to which a larger one is scaled down


def build(settings: Recipe) -> keras.Model:
    """The untrained student: photos (B, view, view, 3) in 0..255 -> descriptors (B, 128).

    Its head has the layers of a member's head, so that the features suit that.
    """
    size = settings.view
    network = fused(cut_network("InceptionV3", "mixed5", size, None))
    photos = keras.Input((size, size, 3), name="photo")
    x = layers.Conv2D(settings.head_filters, 3, activation="elu", name="head")(network(photos))
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)  # (B, 256) for 64 filters and a view of 128
    # Zeros: random first outputs would cost the first steps, which are large, to be unlearnt.
    last = layers.Dense(
        DESCRIPTOR_NUMBERS, kernel_initializer="zeros", dtype="float32", name="descriptor"
    )
    descriptors = last(x)
    return keras.Model(photos, descriptors, name="student")


def prepare(student: keras.Model, settings: Recipe, steps: int) -> None:
    """Compile the student for a training of `steps` steps."""
    chosen = optimizer(settings.lr, settings.weight_decay, steps)
    # On a CPU, XLA's code for convolutions in bfloat16 is slower than oneDNN's.
    student.compile(chosen, squared_distance, jit_compile=keras.backend.backend() == "jax")
    chosen.build(student.trainable_variables)


def optimizer(lr: float, weight_decay: float, steps: int) -> keras.Optimizer:
    """AdamW; its rate rises to `lr` in the first 20th of the steps, then falls to 0 in a cosine."""
    warmup = max(steps // 20, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=lr, warmup_steps=warmup
    )
    made = FiniteAdamW(schedule, weight_decay=weight_decay, global_clipnorm=LARGEST_GRADIENT)
    made.exclude_from_weight_decay(var_names=["bias", "beta"])
    return made


class FiniteAdamW(keras.optimizers.AdamW):
    """AdamW that takes numbers of a gradient that are not finite for 0.

    On processors with AMX, oneDNN's bfloat16 gradient of a convolution's kernel holds a NaN in
    about one step of a hundred (TensorFlow 2.21, InceptionV3's third convolution), and not in the
    same steps each time. A single one would spoil all weights.
    """

    def apply(self, grads, trainable_variables=None):
        """Take a step; see `keras.optimizers.Optimizer.apply`."""
        finite = [ops.nan_to_num(grad, posinf=0.0, neginf=0.0) for grad in grads]
        super().apply(finite, trainable_variables)


def squared_distance(wanted, given):
    """Squared Euclidean distance, (B,), of target and output descriptors, both (B, 128)."""
    return ops.sum(ops.square(wanted - given), axis=-1)


class FusedNormalization(layers.BatchNormalization):
    """Batch normalization by TensorFlow's fused kernel.

    It computes the same with a third of the memory traffic: on a CPU a whole training step is 1.8
    times as fast.
    """

    def call(self, x, training=None, mask=None):
        """Normalize `x` (B, height, width, channels); `mask` is Keras's, and None for photos."""
        import tensorflow as tf

        learns = bool(training and self.trainable)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.ones(x.shape[-1:], tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=[] if learns else tf.cast(self.moving_mean, tf.float32),
            variance=[] if learns else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=learns,
        )
        if learns:
            for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return y


def fused(network: keras.Model) -> keras.Model:
    """A copy of a network with `FusedNormalization`; the network itself with other backends."""
    if keras.backend.backend() != "tensorflow":
        return network

    def kept(layer):
        if type(layer) is layers.BatchNormalization:
            return FusedNormalization.from_config(layer.get_config())
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=kept, recursive=True)
