"""Evaluate a model over a loader, and then answer requests in inference mode: there is no optimizer at all.

needs: torch
tree:
  evaluate ×2
    data ×3
    forward ×8
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 10)).eval()
data = torch.utils.data.TensorDataset(torch.randint(10, (12, 3)), torch.randint(10, (12,)))
right = 0
with torch.no_grad():
    for inputs, targets in torch.utils.data.DataLoader(data, batch_size=4):
        right += int((model(inputs).argmax(1) == targets).sum())
print(right)

letters = torch.tensor([[1, 2, 3]])
with torch.inference_mode():
    for _ in range(5):
        following = model(letters).argmax(1, keepdim=True)
        letters = torch.cat([letters[:, 1:], following], 1)
print(letters.tolist())
