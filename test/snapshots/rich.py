"""Has one of everything that a machine can have, waits to be frozen when it listens, and then uses all of it."""
import mmap, os, select, signal, socket, threading, time

os.makedirs("/tmp/rich/deeper", exist_ok=True)
private = open("/tmp/rich/file", "w+b", buffering=0)
private.write(b"private bytes " * 1000)
os.symlink("file", "/tmp/rich/link")
os.link("/tmp/rich/file", "/tmp/rich/deeper/other")
gone = open("/tmp/rich/gone", "w+b", buffering=0)
gone.write(b"gone")
os.unlink("/tmp/rich/gone")
mapped = mmap.mmap(private.fileno(), 8192)
anonymous = mmap.mmap(-1, 1 << 16, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
anonymous[:5] = b"there"
source = open(__file__ if os.path.exists(__file__) else "/usr/bin/python3", "rb", buffering=0)
source.read(10)
directories = [os.open(path, os.O_RDONLY) for path in ("/tmp/rich", "/etc", "/proc")]
devices = [open("/dev/null", "r+b", buffering=0), open("/dev/urandom", "rb", buffering=0)]
text = open("/proc/self/maps", "rb", buffering=0)
text.read(20)
read_end, write_end = os.pipe()
os.write(write_end, b"in the pipe" * 100)
event = os.eventfd(3) if hasattr(os, "eventfd") else os.dup(read_end)
near, far = socket.socketpair()
near.send(b"some bytes")
socket.send_fds(near, [b"with files"], [read_end, event, private.fileno()])
datagrams = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
datagrams[0].send(b"one")
datagrams[0].send(b"two")
named = socket.socket(socket.AF_UNIX)
named.bind("\0named")
named.listen(4)
waiting = socket.socket(socket.AF_UNIX)
waiting.connect("\0named")
waiting.send(b"before it is accepted")
internet = socket.socket()
internet.bind(("127.0.0.1", 0))
internet.listen(3)
caller = socket.create_connection(internet.getsockname())
caller.send(b"hello")
answerer, _ = internet.accept()
left = socket.create_connection(internet.getsockname())
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
set_of_all = select.epoll()
for one in (read_end, event, far, datagrams[1], named, internet, answerer):
    set_of_all.register(one, select.EPOLLIN | (select.EPOLLET if one is far else 0))
outer = select.epoll()
outer.register(set_of_all, select.EPOLLIN)
set_of_all.poll(0)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 30)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
lock = threading.Lock()
lock.acquire()
wanted = threading.Event()
inner_read, inner_write = os.pipe()
threads = [
    threading.Thread(target=lambda: lock.acquire(), daemon=True),
    threading.Thread(target=lambda: os.read(inner_read, 10), daemon=True),
    threading.Thread(target=lambda: time.sleep(0.001), daemon=True),
    threading.Thread(target=lambda: wanted.wait(20), daemon=True),
    threading.Thread(target=lambda: select.select([udp], [], [], 20), daemon=True),
]
for thread in threads:
    thread.start()
time.sleep(0.005)

# Behind all that: it is opened last, when there is most to give up.
directories.append(os.open("/usr", os.O_RDONLY))
last = socket.socket()
last.bind(("127.0.0.1", 8000))
last.listen(1)
last.settimeout(0.003)


def tried(what):
    try:
        return what()
    except (OSError, ValueError):
        return None


tried(last.accept)
tried(lambda: set_of_all.poll(0))
tried(lambda: outer.poll(0))
tried(lambda: os.read(read_end, 4000))
tried(lambda: socket.recv_fds(far, 100, 8))
tried(lambda: far.recv(100, socket.MSG_DONTWAIT))
tried(lambda: datagrams[1].recv(100, socket.MSG_DONTWAIT))
tried(lambda: named.accept()[0].recv(100, socket.MSG_DONTWAIT))
tried(lambda: answerer.recv(100, socket.MSG_DONTWAIT))
tried(lambda: answerer.send(b"x" * 10000))
tried(lambda: left.send(b"x"))
tried(lambda: internet.setblocking(False))
tried(lambda: internet.accept())
tried(lambda: udp.sendto(b"self", udp.getsockname()))
tried(lambda: last.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
tried(lambda: private.seek(0) or private.read(100))
tried(lambda: private.write(b"more" * 3000))
tried(lambda: gone.write(b"more"))
tried(lambda: source.read(100))
tried(lambda: text.read(100))
tried(lambda: devices[1].read(8))
for directory in directories:
    tried(lambda: os.listdir(directory))
tried(lambda: os.rename("/tmp/rich/link", "/tmp/rich/deeper/link"))
tried(lambda: os.readlink("/tmp/rich/deeper/link"))
tried(lambda: os.listdir("/tmp/rich/deeper"))
tried(lambda: os.unlink("/tmp/rich/deeper/other"))
tried(lambda: os.makedirs("/tmp/rich/a/b"))
tried(lambda: os.rmdir("/tmp/rich/a/b"))
mapped[5000:5010] = b"0123456789"
tried(lambda: mapped.flush())
mapped.close()
bytearray(1 << 20)
tried(lambda: signal.sigtimedwait([signal.SIGUSR1], 0))
tried(lambda: signal.setitimer(signal.ITIMER_REAL, 0))
tried(lambda: os.write(inner_write, b"go"))
lock.release()
wanted.set()
fresh = threading.Thread(target=lambda: None)
fresh.start()
fresh.join()
threads[1].join(0.01)
for one in (near, far, *datagrams, named, waiting, internet, caller, answerer, left, udp):
    tried(lambda: one.close())
os._exit(0)
