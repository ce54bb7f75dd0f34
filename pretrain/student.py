"""The student: the brain's network with a light head that learns dlib's descriptor of a face."""

import keras
from keras import layers, ops

from faceverify.model.network import cut_network
from recipe import Recipe

DESCRIPTOR_NUMBERS = 128
LARGEST_GRADIENT = 5.0  # its norm


def build(settings: Recipe) -> keras.Model:
    """Photos (B, view, view, 3) in 0..255 -> descriptors (B, 128), not yet trained.

    The head has the form of a member's, so that the features suit what members do with them.
    """
    size = settings.view
    network = fused(cut_network("InceptionV3", "mixed5", size, None))
    photos = keras.Input((size, size, 3), name="photo")
    x = layers.Conv2D(settings.head_filters, 3, activation="elu", name="head")(network(photos))
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)  # (B, 256) for 64 filters and a view of 128
    # From zero: random numbers of this size would first have to be unlearnt, in large steps.
    last = layers.Dense(
        DESCRIPTOR_NUMBERS, kernel_initializer="zeros", dtype="float32", name="descriptor"
    )
    descriptors = last(x)
    return keras.Model(photos, descriptors, name="student")


def prepare(student: keras.Model, settings: Recipe, steps: int) -> None:
    """Compile for a run of this many steps."""
    chosen = optimizer(settings.lr, settings.weight_decay, steps)
    # XLA compiles convolutions in bfloat16 to slower code than oneDNN's on a CPU.
    student.compile(chosen, squared_distance, jit_compile=keras.backend.backend() == "jax")
    chosen.build(student.trainable_variables)


def optimizer(lr: float, weight_decay: float, steps: int) -> keras.Optimizer:
    """AdamW; the rate rises over the first 20th of the steps and falls to 0 in a cosine."""
    warmup = max(steps // 20, 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=lr, warmup_steps=warmup
    )
    made = FiniteAdamW(schedule, weight_decay=weight_decay, global_clipnorm=LARGEST_GRADIENT)
    made.exclude_from_weight_decay(var_names=["bias", "beta"])
    return made


class FiniteAdamW(keras.optimizers.AdamW):
    """AdamW that passes over the numbers of a gradient that are none.

    On processors with AMX, oneDNN's bfloat16 gradient of a convolution's kernel holds a NaN in
    about one step of a hundred (TensorFlow 2.21, InceptionV3's third convolution), not in the
    same step each time; one would spoil the whole run.
    """

    def apply(self, grads, trainable_variables=None):
        """Take a step; see `keras.optimizers.Optimizer.apply`."""
        finite = [ops.nan_to_num(grad, posinf=0.0, neginf=0.0) for grad in grads]
        super().apply(finite, trainable_variables)


def squared_distance(wanted, given):
    """Squared Euclidean distance of the descriptors, (B,), both (B, 128)."""
    return ops.sum(ops.square(wanted - given), axis=-1)


class FusedNormalization(layers.BatchNormalization):
    """Batch normalization by TensorFlow's fused kernel: same mathematics, a third of the memory
    traffic. On a CPU it makes the whole training step 1.8 times as fast.
    """

    def call(self, x, training=None, mask=None):
        """Normalize `x` (B, H, W, C); a mask, which photos never have, is left aside."""
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
    """The same network with fused normalization where the backend has it."""
    if keras.backend.backend() != "tensorflow":
        return network

    def kept(layer):
        if type(layer) is layers.BatchNormalization:
            return FusedNormalization.from_config(layer.get_config())
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=kept, recursive=True)
