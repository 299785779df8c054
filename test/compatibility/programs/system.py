import contextlib, ctypes, dataclasses, datetime, enum, locale, os, pickle, platform, resource, select, sys, time, zoneinfo
print(sys.argv, sys.version_info[:2], sys.byteorder, platform.machine(), os.name)
print(datetime.datetime.fromtimestamp(0, zoneinfo.ZoneInfo("Europe/Berlin")), time.strftime("%Z", time.localtime(0)))
before = time.monotonic_ns()
time.sleep(0.01)
print(10_000_000 <= time.monotonic_ns() - before < 5_000_000_000, time.time() > 1e9, time.process_time() > 0)
print(ctypes.CDLL(None).abs(-5), ctypes.string_at(b"bytes"), ctypes.sizeof(ctypes.c_long))
callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))(lambda a, b: a[0] - b[0])
numbers = (ctypes.c_int * 5)(5, 2, 4, 1, 3)
ctypes.CDLL(None).qsort(numbers, 5, 4, callback)
print(list(numbers))
read_end, write_end = os.pipe()
poll = select.poll()
poll.register(read_end, select.POLLIN)
print(poll.poll(10), select.select([read_end], [write_end], [], 0.01)[1] == [write_end])
os.write(write_end, b"x")
print(len(poll.poll(1000)))
print(resource.getrlimit(resource.RLIMIT_CORE)[0] >= 0, resource.getrusage(resource.RUSAGE_SELF).ru_utime > 0)
print(pickle.loads(pickle.dumps({"a": [1, 2, {3}]})), len(os.urandom(16)), os.getpid() > 0)

def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)

sys.setrecursionlimit(20000)
print(deep(15000))
try:
    deep(10**6)
except RecursionError as error:
    print(error)
