"""What the tests of `pristine serve` ask for. The number of a request must come back in its answer."""
import os
import time
from wsgiref.simple_server import WSGIRequestHandler, make_server

calls = 0


def app(environ, start_response):
    global calls
    calls += 1
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/exit":
        os._exit(3)
    if path == "/abort":
        os.abort()
    if path == "/fill":
        held = []
        while True:
            held.append(bytearray(1 << 20))
    if path == "/hang":
        while True:
            pass
    if path == "/slow":
        time.sleep(0.4)
    if path == "/nap":
        time.sleep(0.02)
    if path == "/print":
        print("a line of the program's", flush=True)
    if path == "/write":
        with open("/tmp/kept", "a") as file:
            file.write("x")
        query = str(os.path.getsize("/tmp/kept"))
    if path == "/malformed":
        environ["wsgi.input"].raw._sock.sendall(b"this is no HTTP\r\n\r\n")
        environ["wsgi.input"].raw._sock.shutdown(2)
        return []
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    start_response("200 OK", [("content-type", "text/plain"), ("x-calls", str(calls))])
    return [query.encode(), b" ", body]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app, handler_class=Quiet).serve_forever()
