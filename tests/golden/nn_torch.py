#!/usr/bin/env python3
"""Makes nn_torch.st: small networks with every element of the architecture line, as PyTorch (double
precision) sees them: starting weights, logits in evaluation mode, weights after ten full-batch steps in
training mode. Run by hand with python3-torch; tests/unit/test_train.c compares. usage: nn_torch.py OUT"""
import copy
import json
import os
import struct
import sys

import numpy as np
import torch
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from torch_modules import Cls, Head, Patch, Pos, Tempered, encoder


torch.manual_seed(0)
CASES = [
    ("flatten | linear 6 | relu | linear 4",
     nn.Sequential(nn.Flatten(), nn.Linear(128, 6), nn.ReLU(), nn.Linear(6, 4))),
    ("conv 4 3 | relu | maxpool 2 | conv 5 2 s 2 p 1 nobias | leaky .2 | avgpool 2 | flatten | linear 4",
     nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2, 2, 1, bias=False),
                   nn.LeakyReLU(.2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5, 4))),
    ("deconv 3 4 s 2 p 1 | tanh | conv 4 3 p 0 s 3 | norm group 2 | gelu | flatten | linear 6 nobias | norm layer | "
     "sigmoid | linear 4",
     nn.Sequential(nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.Tanh(), nn.Conv2d(3, 4, 3, 3, 0), nn.GroupNorm(2, 4), nn.GELU(),
                   nn.Flatten(), nn.Linear(100, 6, bias=False), nn.LayerNorm(6), nn.Sigmoid(), nn.Linear(6, 4))),
    # No bias before a batch norm, which takes it away: its gradient would be rounding noise, and Adam would follow it.
    ("conv 3 3 s 2 nobias | norm batch | norm layer | tempered 2 1.5 1 | flatten | linear 6 nobias | norm batch | relu | "
     "linear 4",
     nn.Sequential(nn.Conv2d(2, 3, 3, 2, 1, bias=False), nn.BatchNorm2d(3), nn.LayerNorm([3, 4, 4]), Tempered(), nn.Flatten(),
                   nn.Linear(48, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))),
    ("patch 4 8 | cls | pos | encoder 2 8 | encoder 4 6 post | norm layer | linear 6 | gelu | head | linear 4",
     nn.Sequential(Patch(2, 4, 8), Cls(8), Pos(5, 8), encoder(8, 2, 8, True), encoder(8, 4, 6, False), nn.LayerNorm(8),
                   nn.Linear(8, 6), nn.GELU(), Head(), nn.Linear(6, 4))),
]
WEIGHTS = [.5, 1, 1.5, 2]  # of the classes, with label smoothing
MEAN, DEVIATION = .4, .3
OPTIMISERS = {
    "adam": (0, lambda p: torch.optim.Adam(p, 1e-2, weight_decay=1e-2)),
    "adamw": (0, lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=.1)),
    "sgd": (.2, lambda p: torch.optim.SGD(p, .05, .9, weight_decay=1e-2, nesterov=True)),
}

rng = np.random.RandomState(1)
x = rng.randint(0, 256, (12, 2, 8, 8)).astype("u1")
y = rng.randint(0, 4, 12).astype("i8")
tensors, metadata = {"x": x, "y": y}, {}
X = (torch.tensor(x, dtype=torch.float64) / 255 - MEAN) / DEVIATION
Y = torch.tensor(y)
for i, (line, net) in enumerate(CASES):
    metadata[f"line{i}"] = line
    for name, p in net.named_parameters():
        if p.dim() == 1 or line.split(" | ")[int(name.split(".")[0])] == "norm layer":  # not the trivial gains and offsets
            p.data = torch.randn_like(p) * .3 + .5
    net = net.to(torch.float64)
    keep = lambda state, where: tensors.update(
        {f"{i}/{where}/{k}": v.detach().numpy().astype("f4") for k, v in state.items() if "num_batches" not in k})
    net.load_state_dict({k: v.float().double() if v.is_floating_point() else v for k, v in net.state_dict().items()})
    keep(net.state_dict(), "start")
    net.eval()
    tensors[f"{i}/logits"] = net(X).detach().numpy().astype("f4")
    for name, (smoothing, make) in OPTIMISERS.items():
        n = copy.deepcopy(net).train()
        optimiser = make(n.parameters())
        weights = torch.tensor(WEIGHTS, dtype=torch.float64) if smoothing else None
        for _ in range(10):
            optimiser.zero_grad()
            nn.functional.cross_entropy(n(X), Y, weights, label_smoothing=smoothing).backward()
            optimiser.step()
        keep(n.state_dict(), name)

header, body = {"__metadata__": metadata}, b""
names = {"uint8": "U8", "int64": "I64", "float32": "F32"}
for name, value in sorted(tensors.items(), key=lambda t: (-t[1].dtype.itemsize, t[0])):
    header[name] = {"dtype": names[str(value.dtype)], "shape": list(value.shape),
                    "data_offsets": [len(body), len(body) + value.nbytes]}
    body += np.ascontiguousarray(value).tobytes()
text = json.dumps(header).encode()
text += b" " * (-(8 + len(text)) % 64)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + body)
