#!/usr/bin/env python3
"""run -- builds the benchmark programs, runs them under every allocator, prints the tables.

Usage: bench/run.py [--quick | --full | --smoke] [options] [peer.so | name=peer.so ...]
Writes build/bench/results.md (the tables) and build/bench/results.json (every measurement).
See bench/README.md for what the programs ask and how to read the tables.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import report  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402

BENCH = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCH)
OUT = os.path.join(ROOT, "build", "bench")
FLAGS = ["-O2", "-g", "-std=gnu17", "-fno-builtin", "-fno-plt", "-Wall", "-Wextra", "-pthread"]

# Program, arguments: what runs under each preloaded allocator, once per round.
MALLOC_RUNS = [("pairs", []), ("batch", []), ("churn", []), ("prodcons", []), ("larson", []),
               ("threadchurn", []), ("growth", []), ("large", []), ("asymmetric", []),
               ("falseshare", []), ("turnover", []), ("smallbatches", []), ("exitleak", []),
               ("scaling", [])]
# Slow, and steady enough to be run less often.
MEMORY_RUNS = [("rss", ["--only=rss24"]), ("rss", ["--only=rssmix"]), ("fragment", []),
               ("sweep", [])]
HARDENED_RUNS = [("pairs", []), ("batch", []), ("churn", [])]
PROGRAMS = ["pairs", "batch", "churn", "prodcons", "larson", "threadchurn", "growth", "large",
            "asymmetric", "falseshare", "turnover", "smallbatches", "exitleak", "scaling", "rss",
            "fragment", "sweep", "startup"]
COLLECTOR_PASSES = {"binarytrees": [["--only=trees_1thr"], ["--only=trees_2thr"]],
                    "markrate": [["--only=mark_ordered"], ["--only=mark_random"]]}

# Program, case, the case that is the bare loop, operations per iteration, two iteration counts.
COUNT_CASES = [
    ("pairs", "pair_64", "pair_none", 1, 1000, 201000),
    ("pairs", "live_64", "pair_none", 1, 1000, 201000),
    ("pairs", "live_1024", "pair_none", 1, 1000, 201000),
    ("batch", "batch1k_lifo_64", "batch1k_none", 1000, 10, 210),
    ("batch", "batch1k_rand_64", "batch1k_none", 1000, 10, 210),
    ("growth", "calloc_64", "pair_none", 1, 1000, 201000),
]
# What hardened mode costs does not depend on noise: these rows also show that it is on at all.
HARDENED_COUNTS = [case for case in COUNT_CASES if case[1] in ("live_64", "batch1k_rand_64")]


class Run:
    """What one invocation has learned: measurements, and what went wrong."""

    def __init__(self, options):
        self.options = options
        self.library = os.path.join(OUT, "libgcalloc.so")
        self.archive = os.path.join(OUT, "libgcalloc.a")
        self.results = {}    # (program, case, unit) -> subject name -> values
        self.problems = []   # printed where they happen and again in the results
        self.ours_failed = False

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


def compiler():
    return os.environ.get("CC", "cc").split()


def program_build(output, source, extra=()):
    command = compiler() + FLAGS + ["-o", os.path.join(OUT, output),
                                    os.path.join(BENCH, source + ".c"),
                                    os.path.join(BENCH, "harness.c")] + list(extra)
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0


def library_copy(run):
    """Measures a copy of the library: a build beside a run must not mix two versions."""
    os.makedirs(OUT, exist_ok=True)
    for copy in (run.library, run.archive):
        original = os.path.join(os.path.abspath(run.options.build), os.path.basename(copy))
        if os.path.exists(copy):
            os.remove(copy)
        if os.path.exists(original):
            shutil.copy2(original, copy)
        else:
            run.complain("%s is missing, run make first" % os.path.relpath(original), is_ours=True)


def library_describe(run):
    if not os.path.exists(run.library):
        return "missing"
    with open(run.library, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:12]
    built = time.strftime("%H:%M:%S UTC", time.gmtime(os.path.getmtime(run.library)))
    return "libgcalloc.so %s, built %s" % (digest, built)


def programs_build(run):
    """Builds what every subject shares, and one variant of the collector programs per heap."""
    for program in PROGRAMS:
        if not program_build(program, program):
            raise SystemExit("bench/run.py: cannot compile bench/%s.c" % program)
    variants = {"malloc": []}
    if os.path.exists(run.archive):
        variants["gcalloc"] = ["-DBENCH_HEAP_GCALLOC", "-I" + os.path.join(ROOT, "include"),
                               run.archive, "-lpthread"]
    variants["libgc"] = ["-DBENCH_HEAP_LIBGC", "-lgc"]
    built = []
    for variant, extra in variants.items():
        if all([program_build(p + "-" + variant, p, extra) for p in report.COLLECTOR_PROGRAMS]):
            built.append(variant)
        else:
            run.complain("%s: the collector programs do not compile against it" % variant,
                         is_ours=variant != "libgc")
    return built


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


def program_run(run, subject, program, arguments):
    """Runs one program under one subject and records its lines; a failure is said aloud."""
    name = subject.name
    command = [os.path.join(OUT, program)] + arguments
    what = "%s: %s %s" % (name, program, " ".join(arguments))
    try:
        done = subprocess.run(command, env=subject.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                              timeout=run.options.timeout, check=False)
    except subprocess.TimeoutExpired:
        run.complain(what + ": no end after %d s" % run.options.timeout, not subject.is_peer)
        return
    if done.returncode != 0:
        run.complain(what + ": exit status %d: %s" % (done.returncode, done.stderr.strip()[-200:]),
                     not subject.is_peer)
        return
    provider, lines = output_parse(done.stdout)
    if subject.preload and os.path.realpath(provider) != os.path.realpath(subject.preload):
        run.complain(what + ": the preload did not take, malloc is " + provider,
                     not subject.is_peer)
        return
    part = "".join(a[len("--only="):] for a in arguments if a.startswith("--only="))
    program = program.split("-")[0]
    if "gctrace=1" in subject.settings.get("GCALLOC_DEBUG", ""):
        cycles = len(re.findall(r"^gc \d+ @", done.stderr, re.MULTILINE))
        lines.append(((part or program) + "_cycles", "cycles", cycles))
    run.record(program, name, lines, part)


def rounds_run(run, columns, runs, rounds, arguments):
    """Round robin: every round runs every program under every subject, starting elsewhere."""
    for number in range(rounds):
        for program, own_arguments in runs:
            if run.options.only and program not in run.options.only:
                continue
            progress("round %d/%d %s" % (number + 1, rounds, program))
            shift = number % len(columns)
            for subject in columns[shift:] + columns[:shift]:
                program_run(run, subject, program, own_arguments + arguments)


def heaps_of(program, columns, variants):
    """(subject, variant of the program) for each column of a collector program's table."""
    wanted = subjects.collectors_find(program)
    heaps = [(subject, variant) for subject, variant in wanted if variant in variants]
    if program == "markrate":
        # The walk is by the program itself, not by malloc: one allocator is enough.
        return heaps + [(subjects.Subject("plain walk"), "malloc")]
    return [(subject, "malloc") for subject in columns] + heaps


def collectors_run(run, columns, variants, rounds, arguments):
    """The collector programs: malloc versions under each allocator, then each collector."""
    for number in range(rounds):
        for program in report.COLLECTOR_PROGRAMS:
            if run.options.only and program not in run.options.only:
                continue
            progress("round %d/%d %s" % (number + 1, rounds, program))
            for subject, variant in heaps_of(program, columns, variants):
                for own in COLLECTOR_PASSES[program]:
                    program_run(run, subject, program + "-" + variant, own + arguments)


def count_instructions(subject, program, case, iterations):
    """Instructions of one whole run under callgrind, or (None, why)."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
               os.path.join(OUT, program), "--only=" + case, "--iters=%d" % iterations]
    try:
        done = subprocess.run(command, env=subject.environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)[:200]
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not collected:
        return None, "exit status %d: %s" % (done.returncode, done.stderr.strip()[-200:])
    return int(collected.group(1)), ""


def count_per_operation(subject, program, case, operations, few, many):
    """The difference of two runs, so that start-up and warm-up cancel out."""
    counts = []
    for iterations in (few, many):
        count, why = count_instructions(subject, program, case, iterations)
        if count is None:
            return None, why
        counts.append(count)
    return (counts[1] - counts[0]) / ((many - few) * operations), ""


def counts_run(run, columns, cases):
    """case -> subject -> instructions per operation, the bare loop subtracted."""
    if not subjects.output_of(["valgrind", "--version"]):
        run.complain("instruction counts: valgrind is not installed (see bench/install.sh)")
        return {}
    progress("instruction counts")
    plain = subjects.Subject("none")
    loops = {}
    for program, _, loop, operations, few, many in cases:
        if loop not in loops:
            owner = "pairs" if loop == "pair_none" else program
            loops[loop], why = count_per_operation(plain, owner, loop, operations, few, many)
            if loops[loop] is None:
                run.complain("instruction counts: the bare loop: " + why)
                return {}
    jobs = {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for program, case, loop, operations, few, many in cases:
            for subject in columns:
                jobs[pool.submit(count_per_operation, subject, program, case, operations, few,
                                 many)] = (program, case, loop, subject)
    counts = {}
    for job, (program, case, loop, subject) in jobs.items():
        value, why = job.result()
        if value is None:
            run.complain("%s: instruction count of %s: %s" % (subject.name, case, why),
                         not subject.is_peer)
            continue
        counts.setdefault((program, case), {})[subject.name] = [value - loops[loop]]
    return counts


def startup_run(run, columns, runs_per_subject):
    """Time from spawn to exit of a process that allocates one block."""
    progress("start-up")
    path = os.path.join(OUT, "startup")
    samples = {subject.name: [] for subject in columns}
    for _ in range(runs_per_subject):
        for subject in columns:
            start = time.perf_counter()
            child = os.posix_spawn(path, [path], subject.environment(), file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
            _, status = os.waitpid(child, 0)
            if status != 0:
                run.complain("%s: startup: wait status %d" % (subject.name, status),
                             not subject.is_peer)
                continue
            samples[subject.name].append((time.perf_counter() - start) * 1e6)
    for name, values in samples.items():
        if values:
            run.record("startup", name, [("startup_time", "us", table.median(values))])
    for subject in columns:
        program_run(run, subject, "startup", [])


def progress(text):
    elapsed = time.monotonic() - STARTED
    print("bench: %3d s, %s" % (elapsed, text), file=sys.stderr, flush=True)


def results_write(run, parts):
    text = "\n\n".join(parts) + "\n"
    print(text)
    with open(os.path.join(OUT, "results.md"), "w", encoding="utf-8") as file:
        file.write(text)
    raw = [{"program": p, "case": c, "unit": u, "values": row}
           for (p, c, u), row in run.results.items()]
    with open(os.path.join(OUT, "results.json"), "w", encoding="utf-8") as file:
        json.dump(raw, file, indent=1)


def options_parse():
    parser = argparse.ArgumentParser(description="Benchmarks of libgcalloc beside its peers.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="3 rounds, minutes (the default)")
    mode.add_argument("--full", action="store_true", help="9 rounds, three times the iterations")
    mode.add_argument("--smoke", action="store_true", help="1 round, few iterations: does it run?")
    parser.add_argument("--rounds", type=int, help="rounds instead of the mode's own number")
    parser.add_argument("--scale", type=float, help="iterations times this")
    parser.add_argument("--only", type=lambda text: text.split(","),
                        help="programs to run, separated by commas")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PATH",
                        help="another library, not counted as a peer")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"),
                        help="where libgcalloc.so and libgcalloc.a are (default: build)")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one program run")
    parser.add_argument("--no-counts", action="store_true", help="no instruction counts")
    parser.add_argument("--no-collectors", action="store_true", help="no collector programs")
    parser.add_argument("--no-install", action="store_true", help="do not call bench/install.sh")
    parser.add_argument("peers", nargs="*", metavar="NAME=PATH", help="more peers: libraries")
    options = parser.parse_args()
    rounds, scale = (9, 3.0) if options.full else (1, 0.02) if options.smoke else (3, 1.0)
    options.rounds = options.rounds or rounds
    options.scale = options.scale or scale
    options.memory_rounds = 3 if options.full else 1
    return options


def columns_find(run):
    """Every preloaded subject, ours last."""
    columns = subjects.peers_find(run.complain)
    columns += subjects.extras_parse(run.options.peers, is_peer=True)
    columns += subjects.extras_parse(run.options.also, is_peer=False)
    if os.path.exists(run.library):
        columns += subjects.ours_find(run.library)
    return columns


def hardened_run(run, arguments):
    """A run of its own beside plain mode manual, with a table of its own."""
    hardened = Run(run.options)
    counts = {}
    if os.path.exists(run.library):
        columns = [subjects.manual_find(run.library), subjects.hardened_find(run.library)]
        rounds_run(hardened, columns, HARDENED_RUNS, min(run.options.rounds, 3), arguments)
        if not run.options.no_counts:
            counts = counts_run(hardened, columns, HARDENED_COUNTS)
    run.problems += [line for line in hardened.problems if line not in run.problems]
    run.ours_failed = run.ours_failed or hardened.ours_failed
    return report.hardened_report(hardened, counts)


def everything_run(run, columns, variants):
    """Runs all parts; returns the report, part by part."""
    options = run.options
    names = [subject.name for subject in columns]
    peers = [subject.name for subject in columns if subject.is_peer]
    arguments = ["--scale=%g" % options.scale]
    rounds_run(run, columns, MALLOC_RUNS, options.rounds, arguments)
    memory_scale = ["--scale=%g" % min(options.scale, 1.0)]
    rounds_run(run, columns, MEMORY_RUNS, options.memory_rounds, memory_scale)
    if not options.only or "startup" in options.only:
        startup_run(run, columns, 30 * options.rounds)
    hardened = hardened_run(run, arguments)
    if not options.no_collectors:
        collector_scale = ["--scale=%g" % (4.0 if options.full else min(options.scale, 1.0))]
        collectors_run(run, columns, variants, options.rounds, collector_scale)
    counts = {} if options.no_counts else counts_run(run, columns, COUNT_CASES)
    parts = report.summary_report(run, counts, names, peers)
    parts += report.malloc_report(run, names, peers)
    parts += report.counts_report(counts, names, peers)
    return parts + hardened + report.collector_report(run, names)


def main():
    run = Run(options_parse())
    load = os.getloadavg()[0]
    if not run.options.no_install:
        subprocess.run([os.path.join(BENCH, "install.sh")], check=False)
    library_copy(run)
    variants = programs_build(run)
    columns = columns_find(run)
    parts = everything_run(run, columns, variants)
    facts = report.machine_describe(columns, compiler(), load, library_describe(run)) + [
        "- rounds: %d (memory: %d), scale %g, %.0f s" % (
            run.options.rounds, run.options.memory_rounds, run.options.scale,
            time.monotonic() - STARTED)]
    head = ["# Benchmark results", "\n".join(facts)]
    if run.problems:
        head.append("Left out:\n\n" + "\n".join("- " + line for line in run.problems))
    results_write(run, head + parts)
    return 1 if run.ours_failed else 0


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
