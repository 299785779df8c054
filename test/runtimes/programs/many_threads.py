"""Python's threads: locks, conditions, queues, timers, storage of each thread's own, a pool, a signal meanwhile."""
import concurrent.futures
import faulthandler
import itertools
import queue
import signal
import sys
import threading
import time

lock = threading.Lock()
total = 0


def add():
    global total
    for _ in range(2000):
        with lock:
            total += 1


threads = [threading.Thread(target=add) for _ in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("total", total, threading.active_count())

again = threading.RLock()
with again, again:
    print("a lock again", again.acquire(blocking=False))
print("not to be had", lock.acquire() and not lock.acquire(timeout=0.02))
lock.release()

condition = threading.Condition()
turn = 0


def take_turns(own):
    global turn
    for _ in range(300):
        with condition:
            condition.wait_for(lambda: turn % 3 == own)
            turn += 1
            condition.notify_all()


threads = [threading.Thread(target=take_turns, args=(own,)) for own in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("turns", turn)

jobs, results = queue.Queue(5), queue.Queue()


def work():
    while (job := jobs.get()) is not None:
        results.put(job * job)
        jobs.task_done()


workers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for worker in workers:
    worker.start()
for job in range(200):
    jobs.put(job)
jobs.join()
for _ in workers:
    jobs.put(None)
for worker in workers:
    worker.join()
print("results", sorted(results.queue) == [job * job for job in range(200)])
try:
    results.queue.clear()
    results.get(timeout=0.02)
except queue.Empty:
    print("nothing more")

own = threading.local()


def remember(value, seen):
    own.value = value
    time.sleep(0.002)
    seen.append(own.value == value)


seen = []
threads = [threading.Thread(target=remember, args=(value, seen)) for value in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("own", all(seen), len(seen), hasattr(own, "value"))

barrier = threading.Barrier(5, timeout=10)
order = []
threads = [threading.Thread(target=lambda: order.append(barrier.wait())) for _ in range(4)]
for thread in threads:
    thread.start()
barrier.wait()
for thread in threads:
    thread.join()
print("barrier", len(order))
event, semaphore = threading.Event(), threading.BoundedSemaphore(2)
timer = threading.Timer(0.02, event.set)
timer.start()
print("event", event.wait(0.001), event.wait(10))
cancelled = threading.Timer(60, event.clear)
cancelled.start()
cancelled.cancel()
cancelled.join()

with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(list(pool.map(lambda x: x**2, range(10))))
    futures = [pool.submit(divmod, 10, divisor) for divisor in (3, 0)]
    print(futures[0].result(), type(futures[1].exception()).__name__)
    done, waiting = concurrent.futures.wait([pool.submit(time.sleep, span) for span in (0.001, 0.05)], return_when="FIRST_COMPLETED")
    print(len(done) >= 1, len(done) + len(waiting))


def fail():
    raise ValueError("in a thread")


threading.excepthook = lambda args: print("hook", args.exc_type.__name__, args.exc_value)
thread = threading.Thread(target=fail)
thread.start()
thread.join()

# The main thread handles signals while another computes and never gives the interpreter up by itself.
sys.setswitchinterval(0.001)
stop = False


def compute():
    for _ in itertools.count():
        if stop:
            return


def handle(number, frame):
    global stop
    stop = True
    print("signal", number, threading.current_thread() is threading.main_thread())


signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.03)
thread = threading.Thread(target=compute)
thread.start()
thread.join()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
print("wait", signal.sigwait([signal.SIGUSR1]).name)
faulthandler.dump_traceback_later(60)
faulthandler.cancel_dump_traceback_later()
print(threading.stack_size(1 << 20), threading.active_count())
