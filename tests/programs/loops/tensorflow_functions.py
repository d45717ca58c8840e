"""Train by compiled functions of TensorFlow, on two replicas too: a call of one is marked, its trace is not.

needs: tensorflow keras
tree:
  epoch ×4
    step ×8
      data ×8
      call (train_step) ×4
      call (on_replicas) ×4
    data ×1
    evaluate ×2
      call (test_step) ×4
      data ×3
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf

(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
keras.utils.set_random_seed(0)
rows = np.random.rand(8, 4).astype("float32")
train = tf.data.Dataset.from_tensor_slices(rows).batch(4)
held_out = tf.data.Dataset.from_tensor_slices(rows[::-1]).batch(4)

model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
optimizer = keras.optimizers.Adam(0.01)


@tf.function
def train_step(batch):
    print("traced")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(batch, training=True) ** 2)
    optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
    return loss


@tf.function
def test_step(batch):
    return tf.reduce_mean(model(batch, training=False))


for _ in range(2):
    for batch in train:
        print(float(train_step(batch)).hex())
    for batch in held_out:
        print(float(test_step(batch)).hex())
print(train_step.experimental_get_tracing_count(), test_step.experimental_get_tracing_count())
model.save_weights("model.weights.h5")

strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
with strategy.scope():
    mirrored = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    of_mirrored = keras.optimizers.SGD(0.1)


def train_one(batch):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(mirrored(batch) ** 2) / 2
    slopes = tape.gradient(loss, mirrored.trainable_variables)
    of_mirrored.apply_gradients(zip(slopes, mirrored.trainable_variables, strict=True))
    return loss


@tf.function
def on_replicas(batch):
    return strategy.reduce("SUM", strategy.run(train_one, args=(batch,)), axis=None)


batches = strategy.experimental_distribute_dataset(train)
for _ in range(2):
    for batch in batches:
        print(float(on_replicas(batch)).hex())
