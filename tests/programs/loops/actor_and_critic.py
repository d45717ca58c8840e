"""Learn by proximal policy optimisation: only the agent's parts are called, or methods of its own, never itself.

needs: torch
tree:
  evaluate ×3
    forward ×44
  step ×7
    forward ×17
    backward ×7
    optimizer ×7
"""

import torch
from torch import nn
from torch.distributions import Categorical


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.actor = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def value_and_action(self, state, action=None):
        choice = Categorical(logits=self.actor(state))
        action = choice.sample() if action is None else action
        return action, choice.log_prob(action), choice.entropy(), self.critic(state)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.ReLU())
        self.acts = nn.Linear(8, 2)
        self.worth = nn.Linear(8, 1)
        self.optimizer = torch.optim.RMSprop(self.parameters(), lr=0.01)

    def act(self, state):
        return Categorical(logits=self.acts(self.body(state))).sample()

    def rate(self, states, actions):
        inner = self.body(states)
        return Categorical(logits=self.acts(inner)).log_prob(actions), self.worth(inner)


torch.manual_seed(0)
agent = Agent()
optimizer = torch.optim.Adam(agent.parameters(), lr=0.01)
for _ in range(2):
    states, actions, chances, values, rewards = [], [], [], [], []
    state = torch.zeros(1, 3)
    for _ in range(8):
        with torch.no_grad():
            action, chance, _, value = agent.value_and_action(state)
        for kept, one in zip((states, actions, chances, values), (state, action, chance, value), strict=True):
            kept.append(one)
        rewards.append(float(action.item() == 1))
        state = torch.tanh(state + torch.randn(1, 3))
    returns = torch.tensor(rewards).flip(0).cumsum(0).flip(0)
    states, actions, chances = torch.cat(states), torch.cat(actions), torch.cat(chances)
    advantages = returns - torch.cat(values).flatten()
    for _ in range(2):
        _, now, entropy, value = agent.value_and_action(states, actions)
        ratio = (now - chances).exp()
        gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
        loss = -gain + 0.5 * (value.flatten() - returns).square().mean() - 0.01 * entropy.mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()
        print(loss.item().hex())

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
