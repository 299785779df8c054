"""A server whose requests are forks that forget everything, with a cache that does not: the remote in cache.ts.

    GET /KEY                 the value, or 404
    PUT /KEY?seconds=60      keeps the body so long
    GET /                    numbers of the cache, and of this fork

The remote is files: no module is needed.
"""

import errno
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, quote, urlsplit

VALUE_MAX = 1 << 16
requests = 0


def ask(name, request, room=0):
    """Lends the remote a buffer; the answer is in the place of the request."""
    buffer = bytearray(request.ljust(room))
    with open("/pristine/remote/" + name, "r+b", buffering=0) as remote:
        return bytes(buffer[: remote.readinto(buffer)])


def get(key):
    """Most values are small; for a larger one the cache is asked again, with more room."""
    room = 1024
    while True:
        try:
            return ask("cache:get", key + b"\n", room)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EMSGSIZE or room >= VALUE_MAX:
                raise
            room = VALUE_MAX


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        global requests
        requests += 1
        key = self.key()
        if key == b"":
            numbers = json.loads(ask("cache", b"", 1024))
            self.answer(200, json.dumps({"requests": requests, **numbers}).encode())
            return
        value = get(key)
        self.answer(404 if value is None else 200, value or b"")

    def do_PUT(self):
        length = self.headers["content-length"]
        if length is None:
            self.close_connection = True
            self.answer(411)
            return
        value = self.rfile.read(int(length))
        seconds = parse_qs(urlsplit(self.path).query).get("seconds", ["60"])[0]
        try:
            ask("cache:set", seconds.encode() + b" " + self.key() + b"\n" + value)
            self.answer(204)
        except OSError as error:
            self.answer(413 if error.errno == errno.EMSGSIZE else 400)

    def key(self):
        # As it is encoded in the URL: without spaces and newlines.
        return quote(urlsplit(self.path).path[1:], safe="%").encode()

    def log_message(self, *args):
        pass


HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
