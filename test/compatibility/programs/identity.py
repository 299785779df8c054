import ctypes, errno, os, resource, signal
libc = ctypes.CDLL(None, use_errno=True)

def error(call):
    try:
        return call()
    except OSError as failure:
        return errno.errorcode[failure.errno]

print(os.nice(0), os.nice(3), os.getpriority(os.PRIO_PROCESS, 0), error(lambda: os.setpriority(os.PRIO_PROCESS, 0, 7)), os.nice(100))
print(error(lambda: os.getpriority(os.PRIO_PROCESS, 99999999)), error(lambda: os.getpriority(9, 0)))
print(os.sched_getscheduler(0), os.sched_get_priority_max(os.SCHED_FIFO), os.sched_get_priority_min(os.SCHED_OTHER), os.sched_getparam(0).sched_priority)
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
print(os.sched_getscheduler(0) == os.SCHED_BATCH, error(lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(5))))
os.sched_setaffinity(0, {0})
print(os.sched_getaffinity(0), os.cpu_count() >= 1, error(lambda: os.sched_setaffinity(0, {900})))
print(os.setpgid(0, 0), os.getpgid(0) == os.getpid(), error(os.setsid), os.getpgrp() == os.getpid())
print(error(lambda: os.setreuid(-1, -1)), error(lambda: os.setresgid(-1, -1, -1)), os.getresuid()[0] == os.getuid(), len(os.getgroups()) >= 0)
print(libc.personality(0xFFFFFFFF), libc.personality(0x40000), libc.personality(0xFFFFFFFF))
print(libc.mlockall(1), libc.munlockall(), libc.mlockall(64), errno.errorcode[ctypes.get_errno()])
print(resource.getrlimit(resource.RLIMIT_STACK)[0], os.umask(0o27), os.umask(0o22), os.uname().sysname)
print(os.path.exists("/proc/self/status"), os.readlink("/proc/self/exe"), open("/proc/self/comm").read().strip(), len(os.listdir("/proc/self/fd")) > 3)
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60))
print(resource.getrlimit(resource.RLIMIT_NOFILE), error(lambda: os.dup2(1, 55)), error(lambda: [os.dup(1) for _ in range(60)]))
