#!/usr/bin/env python3
"""Makes engine_torch.st: a tiny mlp, cnn and vit as PyTorch (double precision, its own automatic
differentiation) sees them: weights, logits, the gradients of the summed loss in the weights and the images,
|theta - sum_i lambda_i grad_theta margin_i|^2 with its gradients in the images and in lambda, and the weights
after ten full-batch steps of Adam. Run by hand with python3-torch; tests/unit/test_golden.c compares.
usage: engine_torch.py OUT"""
import json
import os
import struct
import sys

import numpy as np
import torch
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from torch_modules import Cls, Head, Patch, Pos, encoder


torch.manual_seed(3)
NETS = {
    "flatten | linear 9 | gelu | linear 7 | tanh | linear 3":
        nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.GELU(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3)),
    "conv 4 3 | relu | conv 5 3 | tanh | maxpool 2 | conv 6 3 | gelu | maxpool 2 | flatten | linear 7 | relu | linear 3":
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2),
                      nn.Conv2d(5, 6, 3, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 7), nn.ReLU(),
                      nn.Linear(7, 3)),
    "patch 4 8 | cls | pos | encoder 2 12 | encoder 2 12 | norm layer | head | linear 5 | linear 3":
        nn.Sequential(Patch(1, 4, 8), Cls(8, .3), Pos(5, 8, .3), encoder(8, 2, 12), encoder(8, 2, 12), nn.LayerNorm(8), Head(), nn.Linear(8, 5),
                      nn.Linear(5, 3)),
}
EXAMPLES = 11  # more than a shard, and not a multiple of one

rng = np.random.RandomState(4)
x = rng.randn(EXAMPLES, 1, 8, 8).astype("f4")
y = rng.randint(0, 3, EXAMPLES).astype("i8")
multiplier = rng.uniform(.1, 1, (EXAMPLES, 1)).astype("f4")
tensors, metadata = {"x": x, "y": y, "lambda": multiplier}, {}
Y = torch.tensor(y)


def keep(name, value):
    tensors[name] = value.detach().numpy().astype("f4")


for i, (line, net) in enumerate(NETS.items()):
    metadata[f"line{i}"] = line
    for p in net.parameters():
        if p.dim() == 1:  # gains and offsets that are not the trivial ones
            p.data = torch.randn_like(p) * .3 + .5
    net = net.double().train()  # no dropout anywhere; in evaluation mode encoders take another way
    for p in net.parameters():
        p.data = p.data.float().double()  # just what the file will hold
    names, theta = zip(*net.named_parameters())
    X = torch.tensor(x).double().requires_grad_()
    L = torch.tensor(multiplier).double().requires_grad_()

    z = net(X)
    keep(f"{i}/logits", z)
    grads = torch.autograd.grad(nn.functional.cross_entropy(z, Y, reduction="sum"), (X, *theta))
    keep(f"{i}/loss/x", grads[0])
    for name, p, d in zip(names, theta, grads[1:]):
        keep(f"{i}/start/{name}", p)
        keep(f"{i}/loss/{name}", d)

    z = net(X)
    others = z.masked_fill(nn.functional.one_hot(Y, 3).bool(), -np.inf)
    margin = z.gather(1, Y[:, None])[:, 0] - others.max(1).values
    grads = torch.autograd.grad((L[:, 0] * margin).sum(), theta, create_graph=True)
    residual = sum(((p.detach() - d) ** 2).sum() for p, d in zip(theta, grads))
    dx, dl = torch.autograd.grad(residual, (X, L))
    keep(f"{i}/residual", residual.reshape(1))
    keep(f"{i}/residual/x", dx)
    keep(f"{i}/residual/lambda", dl)

    # With L2: the keys' offsets have no gradient of their own, and Adam would follow its rounding errors.
    optimiser = torch.optim.Adam(net.parameters(), 1e-2, weight_decay=1e-2)
    for _ in range(10):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(X), Y).backward()
        optimiser.step()
    for name, p in zip(names, theta):
        keep(f"{i}/adam/{name}", p)

header, body = {"__metadata__": metadata}, b""
dtypes = {"int64": "I64", "float32": "F32"}
for name, value in sorted(tensors.items(), key=lambda t: (-t[1].dtype.itemsize, t[0])):
    header[name] = {"dtype": dtypes[str(value.dtype)], "shape": list(value.shape),
                    "data_offsets": [len(body), len(body) + value.nbytes]}
    body += np.ascontiguousarray(value).tobytes()
text = json.dumps(header).encode()
text += b" " * (-(8 + len(text)) % 64)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + body)
