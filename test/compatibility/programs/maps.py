import mmap, os
anonymous = mmap.mmap(-1, 1 << 20)
anonymous[4096:4101] = b"hello"
print(anonymous.find(b"hello"), anonymous[4090:4105])
anonymous.close()
with open("noise", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
    print(len(view), view[:8].hex(), view.rfind(b"\0"), sum(view[:]))
with open("text", "r+b") as file:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as private:
        private[0:4] = b"XXXX"
        print(private.readline(), file.readline())
    with mmap.mmap(file.fileno(), 0) as shared:
        shared[0:4] = b"YYYY"
        shared.flush()
        file.seek(0)
        print(file.readline())
        os.pwrite(file.fileno(), b"ZZ", 100)
        print(shared[98:104])
        shared.resize(1 << 16)
        shared[-3:] = b"end"
print(os.path.getsize("text"), open("text", "rb").read()[-5:])
