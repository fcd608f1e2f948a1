#!/usr/bin/env python3
"""How fast the networks run: beside two-thread sgemm, beside the products limit, beside PyTorch where it is there.

    /usr/bin/python3 tests/bench/bench_networks.py [--rounds N] [--pairs N] [--memory]

Machines differ and are shared, so every figure is a ratio within one round: sgemm, the limit, assay and PyTorch take
turns, and medians over the rounds are printed with the least and the greatest. build/bench/networks and
torch_peer.py answer the questions. TORCH_PYTHON names another interpreter with another PyTorch to stand beside.
--memory trains cnn on 60 000 drawings for an epoch and tells the peak.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TASKS = [("train", "cnn"), ("train", "mlp"), ("train", "vit"), ("evaluate", "cnn"), ("gradient", "cnn")]


class Server:
    def __init__(self, *command, greets=False):
        # OpenBLAS 0.3.21 does not know every processor with AVX-512 and would pick slower kernels.
        env = dict(os.environ)
        if "avx512f" in open("/proc/cpuinfo").read():
            env["OPENBLAS_CORETYPE"] = "SkylakeX"
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        self.greeting = self.process.stdout.readline().strip() if greets else ""

    def ask(self, *question):
        self.process.stdin.write(" ".join(str(q) for q in question) + "\n")
        self.process.stdin.flush()
        return [float(w) for w in self.process.stdout.readline().split()]


def peers():
    found = []
    for python in ["/usr/bin/python3", os.environ.get("TORCH_PYTHON")]:
        if python:
            peer = Server(python, os.path.join(HERE, "torch_peer.py"), greets=True)
            if peer.greeting:
                found.append(peer)
    return found


def spread(values, form="{:.0f}"):
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{form} ({form} to {form})".format(median, least, most)


def ratios(a, b, form="{:.2f}"):
    return spread([x / y for x, y in zip(a, b)], form)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=15, help="of one thread and two")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", action="store_true")
    o = parser.parse_args()
    threads = o.threads
    own, others = Server(os.path.join(HERE, "../../build/bench/networks")), peers()
    flop = {t: own.ask("flop", *t)[0] for t in TASKS}
    for task in TASKS:  # buffers, primitives and the choice of the fastest products
        for peer in [own] + others:
            peer.ask(*task, threads)
        own.ask("products", *task, threads)

    sgemm, speed = [], {t: {"own": [], "limit": [], "winograd": [], **{p: [] for p in others}} for t in TASKS}
    for _ in range(o.rounds):
        for task in TASKS:
            s = speed[task]
            before = own.ask("sgemm", threads)[0]
            limit, winograd = own.ask("products", *task, threads)
            s["own"] += own.ask(*task, threads)
            s["limit"].append(limit)
            s["winograd"].append(winograd)
            for peer in others:
                s[peer] += peer.ask(*task, threads)
            sgemm.append(max(before, own.ask("sgemm", threads)[0]))
    print(f"sgemm 2048, {threads} threads: {spread(sgemm)} GFLOP/s; {o.rounds} rounds; median (least to greatest)")
    for i, (task, net) in enumerate(TASKS):
        s = speed[task, net]
        beside = sgemm[i::len(TASKS)]
        print(f"{task} {net}: {spread(s['own'])} images/s, {flop[task, net] / 1e6:.1f} MFLOP each")
        print(f"    {ratios([v * flop[task, net] / 1e9 for v in s['own']], beside)} of sgemm")
        print(f"    {ratios(s['own'], s['limit'])} of the products limit, {spread(s['limit'])} images/s by the direct method;"
              f" {ratios(s['own'], s['winograd'])} where Winograd is allowed")
        for peer in others:
            print(f"    {ratios(s['own'], s[peer], '{:.1f}')} times PyTorch {peer.greeting}, {spread(s[peer])} images/s")
    if not others:
        print("PyTorch is not installed (Debian: python3-torch): not compared")

    if threads > 1 and o.pairs:
        gain, base = [], []
        own.ask("train", "cnn", 1)
        for _ in range(o.pairs):
            one, two = own.ask("train", "cnn", 1)[0], own.ask("train", "cnn", 2)[0]
            gain.append(two / one)
            base.append(own.ask("sgemm", 2)[0] / own.ask("sgemm", 1)[0])
        print(f"one thread to two, {o.pairs} pairs: train cnn {spread(gain, '{:.2f}')}, sgemm {spread(base, '{:.2f}')}, ratio {ratios(gain, base)}")

    if o.memory:
        with tempfile.TemporaryDirectory() as place:
            subprocess.run(["fetch", "synthetic", "--count", "60000", "-q", "-o", f"{place}/set.st"], check=True)
            subprocess.run(["trainclf", "-q", "-i", f"{place}/set.st", "--arch", "cnn", "--epochs", "1", "-o", f"{place}/cnn.st"], check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"largest program so far, with trainclf --arch cnn on 60 000 images: {peak / 1024:.0f} MiB at its peak")


if __name__ == "__main__":
    sys.exit(main())
