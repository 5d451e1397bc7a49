#!/usr/bin/env python3
"""cost -- what mode collect costs programs that free what they allocate, over mode manual.

Usage: bench/cost.py [--quick | --full] [--lib DIRECTORY] [--only redis,python,gcc,sqlite,perl,lua]
Runs real programs with the library preloaded, round robin: mode manual, mode manual once more (what
the two differ by is noise), mode collect, and mode collect with a minimum heap of 8 MiB, so
that cycles happen in small programs, too. Measured: processor time of the program and all its
children, the collector's included, and wall time. Cycles are counted in a separate run with
gctrace.
The table goes to build/bench/cost/cost.md, every figure to cost.json beside it.
"""
import argparse
import collections
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import run as runner  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402
import throughput_build as build  # noqa: E402

SOURCES = os.path.join(runner.BENCH, "cost")
GENERATOR = os.path.join(runner.ROOT, "tests", "preload", "src", "generate-c.awk")
WANTED = 1.03

# What a program needs, and how it is run: function(bench, program, subject) -> Sample.
Program = collections.namedtuple("Program", "name needs command run settings what")
Sample = collections.namedtuple("Sample", "cpu wall rss output errors")


class Failed(Exception):
    """A run that does not count; the text says why."""


class Child:
    """A program with its outputs in files; wait() tells what it and its children have used."""

    def __init__(self, bench, name, command, subject, more):
        self.paths = [bench.path(name + ending) for ending in (".out", ".err")]
        env = dict(subject.environment(), **more)
        with open(self.paths[0], "wb") as out, open(self.paths[1], "wb") as errors:
            self.began = time.monotonic()
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=errors, cwd=bench.directory)

    def texts(self):
        result = []
        for path in self.paths:
            with open(path, encoding="utf-8", errors="replace") as file:
                result.append(file.read())
        return result

    def wait(self, timeout):
        def late(_signal, _frame):
            self.process.kill()

        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, timeout)
        _, status, usage = os.wait4(self.process.pid, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        wall = time.monotonic() - self.began
        self.process.returncode = os.waitstatus_to_exitcode(status)
        output, errors = self.texts()
        if status != 0:
            raise Failed("exit status %d: %s" % (self.process.returncode, errors.strip()[-300:]))
        return Sample(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, output,
                      errors)


def plain_run(bench, program, subject):
    child = Child(bench, program.name, program.command, subject, program.settings)
    return child.wait(bench.options.timeout)


# --- redis ---------------------------------------------------------------------------------

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
        if child.process.returncode is None:
            child.process.kill()


# --- programs ---------------------------------------------------------------------------------

def c_file_write(bench, lines):
    path = bench.path("big.c")
    with open(path, "w", encoding="utf-8") as file:
        subprocess.run(["awk", "-v", "lines=%d" % lines, "-f", GENERATOR], stdout=file, check=True)
    return path


def script(name):
    return os.path.join(SOURCES, name)


def programs_find(bench):
    times = 2 if bench.options.full else 1
    values = ["-r", "400000", "-d", "200", "-P", "16", "-c", "20"]
    redis = [["-n", "600000", "-t", "set"] + values,
             ["-n", str(600000 * times), "-t", "get,set,incr"] + values,
             ["-n", str(200000 * times), "-t", "hset,lpush,lpop,sadd,zadd"] + values]
    compiler = shutil.which("gcc") or "gcc"
    source = c_file_write(bench, 9000 * times)
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    lua = next((name for name in ("lua", "lua5.4", "lua5.3") if shutil.which(name)), "lua")
    return [
        Program("redis", ["redis-benchmark", "redis-cli", "redis-check-rdb"], redis, redis_run, {},
                "redis-server under redis-benchmark"),
        Program("python", [python], [python, script("objects.py"), str(20 * times)], plain_run,
                {"PYTHONMALLOC": "malloc"}, "objects, dicts, JSON; PYTHONMALLOC=malloc"),
        Program("gcc", [compiler, "awk"], [compiler, "-O2", "-c", source, "-o", os.devnull],
                plain_run, {}, "gcc -O2 of a generated file"),
        Program("sqlite", ["sqlite3"],
                ["sqlite3", ":memory:", ".read " + script("rows.sql")],
                plain_run, {}, "insert, index, group by in memory"),
        Program("perl", ["perl"], ["perl", script("mix.pl"), str(3 * times)], plain_run,
                {"PERL_HASH_SEED": "0"},
                "hashes, strings, sort"),
        Program("lua", [lua], [lua, script("mix.lua"), str(24 * times)], plain_run, {},
                "tables and strings, Lua's own collector"),
    ]


def usable(bench, program):
    missing = [tool for tool in program.needs if not shutil.which(tool)]
    if missing:
        bench.complain("%s: %s not installed (tests/install.sh)" % (
            program.name, ", ".join(missing)))
    return not missing


# --- measuring ---------------------------------------------------------------------------------

def columns_find(bench):
    def ours(name, **settings):
        return subjects.Subject(name, bench.library, settings, is_peer=False)

    return [ours("manual", GCALLOC_MODE="manual"), ours("manual again", GCALLOC_MODE="manual"),
            ours("collect", GCALLOC_MODE="collect"),
            ours("collect 8M", GCALLOC_MODE="collect", GCALLOC_HEAPMIN="8MiB")]


def sample_take(bench, program, subject, expected):
    """A Sample, or None after a complaint. All subjects must print the same."""
    try:
        sample = program.run(bench, program, subject)
        if expected.setdefault(program.name, sample.output) != sample.output:
            raise Failed("prints something else")
    except (Failed, subprocess.TimeoutExpired, OSError) as failure:
        bench.complain("%s, %s: %s" % (program.name, subject.name, failure), is_ours=True)
        return None
    return sample


def measure(bench, programs, columns):
    """(program, subject) -> samples, one a round; a round that lacks one of them is left out."""
    results, expected = collections.defaultdict(list), {}
    for number in range(bench.options.rounds):
        for program in programs:
            # First there, then back: what drifts hits all columns alike.
            order = columns if number % 2 == 0 else columns[::-1]
            runner.progress("round %d/%d, %s" % (number + 1, bench.options.rounds, program.name))
            taken = {c.name: sample_take(bench, program, c, expected) for c in order}
            if None not in taken.values():
                for name, sample in taken.items():
                    results[program.name, name].append(sample)
    return results


CYCLE = re.compile(r"^gc \d+ @.*? ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock, "
                   r"[\d.]+\+[\d.]+/([\d.]+)/.*?(\d+)->(\d+)->(\d+) MB", re.MULTILINE)


def cycles_count(bench, program, subject, expected):
    """(cycles, ms of processor time of the markers, largest live heap) with gctrace on."""
    traced = subjects.Subject(subject.name, subject.preload,
                              dict(subject.settings, GCALLOC_DEBUG="gctrace=1"), is_peer=False)
    sample = sample_take(bench, program, traced, expected)
    found = CYCLE.findall(sample.errors) if sample else []
    return (len(found), sum(float(cycle[3]) for cycle in found),
            max([int(cycle[6]) for cycle in found], default=0))


# --- tables -----------------------------------------------------------------------------------

def ratios(results, program, name, base, field):
    """Of each round: what hits a whole round cancels."""
    return [getattr(ours, field) / getattr(theirs, field) for ours, theirs in
            zip(results[program, name], results[program, base])]


def ratio_cell(values):
    """Median and the middle half of the rounds."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return "%.3f (%.3f-%.3f)" % (statistics.median(ordered), ordered[quarter],
                                 ordered[-1 - quarter])


def ratio_least(results, program, name):
    """Of the least disturbed runs."""
    least = [min(s.cpu for s in results[program, column]) for column in (name, "manual")]
    return least[0] / least[1]


def ratio_table(results, programs, field, names):
    header = ["program", "manual, s"] + names
    rows = []
    for program in programs:
        if results[program.name, "manual"]:
            middle = statistics.median(getattr(s, field) for s in results[program.name, "manual"])
            rows.append([program.name, table.number(middle)] + [
                ratio_cell(ratios(results, program.name, name, "manual", field)) for name in names])
    return table.markdown(header, rows)


def summary_table(results, programs, cycles):
    header = ["program", "what", "manual CPU s", "collect / manual", "fastest runs", "noise",
              "cycles", "markers, CPU s", "live MB", "peak RSS MiB manual", "collect",
              "<= %.2f" % WANTED]
    rows = []
    for program in programs:
        manual = results[program.name, "manual"]
        collect = results[program.name, "collect"]
        if not manual:
            continue
        ratio = statistics.median(ratios(results, program.name, "collect", "manual", "cpu"))
        noise = statistics.median(ratios(results, program.name, "manual again", "manual", "cpu"))
        count, ms, live = cycles[program.name, "collect"]
        rows.append([program.name, program.what,
                     table.number(statistics.median(s.cpu for s in manual)), "%.3f" % ratio,
                     "%.3f" % ratio_least(results, program.name, "collect"), "%.3f" % noise,
                     str(count), "%.2f" % (ms / 1000), str(live) if count else "-",
                     table.number(statistics.median(s.rss for s in manual)),
                     table.number(statistics.median(s.rss for s in collect)),
                     "yes" if ratio <= WANTED else "NO"])
    return table.markdown(header, rows)


def cycle_table(programs, cycles, name):
    rows = [[program.name] + ["%d" % cycles[program.name, name][0],
                              "%.2f" % (cycles[program.name, name][1] / 1000)]
            for program in programs if (program.name, name) in cycles]
    return table.markdown(["program, " + name, "cycles", "markers, CPU s"], rows)


def json_write(bench, results, cycles):
    raw = [{"program": program, "subject": name, "cycles": cycles.get((program, name)),
            "cpu_s": [s.cpu for s in samples], "wall_s": [s.wall for s in samples],
            "peak_rss_mib": [s.rss for s in samples]}
           for (program, name), samples in results.items()]
    with open(bench.path("cost.json"), "w", encoding="utf-8") as file:
        json.dump(raw, file, indent=1)


def options_parse():
    parser = argparse.ArgumentParser(description="What mode collect costs over mode manual.")
    build.common_options(parser)
    parser.add_argument("--only", type=lambda text: text.split(","), help="some programs")
    options = parser.parse_args()
    options.rounds = options.rounds or (9 if options.full else 3)
    return options


def main():
    options = options_parse()
    load = os.getloadavg()[0]
    bench = build.Bench(options, "cost")
    programs = [program for program in programs_find(bench)
                if (not options.only or program.name in options.only) and usable(bench, program)]
    columns = columns_find(bench)
    results = measure(bench, programs, columns)
    cycles = {(program.name, column.name): cycles_count(bench, program, column, {})
              for program in programs for column in columns if column.name.startswith("collect")}
    facts = build.facts_list(bench, load) + ["- %d rounds, %.0f s in all; load at the end %.1f" % (
        options.rounds, time.monotonic() - runner.STARTED, os.getloadavg()[0])]
    names = [column.name for column in columns[1:]]
    parts = ["# The price of mode collect for programs that free", "\n".join(facts)]
    if bench.problems:
        parts.append(build.problems_list(bench))
    parts += ["CPU is user and system time of the program, its children and the collector. A ratio "
              "is the median over rounds of collect over manual in the same round; fastest runs: "
              "the least of all rounds over the least. noise: the same ratio between two equal "
              "columns. Markers: processor time of the collector's tasks by gctrace.",
              summary_table(results, programs, cycles),
              "## Processor time over manual: median (middle half of the rounds)",
              ratio_table(results, programs, "cpu", names),
              "## Wall time over manual", ratio_table(results, programs, "wall", names),
              "## Cycles with a minimum heap of 8 MiB",
              cycle_table(programs, cycles, "collect 8M")]
    json_write(bench, results, cycles)
    build.results_write(bench, "cost.md", parts)
    return 1 if bench.ours_failed else 0


if __name__ == "__main__":
    sys.exit(main())
