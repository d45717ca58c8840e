"""Train on TensorFlow without a data set, and end by an error that Keras has words for.

needs: tensorflow keras
exit: 1
verdict: exception
tree:
  step ×12
    backward ×8
    call (of_line) ×2
    forward ×2
    optimizer ×6
    call (train_on_batch) ×4
    forward (actor) ×2
    forward (critic) ×2
    call (lambda) ×1, 1 error
  fit ×1
    epoch ×1
      batch ×1
  evaluate ×3, 1 error
    forward (actor) ×5, 1 error
"""

import os
import traceback

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
rows = np.random.rand(4, 4).astype("float32")


class Line(tf.Module):
    def __init__(self):
        super().__init__()
        self.slope, self.offset = tf.Variable(5.0), tf.Variable(0.0)

    def __call__(self, x):
        return self.slope * x + self.offset


def of_line(line, x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((3 * x + 2 - line(x)) ** 2)
    slope, offset = tape.gradient(loss, [line.slope, line.offset])
    line.slope.assign_sub(0.1 * slope)
    line.offset.assign_sub(0.1 * offset)
    return loss


def model_of(outputs, name):
    layers = [keras.layers.Input((4,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(outputs)]
    return keras.Sequential(layers, name=name)


def train(model, of_model, seen):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(seen) ** 2)
    slopes = tape.gradient(loss, model.trainable_variables)
    of_model.apply_gradients(zip(slopes, model.trainable_variables, strict=True))
    print(float(loss).hex())


line = Line()
for _ in range(2):
    print(float(of_line(line, tf.linspace(-1.0, 1.0, 5))).hex())
of_line_compiled = tf.function(of_line)
for _ in range(2):
    print(float(of_line_compiled(line, tf.linspace(-1.0, 1.0, 5))).hex())

# An equation is solved: the derivative by the input is a part of the loss.
solution, optimizer = model_of(1, "solution"), keras.optimizers.Adam(0.01)
points = tf.constant(rows)
for _ in range(2):
    with tf.GradientTape() as tape:
        with tf.GradientTape() as by_input:
            by_input.watch(points)
            value = solution(points)
        loss = tf.reduce_mean((by_input.gradient(value, points) + value) ** 2)
    slopes = tape.gradient(loss, solution.trainable_variables)
    optimizer.apply_gradients(zip(slopes, solution.trainable_variables, strict=True))
    print(float(loss).hex())
del optimizer

unbuilt = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
unbuilt.compile("sgd", "mse")
unbuilt.fit(tf.data.Dataset.from_tensors((rows, rows[:, :1])), verbose=0)
for _ in range(4):
    print(float(unbuilt.train_on_batch(rows, rows[:, :1])).hex())

actor, critic = model_of(2, "actor"), model_of(1, "critic")
of_actor, of_critic = keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01)
for _ in range(2):
    seen = [rows[turn : turn + 1] + float(tf.reduce_sum(actor(rows[turn : turn + 1]))) for turn in range(2)]
    train(actor, of_actor, np.concatenate(seen))
    train(critic, of_critic, np.concatenate(seen))

try:
    tf.function(lambda x: actor(x) + undefined)(rows)  # noqa: F821
except NameError as error:
    print(type(error).__name__, len(traceback.extract_tb(error.__traceback__)))
actor(np.ones((2, 7), "float32"))
