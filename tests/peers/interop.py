#!/usr/bin/env python3
"""Our programs beside PyTorch (Debian's python3-torch), by what they write and read (TAP).

For mlp, cnn and vit: a model file loads into torch.nn.Sequential by name and gives the same logits, losses and
predictions; a step of FGSM in L2 gives the gradient in the image; a state dict saved by PyTorch imports and predicts
the same; one step of plain gradient descent gives the gradient in the weights; ten full-batch steps of Adam lead to
the same weights. Needs bin/ on PATH.
"""
import copy
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import types

import numpy as np
import torch
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from torch_modules import Cls, Head, Patch, Pos, encoder

TYPES = {"U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
# PyTorch sums in another order. Logits and gradients agree to some ulps of their largest part. Adam divides a gradient by
# its own size, so where that is rounding noise the step is noise as well: its measure is how far PyTorch's single
# precision goes from its own double precision in the same ten steps.
LOGITS, GRADIENT, ADAM = 2e-5, 2e-5, 3
N = 64


def read(path):
    with open(path, "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
    meta = head.pop("__metadata__", {})
    return {k: torch.from_numpy(np.frombuffer(data[slice(*v["data_offsets"])], TYPES[v["dtype"]]).reshape(v["shape"]).copy())
            for k, v in head.items()}, json.loads(meta.get("assay.record", "{}"))


def write(path, state):
    """A plain safetensors file, as other software saves it."""
    head, body = {}, b""
    for name, value in state.items():
        dtype = "F32" if value.is_floating_point() else "I64"
        raw = value.detach().numpy().astype(TYPES[dtype]).tobytes()
        head[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def networks():
    return {
        "mlp": nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)),
        "cnn": nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Dropout(.1), nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(.1),
                             nn.Flatten(), nn.Linear(6272, 256), nn.ReLU(), nn.Dropout(.2), nn.Linear(256, 10)),
        "vit": nn.Sequential(Patch(1, 7, 64), Cls(64), Pos(17, 64), encoder(64, 4, 256), encoder(64, 4, 256), nn.LayerNorm(64), Head(),
                             nn.Linear(64, 64), nn.Linear(64, 10)),
    }


# Dropout draws differ, so that training is compared without it.
LINES = {"mlp": "mlp", "vit": "vit",
         "cnn": "conv 32 3 | relu | conv 64 3 | relu | maxpool 2 | dropout 0 | conv 128 3 | relu | maxpool 2 | dropout 0 | "
                "flatten | linear 256 | relu | dropout 0 | linear 10"}
number = failed = 0


def check(name, good, words=""):
    global number, failed
    number += 1
    failed += not good
    print(("ok" if good else "not ok"), number, name)
    if words:
        print("#", words)


def run(*arguments):
    subprocess.run([str(a) for a in arguments], check=True, stderr=subprocess.DEVNULL)


def weights(file):
    return {k: v for k, v in file.items() if not k.startswith("assay.")}


def distance(ours, theirs):
    """Largest difference beside the largest value, over all tensors."""
    return max(((ours[k] - theirs[k]).abs().max() / theirs[k].abs().max().clamp_min(1e-12)).item() for k in theirs)


def stray(ours, theirs):
    """How far the movement of a tensor is from another, beside its length; the worst tensor."""
    return max(((ours[k].double() - theirs[k].double()).norm() / theirs[k].double().norm().clamp_min(1e-12)).item() for k in theirs)


def compare(arch, net, x, y, place):
    data, model = f"{place}/train.st", f"{place}/{arch}.st"
    train = lambda out, *more: run("trainclf", "-q", "-i", data, "--batch", N, "--arch", *more, "-o", out)

    # Somewhat trained, as presets are.
    train(model, arch, "--epochs", 3)
    file, record = read(model)
    missing = net.load_state_dict(weights(file), strict=True)
    check(f"{arch}: its file loads by name", not missing.missing_keys and not missing.unexpected_keys)
    X = (x - file["assay.mean"].float()) / file["assay.std"].float()
    net.eval()
    logits = net(X)
    loss = nn.functional.cross_entropy(logits, y)
    run("attack", "-q", model, "-i", data, "--method", "clean", "-o", f"{place}/clean.st")
    clean, record = read(f"{place}/clean.st")
    d = ((clean["clean.logits"] - logits).abs().max() / logits.abs().max()).item()
    check(f"{arch}: the same logits", d < LOGITS, f"{d:.1e} of the largest")
    ours = record["metrics"]["clean"]
    d = abs(ours["loss"] - loss.item())
    check(f"{arch}: the same loss", d < LOGITS * max(1, loss.item()), f"{ours['loss']:.7f} and {loss.item():.7f}")
    check(f"{arch}: the same accuracy", ours["accuracy"] == (logits.argmax(1) == y).double().mean().item())

    # One step along the gradient shows its direction. These images are all taken rightly and far from 0 and 1, so that
    # none is passed over and none is cut off.
    grey = .25 + .5 * x
    exact = copy.deepcopy(net).double()
    X = (grey.double() - file["assay.mean"].double()) / file["assay.std"].double()
    X.requires_grad_()
    z = exact(X)
    slope, = torch.autograd.grad(nn.functional.cross_entropy(z, z.argmax(1), reduction="sum"), X)
    write(f"{place}/grey.st", {"x": grey, "y": z.argmax(1)})
    run("attack", "-q", model, "-i", f"{place}/grey.st", "--method", "fgsm", "--norm", "l2", "--eps", .2, "--keep", "all", "-o", f"{place}/fgsm.st")
    step = (read(f"{place}/fgsm.st")[0]["fgsm.eps_0p2.x"] - grey).double()
    unit = lambda v: v.flatten(1) / v.flatten(1).norm(dim=1, keepdim=True).clamp_min(1e-30)
    d = ((unit(step) - unit(slope)).abs().amax(1) / unit(slope).abs().amax(1)).max().item()
    check(f"{arch}: the same gradient in the image", d < GRADIENT, f"{d:.1e} of each image's largest")

    # The other way round, with weights that PyTorch made.
    fresh = networks()[arch]
    write(f"{place}/state.st", fresh.state_dict())
    run("trainclf", "-q", "--import", f"{place}/state.st", "--arch", arch, "-i", data, "-o", f"{place}/imported.st")
    imported, _ = read(f"{place}/imported.st")
    run("attack", "-q", f"{place}/imported.st", "-i", data, "--method", "clean", "-o", f"{place}/clean.st")
    clean, _ = read(f"{place}/clean.st")
    fresh.eval()
    theirs = fresh((x - imported["assay.mean"].float()) / imported["assay.std"].float())
    d = ((clean["clean.logits"] - theirs).abs().max() / theirs.abs().max()).item()
    check(f"{arch}: a state dict saved by PyTorch predicts the same", d < LOGITS, f"{d:.1e} of the largest logit")

    # Where training starts: a rate too small to move any weight shows it.
    train(f"{place}/start.st", LINES[arch], "--epochs", 1, "--optimiser", "sgd", "--momentum", 0, "--lr", 1e-12)
    start, _ = read(f"{place}/start.st")
    X = (x - start["assay.mean"].float()) / start["assay.std"].float()

    def torch_steps(make, steps, dtype=torch.float32):
        n = networks()[arch]
        n.load_state_dict(weights(start))
        n = n.to(dtype)
        for part in n.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0
        n.train()
        optimiser = make(n.parameters())
        for _ in range(steps):
            optimiser.zero_grad()
            nn.functional.cross_entropy(n(X.to(dtype)), y).backward()
            optimiser.step()
        return {k: v.detach() for k, v in n.state_dict().items()}

    def moved(state):
        return {k: state[k] - start[k] for k in weights(start)}

    # A rate of 2^7 makes the step large beside the weights, so that it can be read off their difference.
    train(f"{place}/step.st", LINES[arch], "--epochs", 1, "--optimiser", "sgd", "--momentum", 0, "--lr", 128)
    d = distance(moved(read(f"{place}/step.st")[0]), moved(torch_steps(lambda p: torch.optim.SGD(p, 128), 1)))
    check(f"{arch}: the same gradient", d < GRADIENT, f"{d:.1e} of each tensor's largest")

    train(f"{place}/adam.st", LINES[arch], "--epochs", 10, "--optimiser", "adam", "--lr", 1e-3)
    adam = lambda p: torch.optim.Adam(p, 1e-3)
    exact = moved(torch_steps(adam, 10, torch.float64))
    ours, theirs = stray(moved(read(f"{place}/adam.st")[0]), exact), stray(moved(torch_steps(adam, 10)), exact)
    check(f"{arch}: ten steps of Adam", ours < ADAM * theirs, f"{ours:.1e} from double precision, PyTorch's single {theirs:.1e}")


def readme(x, place):
    """The README's own code, with a reader in the place of the safetensors package where that is missing."""
    sys.modules["safetensors"] = types.ModuleType("safetensors")
    sys.modules["safetensors.torch"] = types.ModuleType("safetensors.torch")
    sys.modules["safetensors.torch"].load_file = lambda path: read(path)[0]
    with open(os.path.join(os.path.dirname(__file__), "../../README.md")) as f:
        mlp, vit = re.findall(r"```python\n(.*?)```", f.read(), re.S)
    os.chdir(place)
    names = {"images": x}
    exec(mlp, names)
    check("README: the mlp's code runs", names["logits"].shape == (N, 10) and bool(names["logits"].isfinite().all()))
    exec(vit, names)
    names["vit"].load_state_dict(weights(read("vit.st")[0]), strict=True)
    check("README: a vit file loads into its module", True)


def main():
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as place:
        run("fetch", "-q", "synthetic", "--count", N, "-o", f"{place}/train.st")
        data, _ = read(f"{place}/train.st")
        for arch, net in networks().items():
            compare(arch, net, data["x"].float() / 255, data["y"], place)
        readme(data["x"].float() / 255, place)
    print(f"1..{number}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
