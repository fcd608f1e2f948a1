#!/usr/bin/python3
"""A step of the direct attack beside PyTorch's automatic differentiation and sgemm, in one run.

    tests/bench/bench_kkt.py [--rounds N] [--threads N] [--json FILE]

Each round asks build/bench/kkt and PyTorch in turn for the same step: 784-1000-10 in the span of 50 images, 200 candidates,
float32, loss and update as in kkt.h. Ratios are taken within a round; printed are medians with the least and the most. PyTorch
is that of the interpreter that runs this; on a machine that is busy with other work its threads wait for each other, so compare on an
idle one. Exit status 0 whatever the figures are.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
IMAGES, CANDIDATES, WIDTH, CLASSES, PIXELS = 50, 200, 1000, 10, 784


class SoftRelu(torch.autograd.Function):
    """relu, with the declared derivative sigmoid(sharpness a), which is differentiated again."""

    @staticmethod
    def forward(context, a, sharpness):
        context.save_for_backward(a)
        context.sharpness = sharpness
        return a.clamp_min(0)

    @staticmethod
    def backward(context, dy):
        return dy * torch.sigmoid(context.sharpness * context.saved_tensors[0]), None


class Adam:
    """One second moment for a row where `shared`."""

    def __init__(self, p, shared):
        self.p, self.shared, self.t = p, shared, 0
        self.m, self.v = torch.zeros_like(p), torch.zeros(len(p), 1) if shared else torch.zeros_like(p)

    def step(self, g, lr):
        self.t += 1
        self.m.mul_(.9).add_(g, alpha=.1)
        square = (g * g).mean(1, keepdim=True) if self.shared else g * g
        self.v.mul_(.999).add_(square, alpha=.001)
        self.p.data.sub_(lr / (1 - .9 ** self.t) * self.m / ((self.v / (1 - .999 ** self.t)).sqrt() + 1e-12))


class Attack:
    def __init__(self):
        torch.manual_seed(0)
        self.b = (torch.randn(WIDTH, IMAGES) / 28).requires_grad_()
        self.w = (torch.randn(CLASSES, WIDTH) / 32).requires_grad_()
        self.basis, self.mean = torch.linalg.qr(torch.randn(PIXELS, IMAGES))[0], torch.rand(1, PIXELS)
        self.squares = float((self.b ** 2).sum() + (self.w ** 2).sum())
        self.scale = self.squares / (2 * 6 * CANDIDATES)
        own = torch.arange(CANDIDATES) * CLASSES // CANDIDATES
        self.sign = -torch.ones(CANDIDATES, CLASSES)
        self.sign[torch.arange(CANDIDATES), own] = 1
        self.x = (.1 * torch.randn(CANDIDATES, IMAGES)).requires_grad_()
        self.l = torch.where(self.sign > 0, torch.tensor(1.), torch.tensor(-.1)).requires_grad_()
        self.adam = Adam(self.x, True), Adam(self.l, False)

    def step(self, sharpness):
        z = SoftRelu.apply(self.x @ self.b.T, sharpness) @ self.w.T
        g = torch.autograd.grad(((self.scale * self.l) * z).sum(), (self.b, self.w), create_graph=True)
        residual = (((self.b - g[0]) ** 2).sum() + ((self.w - g[1]) ** 2).sum()) / self.squares
        image = self.x @ self.basis.T + self.mean
        outside = (image - 1).clamp_min(0).square().sum() + (-image).clamp_min(0).square().sum()
        loss = residual + 1e-3 * outside + 1e-2 * (-self.sign * self.l).clamp_min(0).square().sum()
        dx, dl = torch.autograd.grad(loss, (self.x, self.l))
        dx[:, -1] = 0
        self.adam[0].step(dx, .1)
        self.adam[1].step(dl, .01)

    def milliseconds(self, threads, steps=100):
        torch.set_num_threads(threads)
        for _ in range(10):
            self.step(100.)
        start = time.perf_counter()
        for _ in range(steps):
            self.step(100.)
        return 1e3 * (time.perf_counter() - start) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json")
    options = parser.parse_args()
    environment = dict(os.environ)
    if "avx512f" in open("/proc/cpuinfo").read():  # OpenBLAS does not know every processor that has it
        environment.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    bench = subprocess.Popen([os.path.join(ROOT, "build/bench/kkt")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env=environment)

    def ask(question):
        bench.stdin.write(question + "\n")
        bench.stdin.flush()
        return float(bench.stdout.readline())

    torch.set_flush_denormal(True)  # as assay does
    attack, flop, figures = Attack(), ask("flop"), {"step": [], "torch": [], "ratio": [], "of_sgemm": []}
    for _ in range(options.rounds):
        step, sgemm, peer = ask(f"step {options.threads}"), ask(f"sgemm {options.threads}"), attack.milliseconds(options.threads)
        for key, value in (("step", step), ("torch", peer), ("ratio", peer / step), ("of_sgemm", flop / (step / 1e3) / sgemm)):
            figures[key].append(value)
    bench.stdin.close()
    bench.wait()
    for key, text in (("step", "assay, ms a step"), ("torch", f"PyTorch {torch.__version__}, ms a step"), ("ratio", "times PyTorch"),
                      ("of_sgemm", "products, share of sgemm's rate")):
        v = figures[key]
        print(f"{text:36} {statistics.median(v):8.3f} ({min(v):.3f} to {max(v):.3f})")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file)


if __name__ == "__main__":
    main()
