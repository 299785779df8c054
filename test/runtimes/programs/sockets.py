"""Sockets in one process: servers in threads and their clients; datagrams, pairs, options, errors, select."""
import http.client
import http.server
import os
import select
import selectors
import socket
import socketserver
import tempfile
import threading
import urllib.error
import urllib.request
import wsgiref.simple_server


class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def serving(server):
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


with serving(Server(("127.0.0.1", 0), Upper)) as server:
    clients = [socket.create_connection(server.server_address) for _ in range(20)]
    for index, client in enumerate(clients):
        client.sendall(f"client {index}\n".encode())
    print([client.makefile().readline().strip() for client in clients[:3]])
    print(clients[0].getpeername() == server.server_address, clients[0].getsockname()[0])
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        client.recv(10)
        client.close()
    server.shutdown()


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"x" * 1_000_000 if self.path == "/large" else f"hello {self.path}".encode()
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.send_header("X-Size", str(size))
        self.end_headers()

    def log_message(self, *args):
        pass


with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)) as server:
    host, port = server.server_address
    connection = http.client.HTTPConnection(host, port)
    for index in range(30):
        connection.request("GET", f"/{index}")
        assert connection.getresponse().read() == f"hello /{index}".encode()
    connection.request("POST", "/", b"y" * 300_000)
    print("size", connection.getresponse().getheader("X-Size"))
    print(len(urllib.request.urlopen(f"http://{host}:{port}/large").read()))
    try:
        urllib.request.urlopen(f"http://{host}:{port}/missing")
    except urllib.error.HTTPError as error:
        print(error.code, error.read())
    server.shutdown()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass


with serving(wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet)) as server:
    print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/wsgi").read())
    server.shutdown()

receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
receiver.bind(("127.0.0.1", 0))
for index in range(5):
    sender.sendto(f"datagram {index}".encode(), receiver.getsockname())
print([receiver.recv(100).decode() for _ in range(5)])
receiver.settimeout(0.02)
try:
    receiver.recv(1)
except TimeoutError as error:
    print("timed out", error)

left, right = socket.socketpair()
left.sendmsg([b"one ", b"two"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, (1).to_bytes(4, "little"))])
data, ancillary, flags, _ = right.recvmsg(100, 100)
print(data, [(level, kind, len(value)) for level, kind, value in ancillary], flags)
left.setblocking(False)
sent = 0
try:
    while True:
        sent += left.send(b"z" * 65536)
except BlockingIOError:
    print("full", sent > 65536)
while sent:
    sent -= len(right.recv(1 << 20))
left.close()
print("end", right.recv(10))
try:
    right.send(b"x")
except BrokenPipeError as error:
    print(error)

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    accepted, _ = listener.accept()
    accepted.sendall(b"unix")
    print(client.recv(10), os.path.exists(path), client.getpeername() == path)

listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
print(type(selector).__name__, selector.select(0), select.select([listener], [], [], 0.01))
client = socket.create_connection(listener.getsockname())
print(len(selector.select(10)))
accepted, _ = listener.accept()
print(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM, accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
accepted.close()
try:
    client.recv(1)
except ConnectionResetError as error:
    print(error)
address = listener.getsockname()
listener.close()
try:
    socket.create_connection(address)
except ConnectionRefusedError as error:
    print(error)
try:
    socket.create_server(("127.0.0.1", 1 << 15), reuse_port=False).bind(("127.0.0.1", 0))
except OSError as error:
    print(error.strerror)
print(socket.getaddrinfo("127.0.0.1", 80, proto=socket.IPPROTO_TCP))
