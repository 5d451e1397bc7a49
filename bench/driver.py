"""driver -- what every driver shares: options, where products lie, building, one run, the report.

A driver (run.py, cost.py, limit.py, metadata.py, pauses.py, throughput.py, spawn.py) makes a Bench, measures,
and ends with finish(), which prints the tables and writes them and every figure.
"""
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

import subjects

BENCH = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCH)
FLAGS = ["-O2", "-g", "-std=gnu17", "-fno-builtin", "-fno-plt", "-Wall", "-Wextra", "-pthread"]
STARTED = time.monotonic()


def progress(text):
    elapsed = time.monotonic() - STARTED
    print("bench: %3d s, %s" % (elapsed, text), file=sys.stderr, flush=True)


def elapsed_s():
    return time.monotonic() - STARTED


class Bench:
    """What one invocation has learned: measurements, and what went wrong."""

    def __init__(self, options, name=""):
        self.options = options
        self.directory = os.path.join(ROOT, "build", "bench", name)
        self.load = os.getloadavg()[0]
        self.library = self.path("libgcalloc.so")
        self.archive = self.path("libgcalloc.a")
        self.results = {}    # (program, case, unit) -> subject name -> values
        self.problems = []   # printed where they happen and again in the results
        self.ours_failed = False

    def path(self, name):
        return os.path.join(self.directory, name)

    def complain(self, text, is_ours=False):
        line = "SKIP " + text
        if line not in self.problems:
            self.problems.append(line)
            print(line, file=sys.stderr, flush=True)
        self.ours_failed = self.ours_failed or is_ours

    def record(self, program, name, lines, part=""):
        for case, unit, value in lines:
            case = "peak_rss " + (part or program) if case == "peak_rss" else case
            key = (program, case, unit)
            self.results.setdefault(key, {}).setdefault(name, []).append(value)

    def select(self, unit, programs=None):
        """(program, case) -> subject -> values, of one unit."""
        return {(program, case): row for (program, case, row_unit), row in self.results.items()
                if row_unit == unit and (programs is None or program in programs)}


# --- options ---------------------------------------------------------------------------------

def common_options(parser, timeout=180):
    """The options that every driver has."""
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="some minutes (the default)")
    mode.add_argument("--full", action="store_true", help="more rounds, longer runs")
    parser.add_argument("--lib", default=os.path.join(ROOT, "build"), metavar="DIRECTORY",
                        help="where libgcalloc.so and libgcalloc.a are (default: build)")
    parser.add_argument("--rounds", type=int, help="rounds instead of the mode's own number")
    parser.add_argument("--timeout", type=int, default=timeout,
                        help="seconds for one program run (default %d)" % timeout)
    parser.add_argument("--no-install", action="store_true", help="do not call bench/install.sh")
    return mode


def only_option(parser, what):
    parser.add_argument("--only", type=lambda text: text.split(","),
                        help=what + ", separated by commas")


def peer_options(parser):
    """Who else is measured, for the drivers that compare allocators."""
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PATH",
                        help="another library, not counted as a peer")
    parser.add_argument("peers", nargs="*", metavar="NAME:VERSION=PATH",
                        help="more peers: libraries")


def packages_install(options, *arguments):
    if not options.no_install:
        subprocess.run([os.path.join(BENCH, "install.sh"), *arguments], check=False)


# --- building --------------------------------------------------------------------------------

def compiler():
    return os.environ.get("CC", "cc").split()


def library_copy(bench):
    """Measures a copy of the library: a build beside a run must not mix two versions."""
    os.makedirs(bench.directory, exist_ok=True)
    for copy in (bench.library, bench.archive):
        original = os.path.join(os.path.abspath(bench.options.lib), os.path.basename(copy))
        if os.path.exists(copy):
            os.remove(copy)
        if os.path.exists(original):
            shutil.copy2(original, copy)
        else:
            bench.complain("%s is missing, run make first" % os.path.relpath(original), True)


def program_build(bench, output, source, extra=(), harness=True):
    """bench/SOURCE.c with the harness -> OUTPUT; False after saying what the compiler said."""
    sources = [source] + (["harness"] if harness else [])
    command = compiler() + FLAGS + ["-o", bench.path(output)] + [
        os.path.join(BENCH, name + ".c") for name in sources] + list(extra)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0


# --- one run ---------------------------------------------------------------------------------

def output_parse(text):
    """(provider of malloc, [(case, unit, value)]) from a program's lines."""
    provider, lines = "", []
    for line in text.splitlines():
        if line.startswith("# malloc "):
            provider = line[len("# malloc "):]
        elif not line.startswith("#"):
            case, unit, value = line.split()
            lines.append((case, unit, float(value)))
    return provider, lines


def command_run(bench, subject, command, what):
    """Runs a command to its end, under a subject; None after a complaint."""
    try:
        done = subprocess.run(command, env=subject.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                              errors="replace", timeout=bench.options.timeout, check=False)
    except subprocess.TimeoutExpired:
        bench.complain("%s: no end after %d s" % (what, bench.options.timeout),
                       not subject.is_peer)
        return None
    if done.returncode != 0:
        tail = " / ".join(done.stderr.strip().splitlines()[-2:])
        bench.complain("%s: exit status %d: %s" % (what, done.returncode, tail[-300:]),
                       not subject.is_peer)
        return None
    provider = re.search("^# malloc (.*)$", done.stdout, re.MULTILINE)
    if subject.preload and (provider is None or os.path.realpath(provider.group(1)) !=
                            os.path.realpath(subject.preload)):
        bench.complain(what + ": the preload did not take", not subject.is_peer)
        return None
    return done


def cycles_count(errors):
    """Of the gctrace lines in what a program wrote to stderr."""
    return len(re.findall(r"^gc \d+ @", errors, re.MULTILINE))


def program_run(bench, subject, program, arguments):
    """Runs one program under one subject and records its lines; the finished process or None."""
    what = "%s: %s %s" % (subject.name, program, " ".join(arguments))
    done = command_run(bench, subject, [bench.path(program)] + arguments, what)
    if done is None:
        return None
    _, lines = output_parse(done.stdout)
    part = "".join(a[len("--only="):] for a in arguments if a.startswith("--only="))
    program = program.split("-")[0]
    if subject.is_traced():
        lines.append(((part or program) + "_cycles", "cycles", cycles_count(done.stderr)))
    bench.record(program, subject.name, lines, part)
    return done


# --- the report ------------------------------------------------------------------------------

def library_describe(bench):
    if not os.path.exists(bench.library):
        return "missing"
    with open(bench.library, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:12]
    built = time.strftime("%H:%M:%S UTC", time.gmtime(os.path.getmtime(bench.library)))
    return "libgcalloc.so %s, built %s" % (digest, built)


def machine_facts(bench):
    """What the numbers belong to: machine, kernel, compiler, revision, load."""
    lscpu = subjects.output_of(["lscpu"])
    model = re.search(r"Model name:\s*(.*)", lscpu)
    cache = re.search(r"L3 cache:\s*(.*)", lscpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="ascii") as file:
            huge = re.search(r"\[(\w+)\]", file.read()).group(1)
    except (OSError, AttributeError):
        huge = "unknown"
    revision = subjects.output_of(["git", "-C", BENCH, "describe", "--always", "--dirty"])
    return [
        "- machine: %s, %d CPUs, L3 %s, %.0f GiB, Linux %s, THP %s" % (
            model.group(1) if model else platform.machine(), os.cpu_count() or 1,
            cache.group(1) if cache else "unknown", memory, platform.release(), huge),
        "- date: %s; load average at start: %.2f%s" % (
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), bench.load,
            " (**not a quiet machine**)" if bench.load > 0.5 else ""),
        "- compiler: " + (subjects.output_of(compiler() + ["--version"]).splitlines() or ["?"])[0],
        "- ours: revision %s, %s" % (revision or "?", library_describe(bench)),
    ]


def peer_facts(columns):
    versions = ["%s %s" % (s.name, s.version) for s in columns if s.is_peer]
    return ["- versions: %s; libgc %s" % (
        "; ".join(versions), subjects.package_version("libgc-dev") or "missing")]


def collector_facts():
    return ["- libgc %s; %s" % (subjects.package_version("libgc-dev") or "missing",
                                subjects.output_of(["go", "version"]) or "go missing")]


def finish(bench, name, title, facts, parts, raw):
    """Prints the tables, writes them to NAME.md and raw to NAME.json; the exit status."""
    head = ["# " + title, "\n".join(facts)]
    if bench.problems:
        head.append("Left out, or not as asked:\n\n" +
                    "\n".join("- " + line for line in bench.problems))
    text = "\n\n".join(head + parts) + "\n"
    print(text)
    path = bench.path(name + ".md")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    with open(bench.path(name + ".json"), "w", encoding="utf-8") as file:
        json.dump(raw, file, indent=1)
    print("written to " + os.path.relpath(path), file=sys.stderr)
    return 1 if bench.ours_failed else 0


def results_raw(bench):
    """Every single measurement, for finish()."""
    return [{"program": p, "case": c, "unit": u, "values": row}
            for (p, c, u), row in bench.results.items()]
