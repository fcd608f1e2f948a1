#!/usr/bin/env python3
"""An HTTP server with the manners of bad mirrors, for the tests of downloads. Loopback only, standard library only.

    server.py DIR      prints its port, serves DIR/NAME as /MANNER/NAME, ends when its standard input does

Manners: ok; cut (closes in the middle of whatever it was asked for); cutonce (only where no Range was asked for);
norange (ignores Range, and cuts its first answer); stall (100 bytes, then silence); silent (not a byte);
long (announces more than it sends); short (announces and sends less); html (a page, said so); page (a page, said to be data); wrong (other bytes, right
length); more (too many bytes); badrange (a Range answered from another place); redirect; loop; missing (404);
busyonce (503 first). Every request is a line in DIR/log: manner, name, Range.
"""
import http.server
import os
import sys
import threading
import time

root = sys.argv[1]
lock = threading.Lock()
seen = set()
PAGE = b"<!DOCTYPE html><html><body>This file has moved.</body></html>\n"


def first_time(key):
    with lock:
        new = key not in seen
        seen.add(key)
        return new


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, announced=None, kind="application/octet-stream", content_range=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.send_header("Connection", "close")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self.close_connection = True

    def do_GET(self):
        manner, name = self.path.strip("/").split("/", 1)
        asked = self.headers.get("Range")
        with lock, open(os.path.join(root, "log"), "a") as log:
            print(manner, name, asked or "-", file=log)
        with open(os.path.join(root, os.path.basename(name)), "rb") as f:
            whole = f.read()
        start = int(asked.split("=")[1].split("-")[0]) if asked and manner != "norange" else 0
        status, span, body = 200, None, whole
        if asked and manner != "norange":
            if start >= len(whole):
                return self.answer(416, b"")
            status, span, body = 206, f"bytes {start}-{len(whole) - 1}/{len(whole)}", whole[start:]
        size = len(body)
        if manner == "ok":
            self.answer(status, body, content_range=span)
        elif manner == "cut" or (manner == "cutonce" and not asked) or (manner == "norange" and first_time((manner, name))):
            self.answer(status, body[: (size + 1) // 2], size, content_range=span)
        elif manner in ("cutonce", "norange"):
            self.answer(status, body, content_range=span)
        elif manner == "stall":
            if asked:
                time.sleep(20)
            self.answer(status, body[:100], size, content_range=span)
            time.sleep(20)
        elif manner == "silent":
            time.sleep(20)
        elif manner == "long":
            self.answer(status, body, size + 1000, content_range=span)
        elif manner == "short":
            self.answer(status, body[: size - size // 3], content_range=span)
        elif manner == "html":
            self.answer(200, PAGE, kind="text/html; charset=utf-8")
        elif manner == "page":
            self.answer(200, PAGE)
        elif manner == "wrong":
            self.answer(status, bytes(b ^ 1 for b in body), content_range=span)
        elif manner == "more":
            self.answer(200, whole + bytes(100000))
        elif manner == "badrange":
            if asked:
                self.answer(206, whole[5:], content_range=f"bytes 5-{len(whole) - 1}/{len(whole)}")
            elif first_time((manner, name)):
                self.answer(200, whole[: len(whole) // 2], len(whole))
            else:
                self.answer(200, whole)
        elif manner in ("redirect", "loop"):
            self.send_response(302)
            self.send_header("Location", f"/{'ok' if manner == 'redirect' else 'loop'}/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif manner == "busyonce" and first_time((manner, name)):
            self.answer(503, b"")
        elif manner == "busyonce":
            self.answer(status, body, content_range=span)
        else:
            self.answer(404, PAGE, kind="text/html")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client):
        pass  # clients hang up on these manners; that is the point


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
