"""Train and evaluate Keras models on TensorFlow by hand: one model, then two that train each other.

needs: tensorflow keras
stderr: TensorFlow tells the time
loading: under run
tree:
  epoch ×4
    step ×8
      data ×8
      forward ×4
      backward ×12
      optimizer ×12
      forward (Generator) ×4
      forward (discriminator) ×8
    data ×1
    evaluate ×4
      forward ×4
      data ×3
      forward (Generator) ×2
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
rows = np.random.rand(8, 4).astype("float32")
train = tf.data.Dataset.from_tensor_slices(rows).batch(4)
held_out = tf.data.Dataset.from_tensor_slices(rows[::-1]).batch(4)

model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
optimizer = keras.optimizers.Adam(0.01)
for _ in range(2):
    for batch in train:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(batch, training=True) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        print(float(loss).hex())
    print([float(tf.reduce_mean(model(batch, training=False))).hex() for batch in held_out])
model.save_weights("model.weights.h5")
del optimizer


class Generator(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(4)

    def call(self, noise):
        return self.dense(noise)


generator = Generator()
discriminator = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(1)], name="discriminator")
of_generator, of_discriminator = keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01)
criterion = keras.losses.BinaryCrossentropy(from_logits=True)
for _ in range(2):
    for real in train:
        with tf.GradientTape() as generating, tf.GradientTape() as discriminating:
            fake = generator(tf.random.normal([4, 3]))
            on_real, on_fake = discriminator(real), discriminator(fake)
            to_fool = criterion(tf.ones_like(on_fake), on_fake)
            to_tell = criterion(tf.ones_like(on_real), on_real) + criterion(tf.zeros_like(on_fake), on_fake)
        slopes = generating.gradient(to_fool, generator.trainable_variables)
        slopes_of_discriminator = discriminating.gradient(to_tell, discriminator.trainable_variables)
        of_generator.apply_gradients(zip(slopes, generator.trainable_variables, strict=True))
        of_discriminator.apply_gradients(zip(slopes_of_discriminator, discriminator.trainable_variables, strict=True))
        print(float(to_fool).hex(), float(to_tell).hex())
    print(generator(tf.ones([1, 3])).numpy().tolist())
