#!/usr/bin/env python3
"""Makes small data sets in the containers of the real ones, and the table that describes them (data/SOURCES has its form).

    sets.py DIR MIRROR...     writes the files into DIR and the table on standard output

tiny (idx, train of 30 and test of 12, 1x16x16, classes a, b, c;
the first pixel of image i is i, of test image i 100 + i, the others are noise, so that packing leaves some kilobytes), tinycifar (five batches of
2 and a test batch of 3, label = number of the image mod 10), tinysvhn (6 images, labels 10 1 2 3 4 5), colours (as tinysvhn,
train of 240 and test of 10 images of random patches, labels 1 to 10 in turn), plain (as tiny, known by
its unpacked bytes only, since its packed ones are said to be others).
"""
import gzip
import hashlib
import io
import os
import struct
import sys
import tarfile
import zlib

directory, mirrors = sys.argv[1], sys.argv[2:]


def put(name, data):
    with open(os.path.join(directory, name), "wb") as f:
        f.write(data)
    return data


def pack(data):
    return gzip.compress(data, mtime=0)


def idx(count, first):
    images = struct.pack(">4I", 0x803, count, 16, 16)
    for i in range(first, first + count):
        images += bytes([i]) + b"".join(hashlib.sha256(bytes([i, k])).digest() for k in range(8))[:255]
    labels = struct.pack(">2I", 0x801, count) + bytes(i % 3 for i in range(count))
    return images, labels


def cifar():
    out, n = io.BytesIO(), 0
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, rows in [(f"data_batch_{k}.bin", 2) for k in (1, 2, 3, 4, 5)] + [("test_batch.bin", 3)]:
            data = b"".join(bytes([(n + i) % 10]) + bytes([n + i]) * 1024 + bytes([100]) * 1024 + bytes([200]) * 1024 for i in range(rows))
            n += rows
            info = tarfile.TarInfo("cifar-10-batches-bin/" + name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def element(kind, data):
    if len(data) <= 4:
        return struct.pack("<I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)


def array(name, dims, data):
    body = (element(6, struct.pack("<2I", 9, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims)) + element(1, name) + element(2, data))
    packed = zlib.compress(struct.pack("<2I", 14, len(body)) + body)
    return struct.pack("<2I", 15, len(packed)) + packed


# Column-major: h runs fastest. The pixel is 8 n + h / 4 in red, w in green, 9 in blue.
def ramps(n):
    return bytes([8 * n + h // 4 for w in range(32) for h in range(32)] + [w for w in range(32) for h in range(32)] + [9] * 1024)


def patches(n):
    values = b"".join(hashlib.sha256(bytes([n, channel])).digest() for channel in range(3))
    return b"".join(values[4 * k:4 * k + 4] * 8 for k in range(24) for _ in range(4))


def svhn(images, labels):
    count = len(labels)
    return (b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + array(b"X", (32, 32, 3, count), b"".join(images)) +
            array(b"y", (count, 1), bytes(labels)))


def describe_file(name, split, part, count, data, plain=None):
    print(f"File: {name}\nSplit: {split}\nPart: {part}\nCount: {count}\nBytes: {len(data)}")
    print(f"SHA256: {hashlib.sha256(data).hexdigest()}")
    if plain is not None:
        print(f"Plain-SHA256: {hashlib.sha256(plain).hexdigest()}")
    print()


def describe_set(name, container, shape, classes):
    print(f"Set: {name}\nTitle: {name}, made for tests\nLicence: none needed\nContainer: {container}\nShape: {shape}\nClasses: {classes}")
    for mirror in mirrors:
        print("Mirror:", mirror)
    print()


for name in ("tiny", "plain"):
    describe_set(name, "idx", "1x16x16", "a, b, c")
    for split, count, first in (("train", 30, 0), ("test", 12, 100)):
        for part, data in zip(("images", "labels"), idx(count, first)):
            packed = put(f"{name}-{split}-{part}.gz", pack(data))
            if name == "plain":
                describe_file(f"{name}-{split}-{part}.gz", split, part, count, packed + b"x", data)
            else:
                describe_file(f"{name}-{split}-{part}.gz", split, part, count, packed)
describe_set("tinycifar", "cifar", "3x32x32", ", ".join("0123456789"))
data = put("tinycifar.tar.gz", cifar())
describe_file("tinycifar.tar.gz", "train", "both", 10, data)
describe_file("tinycifar.tar.gz", "test", "both", 3, data)
describe_set("tinysvhn", "svhn", "3x32x32", ", ".join("0123456789"))
describe_file("tinysvhn.mat", "train", "both", 6, put("tinysvhn.mat", svhn(map(ramps, range(6)), [10, 1, 2, 3, 4, 5])))
describe_set("colours", "svhn", "3x32x32", ", ".join("0123456789"))
for split, count, first in (("train", 240, 0), ("test", 10, 240)):
    data = svhn(map(patches, range(first, first + count)), [1 + n % 10 for n in range(count)])
    describe_file(f"colours-{split}.mat", split, "both", count, put(f"colours-{split}.mat", data))
