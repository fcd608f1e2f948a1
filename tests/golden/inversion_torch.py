#!/usr/bin/env python3
"""Makes inversion_torch.st: the ten losses of an inversion on two small classifiers in evaluation mode, and the gradient
of each in the images and in the multipliers' roots, by PyTorch in double precision. ReLUs are exact, and their
derivative is sigmoid(SHARPNESS x): relu(x) as a value, softplus' slope as a derivative. Run by hand with python3-torch;
tests/unit/test_inversion.c compares. usage: inversion_torch.py OUT"""
import json
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SHARPNESS, SMOOTHING, MEAN, DEVIATION = 5., .1, .4, .3


class SoftReLU(nn.Module):
    def __init__(self, slope=0.):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        smooth = F.softplus(x, beta=SHARPNESS, threshold=1e9)
        y = x.relu().detach() + smooth - smooth.detach()
        return self.slope * x + (1 - self.slope) * y


torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
CASES = [
    ("flatten | linear 7 | leaky .2 | linear 5 | relu | linear 4",
     nn.Sequential(nn.Flatten(), nn.Linear(72, 7), SoftReLU(.2), nn.Linear(7, 5), SoftReLU(), nn.Linear(5, 4))),
    ("conv 3 3 | norm batch | leaky .2 | maxpool 2 | flatten | linear 6 | tanh | dropout .3 | linear 4",
     nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), SoftReLU(.2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 6),
                   nn.Tanh(), nn.Dropout(.3), nn.Linear(6, 4))),
]
B = 5
x = (torch.rand(B, 2, 6, 6) * 1.4 - .2).float().double()  # some outside [0, 1]
y = torch.tensor([0, 1, 2, 3, 1])
a = (torch.rand(B) + .1).float().double()
tensors, metadata = {"x": x.numpy().astype("f4"), "y": y.numpy(), "a": a.numpy().astype("f4")}, {}


def terms(net, x, a):
    params = list(net.parameters())
    features = []
    hook = net[-1].register_forward_hook(lambda _, inputs, __: features.append(inputs[0]))
    z = net((x - MEAN) / DEVIATION)
    hook.remove()
    f = features[0]
    target = F.one_hot(y, 4) * (1 - SMOOTHING) + SMOOTHING / 4
    kl = F.kl_div(F.log_softmax(z, 1), target, reduction="batchmean")
    ce = F.cross_entropy(z, y)
    u = F.normalize(f, dim=1)
    cosine = ((u @ u.T).sum() - (u @ u.T).diagonal().sum()) / (B * (B - 1))
    gram = ((f @ f.T - torch.eye(B)) ** 2).mean() / (B * f.shape[1])
    tv = ((x[:, :, 1:] - x[:, :, :-1]) ** 2).sum() / B + ((x[:, :, :, 1:] - x[:, :, :, :-1]) ** 2).sum() / B
    outside = ((-x).clamp(min=0) + (x - 1).clamp(min=0)).sum() / B
    grads = torch.autograd.grad(ce, params, create_graph=True)
    norm = torch.sqrt(sum((g ** 2).sum() for g in grads) + 1e-12)
    others = z.scatter(1, y[:, None], -torch.inf).max(1)[0]
    margin = z.gather(1, y[:, None])[:, 0] - others
    grads = torch.autograd.grad((margin * a ** 2).sum(), params, create_graph=True)
    stationary = sum(((p.detach() - g) ** 2).sum() for p, g in zip(params, grads))
    return [kl, kl, ce, ce, cosine, gram, tv, outside, norm, stationary]


for i, (line, net) in enumerate(CASES):
    metadata[f"line{i}"] = line
    for name, p in net.named_parameters():
        p.data = (torch.randn_like(p) * (.3 if p.dim() == 1 else 1.5 / p[0].numel() ** .5)).float().double()
    for name, p in net.named_buffers():
        if "running" in name:
            p.data = (torch.rand_like(p) + (.5 if "var" in name else -.5)).float().double()
    net.eval()
    for name, p in net.state_dict().items():
        if "tracked" not in name:
            tensors[f"{i}/{name}"] = p.numpy().astype("f4")
    values, dx, da = [], [], []
    for t in range(10):
        X, A = x.clone().requires_grad_(), a.clone().requires_grad_()
        value = terms(net, X, A)[t]
        g = torch.autograd.grad(value, [X, A], allow_unused=True)
        values.append(value.item())
        dx.append(g[0])
        da.append(g[1] if g[1] is not None else torch.zeros_like(a))
    tensors[f"{i}/value"] = np.array(values)
    tensors[f"{i}/dx"] = torch.stack(dx).numpy()
    tensors[f"{i}/da"] = torch.stack(da).numpy()

header, body = {"__metadata__": metadata}, b""
names = {"float64": "F64", "int64": "I64", "float32": "F32"}
for name, value in sorted(tensors.items(), key=lambda t: (-t[1].dtype.itemsize, t[0])):
    header[name] = {"dtype": names[str(value.dtype)], "shape": list(value.shape), "data_offsets": [len(body), len(body) + value.nbytes]}
    body += np.ascontiguousarray(value).tobytes()
text = json.dumps(header).encode()
text += b" " * (-(8 + len(text)) % 64)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + body)
