"""A training loop of your own in TensorFlow, with phases. One `tf.function` is one phase, without parts."""

from __future__ import annotations

import tensorflow as tf

import phasescope
from phasescope import phase


def main(epochs: int = 2) -> None:
    tf.random.set_seed(0)
    features = tf.random.normal((1024, 64))
    targets = tf.reduce_sum(features, axis=1, keepdims=True)
    data = tf.data.Dataset.from_tensor_slices((features, targets)).batch(64)
    hidden = tf.Variable(tf.random.normal((64, 256), stddev=0.1))
    output = tf.Variable(tf.random.normal((256, 1), stddev=0.1))

    with phasescope.start() as session:
        for epoch in range(epochs):
            with phase("epoch", n=epoch):
                for inputs, wanted in phasescope.track(data, name="data"):
                    with tf.GradientTape() as tape, phase("forward"):
                        loss = tf.reduce_mean((tf.nn.relu(inputs @ hidden) @ output - wanted) ** 2)
                    with phase("backward"):
                        gradients = tape.gradient(loss, [hidden, output])
                    with phase("optimizer"):
                        for weights, gradient in zip((hidden, output), gradients, strict=True):
                            weights.assign_sub(0.001 * gradient)
        print(session.summary())


if __name__ == "__main__":
    main()
