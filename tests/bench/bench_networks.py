#!/usr/bin/python3
"""assay's speed beside sgemm, beside the products limit and beside PyTorch, in one run.

    tests/bench/bench_networks.py [--rounds N] [--pairs N] [--threads N] [--only WORDS] [--json FILE]

Each round asks every program in turn (build/bench/networks; PyTorch by /usr/bin/python3 where it has it, and by
$TORCH_PYTHON) the same questions, so that a machine that is slow for a while is slow for all. A share or ratio is
taken within a round; printed are medians with the least and the most. --pairs: how often one thread and all are
measured beside each other for the gain, sgemm and training in turn; 0: not. --only: some of train-cnn, train-mlp,
train-vit, evaluate-cnn, gradient-cnn, gain, memory, help (all), with commas. --json: every single figure.

Needs Python's standard library alone. Exit status 0 whatever the figures are.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BENCH, TORCH = os.path.join(ROOT, "build/bench/networks"), os.path.join(ROOT, "tests/bench/torch_peer.py")
TASKS = [("train", "cnn"), ("train", "mlp"), ("train", "vit"), ("evaluate", "cnn"), ("gradient", "cnn")]


class Program:
    """Answers a line with a line of numbers."""

    def __init__(self, command, environment=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment, cwd=ROOT)

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            sys.exit(f"{' '.join(self.process.args)}: ended with status {self.process.wait()}")
        return text.strip()

    def ask(self, question):
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return [float(word) for word in self.line().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def bench():
    environment = dict(os.environ)
    if "avx512f" in open("/proc/cpuinfo").read():  # OpenBLAS does not know every processor that has it
        environment.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    return Program([BENCH], environment)


def torches():
    """By version. The second interpreter is asked for by name, so it must answer."""
    found, other = {}, os.environ.get("TORCH_PYTHON")
    for python in ["/usr/bin/python3"] + ([other] if other else []):
        have = subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0
        if have:
            program = Program([python, TORCH])
            found["PyTorch " + program.line()] = program
        elif python == other:
            sys.exit(f"TORCH_PYTHON={python}: no torch there")
    return found


def spread(values, form="%.0f"):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{form % middle} ({form % low} to {form % high})"


def share(values):
    return spread([100 * v for v in values], "%.0f") + " %"


def ratio(values):
    return spread(values, "%.2f")


def measure_tasks(options, tasks, counts, assay, others):
    """figures[task, net, threads][name] = one number a round."""
    figures = {(*t, n): {} for t in tasks for n in counts}
    flop = {t: assay.ask("flop %s %s" % t)[0] for t in tasks}
    for (task, net, n), seen in figures.items():  # plans, primitives, which products are fastest
        assay.ask(f"{task} {net} {n}")
        assay.ask(f"products {task} {net} {n}")
        for other in others.values():
            other.ask(f"{task} {net} {n}")
    for r in range(options.rounds):
        print(f"round {r + 1} of {options.rounds}", file=sys.stderr, flush=True)
        for (task, net, n), seen in figures.items():
            def note(name, value):
                seen.setdefault(name, []).append(value)
            note("sgemm", assay.ask(f"sgemm {n}")[0])
            note("assay", assay.ask(f"{task} {net} {n}")[0])
            direct, winograd = assay.ask(f"products {task} {net} {n}")
            note("products", direct)
            note("winograd", winograd)
            for name, other in others.items():
                note(name, other.ask(f"{task} {net} {n}")[0])
    for (task, net, n), seen in figures.items():
        seen["rate"] = [v * flop[task, net] / 1e9 for v in seen["assay"]]
    return figures


def over(a, b):
    return [x / y for x, y in zip(a, b)]


def print_tasks(options, figures, flop, others):
    print(f"\nImages a second, batches of 128 (evaluation: 512); median of {options.rounds} rounds (least to most).")
    for (task, net, n), seen in figures.items():
        a = seen["assay"]
        print(f"\n{task} {net}, {n} thread{'s' * (n > 1)}: {flop[task, net] / 1e6:.1f} MFLOP an image")
        print(f"  assay             {spread(a):28} {spread(seen['rate'])} GFLOP/s")
        print(f"  sgemm             {'':28} {spread(seen['sgemm'])} GFLOP/s; assay at {share(over(seen['rate'], seen['sgemm']))}")
        print(f"  products, direct  {spread(seen['products']):28} assay at {share(over(a, seen['products']))}")
        if seen["winograd"] != seen["products"]:
            print(f"  with Winograd too {spread(seen['winograd']):28} assay at {share(over(a, seen['winograd']))}")
        for name in others:
            print(f"  {name:17} {spread(seen[name]):28} assay {ratio(over(a, seen[name]))} times as fast")
            # Small products can be slower on more threads: a user would take the better number.
            best = [max(values) for values in zip(seen[name], figures[task, net, 1][name])]
            if n > 1:
                print(f"  {'  at its best':17} {spread(best):28} assay {ratio(over(a, best))} times as fast")


def measure_gain(pairs, most, assay):
    gain = {"sgemm": [], "train cnn": []}
    for what in gain:
        for n in (1, most):
            assay.ask(f"{what} {n}")
    for r in range(pairs):
        print(f"pair {r + 1} of {pairs}", file=sys.stderr, flush=True)
        for what in gain:
            gain[what].append(assay.ask(f"{what} {most}")[0] / assay.ask(f"{what} 1")[0])
    print(f"\nFrom 1 to {most} threads, {pairs} pairs in turn")
    for what, values in gain.items():
        print(f"  {what:17} {ratio(values)}")
    print(f"  training's gain over sgemm's: {share(over(gain['train cnn'], gain['sgemm']))}")
    return gain


def peak_memory(command):
    """MB of the child's resident memory at its highest."""
    child = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: status {status}")
    return usage.ru_maxrss / 1024


def measure_memory():
    with tempfile.TemporaryDirectory() as place:
        data = os.path.join(place, "train.st")
        subprocess.run(["bin/fetch", "synthetic", "--count", "60000", "-q", "-o", data], cwd=ROOT, check=True)
        # All 60 000 images are in memory; a few steps reach the peak.
        command = ["bin/trainclf", "-i", data, "--arch", "cnn", "--epochs", "1", "--subset", "first:1280", "-q", "-o", place + "/m.st"]
        mb = peak_memory(command)
    print(f"\nPeak memory of trainclf --arch cnn beside 60 000 images: {mb:.0f} MB")
    return mb


def measure_help():
    slowest = {}
    for tool in sorted(glob.glob(os.path.join(ROOT, "bin/*"))):
        times = []
        for _ in range(15):
            start = time.perf_counter()
            subprocess.run([tool, "--help"], stdout=subprocess.DEVNULL, check=True)
            times.append(1e3 * (time.perf_counter() - start))
        slowest[os.path.basename(tool)] = times
    print("\n--help, milliseconds")
    for tool, times in slowest.items():
        print(f"  {tool:17} {spread(times, '%.1f')}")
    return slowest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    options = parser.parse_args()
    words = ["-".join(t) for t in TASKS] + ["gain", "memory", "help"]
    only = options.only.split(",") if options.only else words
    if set(only) - set(words) or options.rounds < 1 or options.threads < 1:
        parser.error("--only: some of " + ", ".join(words) + "; --rounds and --threads from 1")
    tasks = [t for t in TASKS if "-".join(t) in only]
    counts = sorted({1, options.threads})
    result = {}
    assay, others = bench(), torches() if tasks else {}
    cpu = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    print(f"{cpu[0] if cpu else 'unknown processor'}, {len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}")
    if tasks and not others:
        print("no PyTorch (Debian: python3-torch)")
    if tasks:
        flop = {t: assay.ask("flop %s %s" % t)[0] for t in tasks}
        figures = measure_tasks(options, tasks, counts, assay, others)
        print_tasks(options, figures, flop, others)
        result["tasks"] = {" ".join(map(str, key)): seen for key, seen in figures.items()}
    sys.stdout.flush()
    if "gain" in only and options.pairs and options.threads > 1:
        result["gain"] = measure_gain(options.pairs, options.threads, assay)
    for program in [assay, *others.values()]:
        program.close()
    if "memory" in only:
        result["memory"] = measure_memory()
    if "help" in only:
        result["help"] = measure_help()
    if options.json:
        json.dump(result, open(options.json, "w"), indent=1)


main()
