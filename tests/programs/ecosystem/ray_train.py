"""Train on two ranks that Ray's TorchTrainer starts, with its own loader and its wrapper around the model.

needs: ray torch
launcher: -W ignore
stderr: Ray tells of its processes
ranks: 0 0 1
cpu: 60
tree:
  epoch ×2
    step ×4
      data ×4
      forward ×4
      backward ×4
      optimizer ×4
"""

import tempfile
from pathlib import Path

import ray
import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def train(settings):
    torch.manual_seed(0)
    model = ray.train.torch.prepare_model(nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"])
    data = TensorDataset(torch.arange(32.0).reshape(8, 4) / 32)
    loader = ray.train.torch.prepare_data_loader(DataLoader(data, 2))
    for _ in range(2):
        for (batch,) in loader:
            loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ray.train.report({"loss": loss.item()})
    if ray.train.get_context().get_world_rank() == 0:
        Path(settings["told"]).write_text(loss.item().hex())


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer = ray.train.torch.TorchTrainer(
            train,
            train_loop_config={"lr": 0.1, "told": str(Path("loss.txt").absolute())},
            scaling_config=ray.train.ScalingConfig(num_workers=2, use_gpu=False),
            run_config=ray.train.RunConfig(storage_path=folder),
        )
        print(trainer.fit().error)
    ray.shutdown()
