"""A server in whose image there is one of everything that a snapshot has to keep."""
import http.server, json, os, select, signal, socket, sys, tempfile, threading, time

ticks = 0


def tick(*_):
    global ticks
    ticks += 1


signal.signal(signal.SIGALRM, tick)
os.umask(0o027)
os.chdir("/tmp")
with open("/tmp/kept", "w") as kept:
    kept.write("of the machine's own")
nameless = tempfile.TemporaryFile()
nameless.write(b"without a name")
reader, writer = os.pipe()
os.write(writer, b"in a pipe")
left, right = socket.socketpair()
left.send(b"between sockets")
poll = select.epoll()
poll.register(reader, select.EPOLLIN)
turn = threading.Condition()
asked = 0
answers = []


def work():
    global asked
    while True:
        with turn:
            turn.wait_for(lambda: asked > len(answers))
            answers.append(f"answer {len(answers)}")
            turn.notify_all()


threading.Thread(target=work, daemon=True).start()
booted = time.monotonic()


def look():
    global asked
    with turn:
        asked += 1
        turn.notify_all()
        turn.wait_for(lambda: len(answers) == asked)
    nameless.seek(0)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    # A signal does not end time.sleep().
    select.select([], [], [], 0.05)
    return {
        "umask": os.umask(0o027),
        "folder": os.getcwd(),
        "kept": open("/tmp/kept").read(),
        "nameless": nameless.read().decode(),
        "polled": [list(found) for found in poll.poll(0)],
        "pipe": os.read(reader, 100).decode(),
        "pair": right.recv(100).decode(),
        "answers": answers,
        "threads": threading.active_count(),
        "ticks": ticks > 0,
        "argv": sys.argv[1:],
        "environment": os.environ.get("KEPT"),
    }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        facts = {"/look": look, "/clocks": lambda: [time.time(), time.monotonic() - booted, time.clock_gettime(time.CLOCK_BOOTTIME)]}
        body = json.dumps(facts.get(self.path, lambda: os.urandom(16).hex())()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
