#!/usr/bin/env python3
"""PyTorch at the work that networks.c does, with the same questions and answers: "train NET T", "evaluate NET T",
"gradient NET T" -> images/s. Images are floats in one tensor already, and batches are slices of it: nothing but
PyTorch's own work is timed. The first line it prints is PyTorch's version."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import torch
from torch.nn.functional import cross_entropy

from interop import networks

TRAIN, EVALUATE = 128, 512  # images of a batch, as in networks.c
IMAGES = {"cnn": 1024, "mlp": 12800, "vit": 1536}
nets = {}


class Net:
    def __init__(self, name):
        torch.manual_seed(0)
        self.net = networks()[name]
        self.optimiser = torch.optim.Adam(self.net.parameters(), 1e-3)
        self.x = torch.rand(IMAGES[name], 1, 28, 28)
        self.y = torch.arange(IMAGES[name]) % 10

    def batches(self, n):
        return zip(self.x.split(n), self.y.split(n))

    def train(self):
        self.net.train().requires_grad_(True)
        for x, y in self.batches(TRAIN):
            self.optimiser.zero_grad(set_to_none=True)
            cross_entropy(self.net(x), y).backward()
            self.optimiser.step()

    def evaluate(self):
        self.net.eval()
        with torch.inference_mode():
            for x, _ in self.batches(EVALUATE):
                self.net(x)

    def gradient(self):
        self.net.eval().requires_grad_(False)
        for x, y in self.batches(TRAIN):
            x = x.detach().requires_grad_()
            torch.autograd.grad(cross_entropy(self.net(x), y, reduction="sum"), x)


print(torch.__version__, flush=True)
torch.set_flush_denormal(True)  # as assay does
warm = set()
for line in sys.stdin:
    task, name, threads = line.split()
    torch.set_num_threads(int(threads))
    if name not in nets:
        nets[name] = Net(name)
    run = getattr(nets[name], task)
    if line not in warm:
        run()
        warm.add(line)
    start = time.perf_counter()
    run()
    print(f"{IMAGES[name] / (time.perf_counter() - start):.6g}", flush=True)
