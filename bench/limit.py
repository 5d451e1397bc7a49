#!/usr/bin/env python3
"""limit -- does the memory limit hold, what does it cost, and does the program get on?

Usage: bench/limit.py [--quick | --full] [--lib DIRECTORY] [--only leak,grow,...]
Runs bench/limit.c, which leaks or grows, without a limit, under GCALLOC_GOMEMLIMIT=256MiB, and
under GCALLOC_GOMEMLIMIT=auto in a memory cgroup (made for the run and removed after it) and with
RLIMIT_DATA and RLIMIT_AS. RSS is sampled every 20 ms, the gctrace lines tell the rest. The table
goes to build/bench/limit/limit.md, the plot to limit.svg, every figure to limit.json beside it.
"""
import argparse
import collections
import contextlib
import os
import re
import resource
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import driver  # noqa: E402
import limit_plot  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402
import variants  # noqa: E402

MIB = 1 << 20
SAMPLE_S = 0.02
CAP = 0.50              # of all processor time: what the limiter leaves to the collector at most
SOFT = 1.02             # GCALLOC_GOMEMLIMIT is a soft limit; a fence is none
SPIRAL = 4              # this many times the processor time without a limit is no getting on
CGROUPS = "/sys/fs/cgroup"

# name; variant of the program; mode and live MiB; environment; how the process is confined and
# the bytes of that; the limit that should hold in MiB (None: none); whether it can be kept.
Case = collections.namedtuple("Case", "name variant mode live settings fence fence_mib limit fits")
Cycle = collections.namedtuple("Cycle", "at percent ms cpu_ms before after live goal")

CYCLE = re.compile(
    r"^gc \d+ @([\d.]+)s (\d+)%: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock, "
    r"([\d.]+)\+([\d.]+)/([\d.]+)/([\d.]+)\+([\d.]+) ms cpu, (\d+)->(\d+)->(\d+) MB, (\d+) MB goal",
    re.MULTILINE)


class Result:
    """One run of one case."""

    def __init__(self):
        self.samples = []       # (seconds, MiB of RSS)
        self.cycles = []
        self.values = {}
        self.failure = None
        self.wall = 0.0

    def peak(self):
        return max([rss for _, rss in self.samples] + [self.values.get("peak_rss", 0)])

    def allowed(self, case):
        """RSS that respects the limit. A fence is for all memory of the process; GCALLOC_GOMEMLIMIT
        is soft, and for the library's memory, not for the program's code and data."""
        if case.fence:
            return case.limit
        return case.limit * SOFT + self.values.get("base_rss", 0)

    def collector_share(self):
        """Processor time of all tasks but the program's thread, of what the CPUs had."""
        spent = self.values["cpu_all"] - self.values["cpu_main"]
        return spent / (self.values["wall"] * os.cpu_count())


# --- where a process is held ------------------------------------------------------------------

def cgroup_own(version):
    """The directory of our own group with the memory controller, or None."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        for line in file:
            number, controllers, group = line.rstrip("\n").split(":", 2)
            if version == 1 and "memory" in controllers.split(","):
                return os.path.join(CGROUPS, "memory") + group.rstrip("/")
            if version == 2 and number == "0":
                for mount in (CGROUPS, os.path.join(CGROUPS, "unified")):
                    if os.path.exists(mount + "/cgroup.controllers"):
                        return mount + group.rstrip("/")
    return None


def cgroup_make(mib):
    """A group below our own, limited; its directory or None."""
    for version, name in ((1, "memory.limit_in_bytes"), (2, "memory.max")):
        own = cgroup_own(version)
        if own is None:
            continue
        path = os.path.join(own, "gcalloc-limit-%d" % os.getpid())
        try:
            os.mkdir(path)
        except OSError:
            continue
        try:
            with open(os.path.join(path, name), "w", encoding="ascii") as file:
                file.write(str(mib * MIB))
            return path
        except OSError:
            os.rmdir(path)
    return None


@contextlib.contextmanager
def fence_make(case):
    """What the child calls between fork and exec; None if it cannot be made."""
    if case.fence == "cgroup":
        path = cgroup_make(case.fence_mib)

        def enter():
            with open(os.path.join(path, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(os.getpid()))

        try:
            yield enter if path else None
        finally:
            if path:
                cgroup_remove(path)
    elif case.fence:
        limit = {"data": resource.RLIMIT_DATA, "as": resource.RLIMIT_AS}[case.fence]
        yield lambda: resource.setrlimit(limit, (case.fence_mib * MIB,) * 2)
    else:
        yield lambda: None


def cgroup_remove(path):
    """The kernel may take a moment to see that the last process is gone."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            os.rmdir(path)
            return
        time.sleep(0.05)
    print("bench/limit.py: cannot remove " + path, file=sys.stderr)


# --- a run ------------------------------------------------------------------------------------

def rss_mib(pid):
    with open("/proc/%d/statm" % pid, encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


def watch(result, process, timeout):
    """Samples RSS until the process ends, or until it is killed for being late."""
    began = time.monotonic()
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            result.samples.append((time.monotonic() - began, rss_mib(process.pid)))
        if time.monotonic() - began > timeout:
            process.kill()
            result.failure = "no end after %d s" % timeout
        time.sleep(SAMPLE_S)
    result.wall = time.monotonic() - began


def trace_parse(text):
    cycles = []
    for found in CYCLE.findall(text):
        at, percent, first, middle, second, *cpu = [float(word) for word in found[:10]]
        cycles.append(Cycle(at, percent, first + middle + second, sum(cpu),
                            *[int(word) for word in found[10:]]))
    return cycles


def case_run(bench, case, total):
    result = Result()
    preload = bench.library if case.variant == "leak" else None
    settings = dict(case.settings, GCALLOC_DEBUG="gctrace=1")
    subject = subjects.Subject(case.name, preload, settings, is_peer=False)
    with fence_make(case) as enter, open(bench.path("run.err"), "w+", encoding="utf-8",
                                         errors="replace") as errors:
        if enter is None:
            bench.complain("%s: no memory cgroup can be made here" % case.name)
            return None
        process = subprocess.Popen(
            [bench.path("limit-" + case.variant), case.mode, str(case.live), str(total)],
            env=subject.environment(), stdout=subprocess.PIPE, stderr=errors, text=True,
            preexec_fn=enter)
        watch(result, process, bench.options.timeout)
        output = process.communicate()[0]
        errors.seek(0)
        text = errors.read()
    result.cycles = trace_parse(text)
    for line in output.splitlines():
        words = line.split()
        if words[0] != "#":
            result.values[words[0]] = float(words[2])
    if process.returncode != 0 and result.failure is None:
        tail = [line for line in text.strip().splitlines() if not line.startswith("gc ")][-1:]
        result.failure = "exit status %d %s" % (process.returncode, " ".join(tail))
    return result


# --- cases ------------------------------------------------------------------------------------

def cases_find():
    limit = {"GCALLOC_GOMEMLIMIT": "256MiB"}
    only = {"GCALLOC_GOMEMLIMIT": "256MiB", "GCALLOC_GOGC": "off"}
    tight = {"GCALLOC_GOMEMLIMIT": "128MiB"}
    auto = {"GCALLOC_GOMEMLIMIT": "auto"}
    return [
        Case("leak, no limit", "leak", "leak", 64, {}, None, 0, None, True),
        Case("leak, 256 MiB", "leak", "leak", 64, limit, None, 0, 256, True),
        Case("leak, 256 MiB, GOGC=off", "leak", "leak", 64, only, None, 0, 256, True),
        Case("leak, 128 MiB", "leak", "leak", 64, tight, None, 0, 128, True),
        Case("leak, auto, cgroup 256 MiB", "leak", "leak", 64, auto, "cgroup", 256, 256, True),
        Case("leak, auto, RLIMIT_DATA 256 MiB", "leak", "leak", 64, auto, "data", 256, 256, True),
        Case("leak, auto, RLIMIT_AS 512 MiB", "leak", "leak", 64, auto, "as", 512, 512, True),
        Case("grow to 150, no limit", "leak", "grow", 150, {}, None, 0, None, True),
        Case("grow to 150, 256 MiB", "leak", "grow", 150, limit, None, 0, 256, True),
        Case("grow to 150, auto, cgroup 320 MiB", "leak", "grow", 150, auto, "cgroup", 320, 320,
             True),
        Case("grow to 320, no limit", "leak", "grow", 320, {}, None, 0, None, True),
        Case("grow to 320, 256 MiB", "leak", "grow", 320, limit, None, 0, 256, False),
        Case("gc_alloc leak, no limit", "gcalloc", "leak", 64, {}, None, 0, None, True),
        Case("gc_alloc leak, 256 MiB, GOGC=off", "gcalloc", "leak", 64, only, None, 0, 256, True),
        Case("gc_alloc leak, 128 MiB", "gcalloc", "leak", 64, tight, None, 0, 128, True),
        Case("gc_alloc grow to 320, no limit", "gcalloc", "grow", 320, {}, None, 0, None, True),
        Case("gc_alloc grow to 320, 256 MiB", "gcalloc", "grow", 320, limit, None, 0, 256, False),
    ]


def base_of(case, results):
    """The run of the same program without a limit."""
    for other, result in results:
        if (other.variant, other.mode, other.live, other.limit) == (
                case.variant, case.mode, case.live, None):
            return result
    return None


def verdict(case, result, base):
    """What does not hold, in words; "" when all does."""
    found = []
    if result.failure:
        return result.failure
    if case.limit and case.fits and result.peak() > result.allowed(case):
        found.append("limit exceeded by %.1f%%" % (100 * result.peak() / case.limit - 100))
    if result.collector_share() > CAP:
        found.append("over the CPU cap")
    if base and not base.failure and (
            result.values["cpu_all"] > SPIRAL * base.values["cpu_all"]):
        found.append("death spiral")
    return ", ".join(found)


def row_of(case, result, results):
    base = base_of(case, results)
    over = [rss for _, rss in result.samples if case.limit and rss > result.allowed(case)]
    head = [case.name, str(case.limit or "-"), table.number(result.peak())]
    if result.failure:
        return head + ["-"] * 8 + ["NO: " + result.failure]
    reason = verdict(case, result, base)

    def beside(field):
        return "%.2f" % (result.values[field] / base.values[field]) if (
            base and not base.failure) else "-"

    return head + [
        "%.0f%%" % (100 * len(over) / max(1, len(result.samples))) if case.limit else "-",
        str(len(result.cycles)), table.number(result.values["wall"] / 1000),
        beside("wall"), beside("cpu_main"), beside("cpu_all"),
        "%.0f%%" % (100 * result.collector_share()),
        "%d%%" % (result.cycles[-1].percent if result.cycles else 0),
        "NO: " + reason if reason else "yes"]


def results_table(results):
    header = ["case", "limit MiB", "peak RSS", "time over", "cycles", "wall s", "wall / no limit",
              "program's CPU /", "all CPU /", "collector's CPU", "by gctrace", "holds"]
    return table.markdown(header, [row_of(case, result, results) for case, result in results])


def raw_list(results):
    return [{"case": case._asdict(), "failure": result.failure, "values": result.values,
             "rss": result.samples, "cycles": [cycle._asdict() for cycle in result.cycles]}
            for case, result in results]


def options_parse():
    parser = argparse.ArgumentParser(description="What the memory limit holds and costs.")
    driver.common_options(parser)
    parser.add_argument("--only", type=lambda text: text.split(","),
                        help="only cases whose name contains one of these")
    parser.add_argument("--total", type=int, help="MiB to allocate in a run")
    options = parser.parse_args()
    options.total = options.total or (12288 if options.full else 2048)
    return options


def main():
    options = options_parse()
    bench = driver.Bench(options, "limit")
    driver.library_copy(bench)
    if len(variants.programs_build(bench, ["limit"], ("leak", "gcalloc"))) != 2:
        raise SystemExit("bench/limit.py: cannot compile bench/limit.c")
    results = []
    for case in cases_find():
        if options.only and not any(text in case.name for text in options.only):
            continue
        driver.progress(case.name)
        result = case_run(bench, case, options.total)
        if result:
            results.append((case, result))
    bad = [case.name for case, result in results if verdict(case, result, base_of(case, results))]
    facts = driver.machine_facts(bench) + driver.collector_facts() + [
        "- %d MiB allocated in each run; %.0f s in all" % (options.total, driver.elapsed_s())]
    parts = ["time over: share of the RSS samples above the limit. Ratios are to the run of the "
              "same program without a limit; all CPU includes the collector's tasks, the program's "
              "thread includes what it marks itself (assists). "
              "collector's CPU: of the time that all CPUs "
              "had. holds: ended, peak RSS within the limit where the live set fits (+%.0f%% and "
              "the program's own RSS unless it is fenced in), at most %d%% of the CPUs for the "
              "collector, at most %d times the CPU without a limit." % (
                  100 * SOFT - 100, 100 * CAP, SPIRAL), results_table(results)]
    limit_plot.svg_write(bench.path("limit.svg"), results)
    status = driver.finish(bench, "limit", "Memory limit", facts, parts, raw_list(results))
    for name in bad:
        print("DOES NOT HOLD: " + name, file=sys.stderr)
    return 1 if bad else status


if __name__ == "__main__":
    sys.exit(main())
