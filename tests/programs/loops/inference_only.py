"""Answer one request after another in inference mode, without loader or optimizer.

needs: torch
tree:
  evaluate ×1
    forward ×5
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 10)).eval()
letters = torch.tensor([[1, 2, 3]])
with torch.inference_mode():
    for _ in range(5):
        following = model(letters).argmax(1, keepdim=True)
        letters = torch.cat([letters[:, 1:], following], 1)
print(letters.tolist())
