"""subjects -- who is measured: the allocators that can be preloaded, and the collectors.

A subject is a name, a library to preload and the environment it runs in. Peers are what ratios
are taken against; ours are never a peer of themselves.
"""
import glob
import os
import subprocess

LIBRARY_DIRECTORIES = (
    "/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/usr/local/lib64")

# Name, file name pattern, Debian package.
PEER_LIBRARIES = (
    ("mimalloc", "libmimalloc.so.2*", "libmimalloc2.0"),
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
)


class Subject:
    """One column: a peer (ratios are taken against the best of them) or one of ours."""

    def __init__(self, name, preload=None, settings=None, is_peer=True, version=""):
        self.name = name
        self.preload = preload
        self.settings = settings or {}
        self.is_peer = is_peer
        self.version = version

    def is_traced(self):
        """Does it print a line per cycle?"""
        return "gctrace=1" in self.settings.get("GCALLOC_DEBUG", "")

    def environment(self):
        """A small environment of its own: nothing of the caller's tunes an allocator."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        env.update(self.settings)
        if self.preload:
            env["LD_PRELOAD"] = self.preload
        return env


def output_of(command):
    """The output of a command, or "" when it does not exist or fails."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def package_version(package):
    return output_of(["dpkg-query", "-W", "-f", "${Version}", package])


def library_find(pattern):
    for directory in LIBRARY_DIRECTORIES:
        for path in sorted(glob.glob(os.path.join(directory, pattern))):
            return path
    return None


def peers_find(complain):
    """glibc and every known peer that is installed; complains of the others."""
    glibc_version = (os.confstr("CS_GNU_LIBC_VERSION") or "unknown").replace("glibc ", "")
    found = [Subject("glibc", version=glibc_version)]
    for name, pattern, package in PEER_LIBRARIES:
        path = library_find(pattern)
        if path is None:
            complain("%s: %s is not installed (see bench/install.sh)" % (name, package))
            continue
        version = package_version(package) or os.path.basename(os.path.realpath(path))
        found.append(Subject(name, path, version=version))
    return found


def extras_parse(arguments, is_peer):
    """Libraries named on the command line: path.so, name=path.so or name:version=path.so."""
    found = []
    for argument in arguments:
        label, _, path = argument.rpartition("=")
        name, _, version = label.partition(":")
        path = os.path.abspath(path)
        if not os.path.isfile(path):
            raise SystemExit("bench: no such library: %s" % path)
        found.append(Subject(name or os.path.basename(path).split(".so")[0], path,
                             is_peer=is_peer, version=version or "from the command line"))
    return found


def manual_find(library):
    return Subject("manual", library, {"GCALLOC_MODE": "manual"}, is_peer=False)


def ours_find(library):
    """Ours in mode manual and in mode collect, from one build.

    gctrace prints a line per cycle: the driver counts them, so that the table says whether mode
    collect had anything to collect."""
    settings = {"GCALLOC_MODE": "collect", "GCALLOC_DEBUG": "gctrace=1"}
    return [manual_find(library), Subject("collect", library, settings, is_peer=False)]


def columns_find(bench):
    """Every preloaded subject, ours last."""
    columns = peers_find(bench.complain)
    columns += extras_parse(bench.options.peers, is_peer=True)
    columns += extras_parse(bench.options.also, is_peer=False)
    if os.path.exists(bench.library):
        columns += ours_find(bench.library)
    return columns


def collectors_find(program):
    """(subject, variant of the program): the collectors, and libgc with a heap that begins large.

    markrate collects on request only; there the number of marker threads is what differs. newborn
    counts instructions up to the first collection."""
    ours = (Subject("gc_alloc", is_peer=False), "gcalloc")
    libgc = (Subject("libgc"), "libgc")
    if program == "markrate":
        return [ours, libgc, (Subject("libgc 1 marker", settings={"GC_MARKERS": "1"}), "libgc")]
    large = Subject("libgc 64M", settings={"GC_INITIAL_HEAP_SIZE": str(64 << 20)})
    if program == "newborn":
        return [ours, (large, "libgc")]
    return [ours, libgc, (large, "libgc")]


def hardened_find(library):
    settings = {"GCALLOC_MODE": "manual", "GCALLOC_DEBUG": "hardened=1"}
    return Subject("hardened", library, settings, is_peer=False)
