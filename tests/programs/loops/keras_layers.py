"""Train a Keras model in a loop of torch: its layers are modules too.

needs: torch keras
tree:
  epoch ×2
    step ×4
      data ×4
      forward ×4
      backward ×4
      optimizer ×4
"""

import os
import random

os.environ["KERAS_BACKEND"] = "torch"
import keras
import torch

random.seed(0)  # keras.utils.set_random_seed would load TensorFlow, too
torch.manual_seed(0)
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(2):
    for batch in torch.utils.data.DataLoader(torch.ones(4, 4), batch_size=2):
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(loss.item().hex())
