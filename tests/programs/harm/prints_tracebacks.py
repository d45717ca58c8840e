"""Print the traceback of what fails in a forward, a loss, a backward pass, a step and a fetch, and in processes.

needs: torch tomllib
verdict: exception
ranks: 0 0
tree:
  forward ×1, 1 error
"""

# Python 3.10, which has no tomllib, keeps the functions of ours in a traceback.
import multiprocessing
import traceback

import torch
from torch import nn


class Layer(nn.Linear):
    def forward(self, batch):
        if batch.sum() == 0:
            raise ValueError("a batch of zeros")
        return super().forward(batch)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return 2 * value

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("no gradient")


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, at):
        if at == 4:
            raise OSError("a file that is cut off")
        return torch.full((4,), float(at))


def train():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Layer(4, 1)))
    model[0].weight.data.zero_()
    model[0].bias.data.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = iter(torch.utils.data.DataLoader(Data()))
    for at in range(5):
        try:
            batch = next(batches)
            model[0].bias.data.fill_(float(at))
            loss = model(batch).sum()
            if at == 1:
                loss = Double.apply(loss)
            if at == 2:
                raise LookupError("no label")
            loss.backward()
            if at == 3:
                optimizer.param_groups[0]["lr"] = "much"
            optimizer.step()
        except Exception:
            traceback.print_exc()


def fail(_):
    nn.Sequential(Layer(4, 1))(torch.zeros(1, 4))


if __name__ == "__main__":
    torch.set_num_threads(1)
    train()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            pool.map(fail, [0])
        except ValueError:
            traceback.print_exc()
    try:
        torch.multiprocessing.start_processes(fail, start_method="fork")
    except torch.multiprocessing.ProcessRaisedException as error:
        print(error)
