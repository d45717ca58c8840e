"""Learn to balance the pole with stable-baselines3's PPO, and save the policy.

needs: stable_baselines3 gymnasium
differs: *.zip
tree:
  evaluate ×2
    forward ×68
  step ×8
    forward ×24
    backward ×8
    optimizer ×8
"""

import torch
from stable_baselines3 import PPO

torch.set_num_threads(1)
model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu", n_steps=32, batch_size=16, n_epochs=2)
model.learn(64)
model.save("policy")
again = PPO.load("policy", device="cpu")
for before, after in zip(model.policy.parameters(), again.policy.parameters(), strict=True):
    print(bool((before == after).all()), [value.hex() for value in after.flatten().tolist()[:4]])
