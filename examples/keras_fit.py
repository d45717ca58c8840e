"""A Keras training with the callback, on whichever backend Keras is set to: KERAS_BACKEND=torch python ..."""

from __future__ import annotations

import keras
import numpy as np
from phasescope.integrations.keras import PhaseCallback


def main(epochs: int = 2) -> None:
    keras.utils.set_random_seed(0)
    features = np.random.rand(1024, 64).astype("float32")
    labels = np.random.randint(0, 10, 1024)
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(256, activation="relu"), keras.layers.Dense(10, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")

    callback = PhaseCallback()
    model.fit(features, labels, batch_size=64, epochs=epochs, validation_split=0.2, callbacks=[callback], verbose=0)
    assert callback.session is not None
    print(callback.session.summary())


if __name__ == "__main__":
    main()
