#!/usr/bin/env python3
"""An independent reader of assay's blobs: Python's standard library alone.

    reader.py [--record] FILE...      "-" is standard input; a file may hold several blobs, gzip or not

Checks what blob(5) asks of a writer (padding, alignment, order, no hole, no overlap, every byte used, digest,
seal) and prints one line a tensor: name, dtype, shape. A plain safetensors file is checked as far as it goes.
Exit status 1 and a sentence on stderr where a file is not as it should be.
"""
import gzip
import hashlib
import json
import struct
import sys

SIZE = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
        "I64": 8, "U64": 8, "F64": 8}


class Wrong(Exception):
    pass


def expect(condition, sentence):
    if not condition:
        raise Wrong(sentence)


def once(pairs):
    names = [name for name, _ in pairs]
    expect(len(set(names)) == len(names), "a key stands twice")
    return dict(pairs)


def counted(data):
    return struct.pack("<Q", len(data)) + data


def digest(tensors, data):
    h = hashlib.sha256()
    for name in sorted(tensors, key=lambda n: n.encode()):
        t = tensors[name]
        begin, end = t["data_offsets"]
        h.update(counted(name.encode()) + counted(t["dtype"].encode()))
        h.update(struct.pack("<Q", len(t["shape"])))
        for dim in t["shape"]:
            h.update(struct.pack("<Q", dim))
        h.update(counted(data[begin:end]))
    return h.hexdigest()


def seal(metadata):
    h = hashlib.sha256()
    for key in sorted(metadata, key=lambda k: k.encode()):
        if key != "assay.seal":
            h.update(counted(key.encode()) + counted(metadata[key].encode()))
    return h.hexdigest()


def check_layout(header, ours):
    """Offsets cover the data exactly; ours also stand in the order a writer gives them. Returns the bytes."""
    tensors = {name: t for name, t in header.items() if name != "__metadata__"}
    cursor = 0
    for name in sorted(tensors, key=lambda n: tensors[n]["data_offsets"]):
        t = tensors[name]
        expect(t["dtype"] in SIZE, f"{name}: dtype {t['dtype']}")
        count = SIZE[t["dtype"]]
        for dim in t["shape"]:
            expect(isinstance(dim, int) and dim >= 0, f"{name}: shape {t['shape']}")
            count *= dim
        begin, end = t["data_offsets"]
        expect(begin == cursor, f"{name}: begins at {begin}, {cursor} expected")
        expect(end - begin == count, f"{name}: {end - begin} bytes, {count} expected")
        expect(not ours or begin % SIZE[t["dtype"]] == 0, f"{name}: not aligned")
        cursor = end
    if ours:
        order = sorted(tensors, key=lambda n: (-SIZE[tensors[n]["dtype"]], n.encode()))
        expect(list(tensors) == order, f"order {list(tensors)}, {order} expected")
        for t in tensors.values():
            expect(set(t) == {"dtype", "shape", "data_offsets"}, f"fields {list(t)}")
    return tensors, cursor


def check_metadata(metadata, tensors, data):
    for key, value in metadata.items():
        expect(isinstance(value, str), f"metadata {key} is no string")
    expect(metadata.get("assay.version", "1").split(".")[0] == "1", "assay.version")
    expect(metadata.get("format") == "pt", "format is not pt")
    expect(metadata.get("assay.digest") == digest(tensors, data), "the digest does not match")
    expect(metadata.get("assay.seal") == seal(metadata), "the seal does not match")
    record = json.loads(metadata.get("assay.record", "{}"), object_pairs_hook=once)
    expect(isinstance(record, dict), "assay.record is no object")
    lineage = json.loads(metadata.get("assay.lineage", "[]"), object_pairs_hook=once)
    expect(isinstance(lineage, list), "assay.lineage is no array")
    for entry in lineage:
        expect({"program", "version", "options", "inputs"} <= set(entry), f"lineage entry {entry}")
    return record


def read_blob(stream):
    """One blob off the front of the bytes: (tensors, metadata, record, what is left)."""
    expect(len(stream) >= 8, f"8 bytes of length expected, {len(stream)} there")
    n = struct.unpack("<Q", stream[:8])[0]
    expect(n <= 8 << 20 and 8 + n <= len(stream), f"header of {n} bytes")
    text = stream[8:8 + n]
    expect(text[:1] == b"{", "header does not begin with {")
    header = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    metadata = header.get("__metadata__", {})
    ours = any(key.startswith("assay.") for key in metadata)
    expect(not ours or (8 + n) % 64 == 0, f"the data begin at {8 + n}, no multiple of 64")
    expect(not ours or text == text.rstrip(b" ").ljust(n), "padding is not made of spaces")
    tensors, size = check_layout(header, ours)
    data = stream[8 + n:8 + n + size]
    expect(len(data) == size, f"{size} bytes of data expected, {len(data)} there")
    record = check_metadata(metadata, tensors, data) if ours else {}
    return tensors, metadata, record, stream[8 + n + size:]


def main(arguments):
    show_record = "--record" in arguments
    for path in [a for a in arguments if a != "--record"]:
        if path == "-":
            stream = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as f:
                stream = f.read()
        try:
            if stream[:3] == b"\x1f\x8b\x08":
                stream = gzip.decompress(stream)
            expect(stream, "empty")
            while stream:
                tensors, metadata, record, stream = read_blob(stream)
                print(f"# {path} {metadata.get('assay.kind', 'plain')} {metadata.get('assay.digest', '-')}")
                for name in sorted(tensors, key=lambda n: n.encode()):
                    print(name, tensors[name]["dtype"], tensors[name]["shape"])
                if show_record:
                    print(json.dumps(record, sort_keys=True))
        except (Wrong, ValueError, KeyError, TypeError, OSError, EOFError) as wrong:
            print(f"reader.py: {path}: {wrong}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
