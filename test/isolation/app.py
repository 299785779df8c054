"""A WSGI application that tries to keep something for the next request, and tells what it finds of the last one."""
import builtins
import json
import os
import random
import socket
import sys
import threading
import types
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, make_server

variable = [0]
cache = {}
local = threading.local()
ticks = [0]


class Counter:
    count = 0


def default(kept=[]):
    kept.append(1)
    return len(kept)


def a_variable():
    variable[0] += 1
    return variable[0]


def a_dictionary():
    found = len(cache)
    cache["key"] = "value"
    return found


def a_class():
    Counter.count += 1
    return Counter.count


def a_builtin():
    found = len.__name__
    builtins.len = lambda value: 1000
    return found


def a_module():
    found = "kept" in sys.modules
    sys.modules["kept"] = types.ModuleType("kept")
    return found


def a_path():
    found = len(sys.path)
    sys.path.append("/tmp")
    return found


def the_environment():
    found = os.environ.get("KEPT")
    os.environ["KEPT"] = "kept"
    return found


def the_working_directory():
    found = os.getcwd()
    os.chdir("/tmp")
    return found


def a_file():
    try:
        with open("/tmp/kept") as file:
            found = file.read()
    except OSError as error:
        found = error.errno
    with open("/tmp/kept", "w") as file:
        file.write("kept")
    return found


opened = []


def an_open_file():
    found = len(os.listdir("/proc/self/fd"))
    opened.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(20))
    return found


def a_thread():
    found = [ticks[0], threading.active_count()]

    def tick():
        while True:
            ticks[0] += 1
            threading.Event().wait(0.001)

    threading.Thread(target=tick, daemon=True).start()
    threading.Event().wait(0.01)
    return found


def a_server():
    def ask():
        try:
            with socket.create_connection(("127.0.0.1", 8123), 1) as client:
                return client.recv(100).decode()
        except OSError:
            return "nobody"

    found = ask()
    if found != "nobody":
        return found
    server = socket.create_server(("127.0.0.1", 8123))

    def serve():
        while True:
            client, _ = server.accept()
            client.sendall(b"still here")
            client.close()

    threading.Thread(target=serve, daemon=True).start()
    return [found, ask()]


def the_recursion_limit():
    found = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    return found


def the_umask():
    return os.umask(0o077)


def a_thread_local():
    found = getattr(local, "kept", None)
    local.kept = "kept"
    return found


def a_seed():
    random.seed(1)
    return random.random()


attempts = {
    function.__name__.replace("_", " "): function
    for function in (
        a_variable, a_dictionary, a_class, default, a_builtin, a_module, a_path, the_environment, the_working_directory, a_file,
        an_open_file, a_thread, a_server, the_recursion_limit, the_umask, a_thread_local, a_seed,
    )
}


def application(environ, start_response):
    name = unquote(environ["PATH_INFO"])[1:]
    found = list(attempts) if name == "" else attempts[name]()
    # What it leaves is there as long as nothing is put back.
    if environ["QUERY_STRING"] == "twice":
        found = attempts[name]()
    body = json.dumps(found).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(memoryview(body).nbytes))])
    return [body]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


make_server("127.0.0.1", 8000, application, handler_class=Quiet).serve_forever()
