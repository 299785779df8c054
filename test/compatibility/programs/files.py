import errno, fcntl, glob, os, pathlib, shutil, stat, tempfile
for folder, folders, names in os.walk("folder"):
    print(folder, sorted(folders), sorted(names))
print(sorted(glob.glob("**/t*", recursive=True))[:5], pathlib.Path("folder/../csv").resolve().name)
with tempfile.NamedTemporaryFile() as named, tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as unnamed:
    named.write(b"x" * 10000)
    unnamed.write(b"abc")
    unnamed.seek(0)
    print(os.path.dirname(folder) == tempfile.gettempdir(), unnamed.read(), os.fstat(named.fileno()).st_size)
    pathlib.Path(folder, "inner").mkdir()
shutil.copytree("folder", "copy", symlinks=True)
shutil.move("csv", "moved")
os.link("moved", "hard")
print(os.stat("moved").st_nlink, stat.filemode(os.stat("moved").st_mode), os.path.samefile("moved", "hard"))
os.chmod("moved", 0o1711)
os.utime("moved", ns=(1_500_000_000, 2_500_000_000))
print(oct(os.stat("moved").st_mode), os.stat("hard").st_mtime_ns)
for action in (lambda: os.rmdir("copy"), lambda: os.mkdir("copy"), lambda: open("copy"), lambda: os.readlink("text"),
               lambda: os.rename("copy", "text"), lambda: os.listdir("text"), lambda: open("text/x"), lambda: os.unlink("copy"),
               lambda: os.read(99, 1), lambda: open("x" * 300), lambda: os.lseek(0, -1, 5), lambda: os.stat("")):
    try:
        print("no error", action())
    except OSError as error:
        print(errno.errorcode[error.errno])
with open("many/file-7", "r+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_EX)
    print(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE, fcntl.fcntl(file, fcntl.F_GETFD))
    os.ftruncate(file.fileno(), 100)
    os.posix_fallocate(file.fileno(), 0, 8192)
    os.fsync(file.fileno())
read_end, write_end = os.pipe()
os.write(write_end, b"through a pipe")
print(os.read(read_end, 100), os.isatty(1), os.get_inheritable(read_end))
with os.scandir("many") as entries:
    print(sum(entry.is_file() for entry in entries), os.access("text", os.R_OK), os.access("nothing", os.F_OK))
fd = os.open("folder", os.O_RDONLY | os.O_DIRECTORY)
print(sorted(os.listdir(fd)), os.stat("one", dir_fd=fd).st_size)
os.sendfile(os.open("sent", os.O_CREAT | os.O_WRONLY), os.open("noise", os.O_RDONLY), 100, 3000)
os.replace("hard", "text")
print(os.path.getsize("sent"), os.path.getsize("text"), os.getcwd() == os.environ["HOME"])
os.truncate("text", 2)
os.symlink("text", "again")
os.mkfifo("fifo", 0o600)
shutil.rmtree("copy")
