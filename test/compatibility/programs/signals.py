import os, signal, time
def handler(number, frame):
    print("caught", signal.Signals(number).name, flush=True)
for name in ("SIGUSR1", "SIGALRM", "SIGVTALRM", "SIGTERM"):
    signal.signal(getattr(signal, name), handler)
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGTERM)
signal.setitimer(signal.ITIMER_REAL, 0.05)
time.sleep(0.2)
print("slept on")
signal.alarm(1)
signal.pause()
print(signal.alarm(100) == 0, signal.alarm(0) in (99, 100))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
os.kill(os.getpid(), signal.SIGUSR1)
print(signal.sigpending())
print(signal.sigwait({signal.SIGUSR1}))
signal.setitimer(signal.ITIMER_VIRTUAL, 0.02)
end = time.process_time() + 5
while signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0 and time.process_time() < end:
    pass
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
for _ in range(3):
    signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
print("ending", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
