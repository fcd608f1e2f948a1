#!/usr/bin/env python3
"""Makes blobs for tests, sealed by the independent reader's own sums.

    make_blob.py OUT {"KEY": "METADATA", ...} {"NAME": ["DTYPE", [SHAPE], [VALUES]], ...}

Metadata null gives a plain safetensors file. A metadata value that is no string is stored as JSON text.
"""
import json
import struct
import sys

import reader

CODE = {"BOOL": "?", "U8": "B", "I8": "b", "I16": "h", "U16": "H", "F16": "e", "I32": "i", "U32": "I", "F32": "f",
        "I64": "q", "U64": "Q", "F64": "d"}


def main(path, metadata, tensors):
    header, data = {}, b""
    order = sorted(tensors, key=lambda n: (-reader.SIZE[tensors[n][0]], n.encode()))
    for name in order:
        dtype, shape, values = tensors[name]
        more = struct.pack(f"<{len(values)}{CODE[dtype]}", *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(more)]}
        data += more
    if metadata is not None:
        metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
        metadata.update({"format": "pt", "assay.digest": reader.digest(header, data)})
        metadata["assay.seal"] = reader.seal(metadata)
        header = {"__metadata__": metadata, **header}
    text = json.dumps(header).encode()
    text = text.ljust((len(text) + 8 + 63) // 64 * 64 - 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
