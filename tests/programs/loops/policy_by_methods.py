"""Learn with a policy that has methods of its own, `act` and `rate`, but is never called.

needs: torch
tree:
  evaluate ×1
    forward ×12
  step ×3
    forward ×9
    backward ×3
    optimizer ×3
"""

import torch
from torch import nn


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.ReLU())
        self.acts = nn.Linear(8, 2)
        self.worth = nn.Linear(8, 1)
        self.optimizer = torch.optim.RMSprop(self.parameters(), lr=0.01)

    def act(self, state):
        return torch.distributions.Categorical(logits=self.acts(self.body(state))).sample()

    def rate(self, states, actions):
        inner = self.body(states)
        return torch.distributions.Categorical(logits=self.acts(inner)).log_prob(actions), self.worth(inner)


torch.manual_seed(0)
policy = Policy()
policy.train(False)
states, actions = torch.randn(6, 3), []
for state in states:
    with torch.no_grad():
        actions.append(policy.act(state))
policy.train(True)
for _ in range(3):
    chance, worth = policy.rate(states, torch.stack(actions))
    loss = (worth.flatten() - 1).square().mean() - chance.mean()
    policy.optimizer.zero_grad()
    loss.backward()
    policy.optimizer.step()
    print(loss.item().hex())
