import threading
done = []
worker = threading.Thread(target=lambda: done.append(1))
worker.start()
worker.join()
print(done)
