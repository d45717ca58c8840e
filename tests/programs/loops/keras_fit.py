"""Fit a Keras model on TensorFlow, and save it.

needs: keras tensorflow
differs: model.keras
stderr: TensorFlow tells the time
loading: under run
tree:
  fit ×1
    epoch ×2
      batch ×4
      validation ×2
        batch ×4
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
model.compile(optimizer="sgd", loss="mse")
inputs, targets = np.ones((4, 4), "float32"), np.ones((4, 1), "float32")
told = model.fit(inputs, targets, batch_size=2, epochs=2, validation_data=(inputs, targets), verbose=0)
print(told.history)
model.save("model.keras")
model.save_weights("model.weights.h5")
