"""Train a small network on scikit-learn's digits, in one process or in several.

    python train_digits.py
    torchrun --standalone --nproc-per-node 2 train_digits.py

Started again with the same --checkpoint, it goes on where it was stopped.
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from gradbook import data, fit, seed_everything


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Tell for each digit whether it was read right."""
    return logits.argmax(dim=1) == labels


def make_model() -> nn.Module:
    """Build the network: two convolutions, then a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten()),
        *(nn.Dropout(0.3), nn.Linear(32 * 4 * 4, 10)),
    )


def main() -> None:
    """Train, and print how many of the held-out digits are read right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--checkpoint", help="file to write after each epoch, and to go on from")
    options = parser.parse_args()

    several = "WORLD_SIZE" in os.environ  # torchrun sets it
    if several:
        dist.init_process_group("gloo")  # "nccl" on GPUs
    rank, world = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)

    seed_everything(0)
    train_x, train_y, test_x, test_y = data.digits()
    train = TensorDataset(train_x, train_y)
    sampler: DistributedSampler[object] | None = DistributedSampler(train) if several else None
    loader = DataLoader(train, batch_size=max(32 // world, 1), shuffle=not several, sampler=sampler)
    held_out = DataLoader(TensorDataset(test_x[rank::world], test_y[rank::world]), batch_size=256)

    model = make_model()
    if several:
        model = DistributedDataParallel(model)
        torch.manual_seed(rank)  # from here on, each process drops out other units
    history = fit(
        model,
        loader,
        nn.CrossEntropyLoss(),
        torch.optim.AdamW(model.parameters(), lr=3e-3),
        epochs=options.epochs,
        val_loader=held_out,
        metrics={"accuracy": accuracy},
        checkpoint=options.checkpoint,
        resume=options.checkpoint is not None,
    )
    if rank == 0:
        print(history)
        print(f"accuracy on the held-out digits: {history.rows[-1].metrics['accuracy']:.1%}")
    if several:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
