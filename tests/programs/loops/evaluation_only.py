"""Evaluate a model over a loader: there is no optimizer at all.

needs: torch
tree:
  evaluate ×1
    data ×3
    forward ×3
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
data = torch.utils.data.TensorDataset(torch.randn(12, 4), torch.randint(3, (12,)))
right = 0
with torch.no_grad():
    for inputs, targets in torch.utils.data.DataLoader(data, batch_size=4):
        right += int((model(inputs).argmax(1) == targets).sum())
print(right)
