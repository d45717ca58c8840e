"""Train a small ResNet of timm with its loader, mixup, optimizer, schedule and saver, and validate its average.

needs: timm torchvision
launcher: -W ignore
tree:
  epoch ×2
    step ×6
      data ×6
      forward ×6
      backward ×6
      optimizer ×6
    evaluate ×2
      data ×4
      forward (ResNet) ×4
"""

import torch
from timm import create_model
from timm.data import Mixup, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import CheckpointSaver, ModelEmaV3, NativeScaler, accuracy, random_seed
from torchvision.datasets import FakeData

random_seed(0)
model = create_model("test_resnet", pretrained=False, num_classes=4)
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3)
schedule = CosineLRScheduler(optimizer, t_initial=2)
average = ModelEmaV3(model, decay=0.9)
scaler = NativeScaler("cpu")
saver = CheckpointSaver(model, optimizer, model_ema=average, checkpoint_dir=".", recovery_dir=".")
mixup = Mixup(mixup_alpha=0.2, num_classes=4)
criterion = SoftTargetCrossEntropy()
parts = {"input_size": (3, 64, 64), "batch_size": 4, "use_prefetcher": False, "num_workers": 0}
training = create_loader(FakeData(12, (3, 80, 80), 4), is_training=True, **parts)
validation = create_loader(FakeData(8, (3, 80, 80), 4, random_offset=100), is_training=False, **parts)
for epoch in range(2):
    model.train()
    for inputs, targets in training:
        inputs, targets = mixup(inputs, targets)
        loss = criterion(model(inputs), targets)
        optimizer.zero_grad()
        scaler(loss, optimizer, clip_grad=1.0, parameters=model.parameters())
        average.update(model)
        print(epoch, loss.item().hex())
    average.module.eval()
    right = 0.0
    with torch.no_grad():
        for inputs, targets in validation:
            right += accuracy(average.module(inputs), targets)[0].item()
    schedule.step(epoch + 1)
    saver.save_checkpoint(epoch, right)
    print(epoch, "right:", right)
