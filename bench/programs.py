"""programs -- real programs that allocate: what they need, how each is run, what a run tells.

cost.py asks with them what mode collect costs, run.py how the allocators compare. Every program
does the same work each time and prints the same; its inputs are in bench/cost/ or generated.
"""
import collections
import os
import shutil
import signal
import subprocess
import sys
import time

import driver
import subjects

SOURCES = os.path.join(driver.BENCH, "cost")
GENERATOR = os.path.join(driver.ROOT, "tests", "preload", "src", "generate-c.awk")

# What a program needs, and how it is run: function(bench, program, subject) -> Sample.
Program = collections.namedtuple("Program", "name needs command run settings what")
# s of processor time with all children, s of wall time, MiB at the peak.
Sample = collections.namedtuple("Sample", "cpu wall rss output errors")


class Failed(Exception):
    """A run that does not count; the text says why."""


def launcher_build(bench):
    """launch.c, which measures what it starts."""
    if not driver.program_build(bench, "launch", "launch", ["-static"], harness=False):
        raise SystemExit("bench: cannot compile bench/launch.c")


def launcher_command(bench, report, count, command):
    return [bench.path("launch"), report, str(count)] + command


def report_read(path):
    """[(s of wall time, s of processor time, KiB, exit status)], one for each run."""
    runs = []
    with open(path, encoding="ascii") as file:
        for line in file:
            wall_ns, user_us, system_us, kib, status = [int(word) for word in line.split()]
            runs.append((wall_ns / 1e9, (user_us + system_us) / 1e6, kib,
                         os.waitstatus_to_exitcode(status)))
    return runs


class Child:
    """A program with its outputs in files; wait() tells what it and its children have used."""

    def __init__(self, bench, name, command, subject, more):
        self.paths = [bench.path(name + ending) for ending in (".out", ".err", ".report")]
        env = dict(subject.environment(), **more)
        with open(self.paths[0], "wb") as out, open(self.paths[1], "wb") as errors:
            self.process = subprocess.Popen(
                launcher_command(bench, self.paths[2], 1, command), env=env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd=bench.directory,
                start_new_session=True)

    def texts(self):
        result = []
        for path in self.paths[:2]:
            with open(path, encoding="utf-8", errors="replace") as file:
                result.append(file.read())
        return result

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self, timeout):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise Failed("no end after %d s" % timeout) from late
        output, errors = self.texts()
        runs = report_read(self.paths[2])
        status = runs[0][3] if runs else self.process.returncode
        if status != 0:
            raise Failed("exit status %d: %s" % (status, errors.strip()[-300:]))
        wall, cpu, kib, _ = runs[0]
        return Sample(cpu, wall, kib / 1024, output, errors)


def plain_run(bench, program, subject):
    child = Child(bench, program.name, program.command, subject, program.settings)
    return child.wait(bench.options.timeout)


# --- redis -----------------------------------------------------------------------------------

def redis_find():
    """redis-server; in Debian redis-check-rdb is the same binary, which looks at its name."""
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")


def redis_answers(socket):
    return subjects.output_of(["redis-cli", "-s", socket, "ping"]) == "PONG"


def redis_load(socket, arguments, bench):
    done = subprocess.run(["redis-benchmark", "-s", socket, "-q"] + arguments, check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          timeout=bench.options.timeout)
    if done.returncode != 0:
        raise Failed("redis-benchmark: " + done.stderr[-200:])


def redis_run(bench, program, subject):
    """The server's processor time; the wall time is that of the load. The client is not ours."""
    socket = bench.path("redis.sock")
    if os.path.lexists(bench.path("redis-server")):
        os.remove(bench.path("redis-server"))
    os.symlink(redis_find(), bench.path("redis-server"))
    command = [bench.path("redis-server"), "--port", "0", "--unixsocket", socket, "--save", "",
               "--dir", bench.directory, "--loglevel", "warning"]
    child = Child(bench, program.name, command, subject, {})
    try:
        for _ in range(200):
            if redis_answers(socket):
                break
            time.sleep(0.05)
        began = time.monotonic()
        for arguments in program.command:
            redis_load(socket, arguments, bench)
        wall = time.monotonic() - began
        subjects.output_of(["redis-cli", "-s", socket, "shutdown", "nosave"])
        return child.wait(20)._replace(wall=wall, output="")
    finally:
        child.kill()


# --- which -----------------------------------------------------------------------------------

def c_file_write(bench, lines):
    path = bench.path("big.c")
    with open(path, "w", encoding="utf-8") as file:
        subprocess.run(["awk", "-v", "lines=%d" % lines, "-f", GENERATOR], stdout=file, check=True)
    return path


def script(name):
    return os.path.join(SOURCES, name)


def scaled(count, times):
    return str(max(1, round(count * times)))


def programs_find(bench, times):
    """Every program; times 1 is one to three seconds each on a processor of 2020."""
    values = ["-r", "400000", "-d", "200", "-P", "16", "-c", "20"]
    redis = [["-n", scaled(600000, times), "-t", "set"] + values,
             ["-n", scaled(600000, times), "-t", "get,set,incr"] + values,
             ["-n", scaled(200000, times), "-t", "hset,lpush,lpop,sadd,zadd"] + values]
    compiler = shutil.which("gcc") or "gcc"
    source = c_file_write(bench, max(100, round(9000 * times)))
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    lua = next((name for name in ("lua5.4", "lua", "lua5.3") if shutil.which(name)), "lua5.4")
    return [
        Program("redis", ["redis-benchmark", "redis-cli", "redis-check-rdb"], redis, redis_run, {},
                "redis-server under redis-benchmark"),
        Program("python", [python], [python, script("objects.py"), scaled(20, times)], plain_run,
                {"PYTHONMALLOC": "malloc"}, "objects, dicts, JSON; PYTHONMALLOC=malloc"),
        Program("gcc", [compiler, "awk"], [compiler, "-O1", "-c", source, "-o", os.devnull],
                plain_run, {}, "gcc -O1 of a generated file"),
        Program("gs", ["gs"],
                ["gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=pdfwrite",
                 "-sOutputFile=" + os.devnull, "-dpages=" + scaled(16, times),
                 script("pages.ps")], plain_run, {}, "ghostscript, a generated document to PDF"),
        Program("sqlite", ["sqlite3"],
                ["sqlite3", ":memory:", ".param set :rows " + scaled(700000, times),
                 ".read " + script("rows.sql")],
                plain_run, {}, "insert, index, group by in memory"),
        Program("perl", ["perl"], ["perl", script("mix.pl"), scaled(3, times)], plain_run,
                {"PERL_HASH_SEED": "0"},
                "hashes, strings, sort"),
        Program("lua", [lua], [lua, script("mix.lua"), scaled(24, times)], plain_run, {},
                "tables and strings, Lua's own collector"),
    ]


def programs_usable(bench, times):
    """The programs that are installed, and asked for with --only."""
    only = bench.options.only
    found = []
    for program in programs_find(bench, times):
        missing = [tool for tool in program.needs if not shutil.which(tool)]
        if only and program.name not in only and "real" not in only:
            continue
        if missing:
            bench.complain("%s: %s not installed (bench/install.sh)" % (
                program.name, ", ".join(missing)))
        else:
            found.append(program)
    return found


def sample_take(bench, program, subject, expected):
    """A Sample, or None after a complaint. All subjects must print the same."""
    try:
        sample = program.run(bench, program, subject)
        if expected.setdefault(program.name, sample.output) != sample.output:
            raise Failed("prints something else")
    except (Failed, subprocess.TimeoutExpired, OSError) as failure:
        bench.complain("%s, %s: %s" % (program.name, subject.name, failure),
                       is_ours=not subject.is_peer)
        return None
    return sample
