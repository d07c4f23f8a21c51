"""A memory limit for one process at a time: a control group of its own, version 1 or 2, where the system lets us make one."""
import os
import subprocess

ROOTS = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup")
LIMIT = ("memory.limit_in_bytes", "memory.max")


class Group:
    """A group below the one of this process; `Group.make()` is None where that is not allowed."""

    def __init__(self, folder):
        self.folder = folder
        self.limit = next(name for name in LIMIT if os.path.exists(f"{folder}/{name}"))

    @classmethod
    def make(cls):
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            rows = [line.strip().split(":", 2) for line in file]
        mine = {root: path for number, names, path in rows for root in ROOTS if "memory" in names or (number == "0" and root == ROOTS[1])}
        for root, path in mine.items():
            folder = f"{root}{path}".rstrip("/") + f"/bench-{os.getpid()}"
            try:
                os.mkdir(folder)
                return cls(folder)
            except (OSError, StopIteration):
                if os.path.isdir(folder):
                    os.rmdir(folder)
        return None

    def start(self, command, limit=None, **options):
        """Starts a process inside, which may have so many bytes."""
        with open(f"{self.folder}/{self.limit}", "w", encoding="ascii") as file:
            file.write(str(limit) if limit else "-1" if self.limit == LIMIT[0] else "max")

        def enter():
            with open(f"{self.folder}/cgroup.procs", "w", encoding="ascii") as file:
                file.write(str(os.getpid()))

        return subprocess.Popen(command, preexec_fn=enter, **options)

    def anonymous(self):
        """Bytes that can not be taken back: those of no file."""
        with open(f"{self.folder}/memory.stat", encoding="ascii") as file:
            rows = dict(line.split() for line in file)
        return int(rows.get("anon", rows.get("rss", 0)))

    def close(self):
        os.rmdir(self.folder)


def forget(folder):
    """Drops what the system has in memory of a folder's files, so that whoever reads them next is charged for them."""
    os.sync()
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
