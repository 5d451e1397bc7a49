"""throughput_build -- builds the collector programs, in C against each heap and in Go.

What pauses.py and throughput.py share: where products go, the copy of the library that is measured,
the variants of a program, and one run of one of them.
"""
import collections
import os
import re
import subprocess
import sys

import report
import run as runner
import subjects

BENCH = runner.BENCH
ROOT = runner.ROOT

# One run: status is None after a time-out.
Outcome = collections.namedtuple("Outcome", "status output errors")


class Bench(runner.Run):
    """What one invocation has learned; products lie in a directory of their own."""

    def __init__(self, options, name):
        self.directory = os.path.join(ROOT, "build", "bench", name)
        runner.OUT = self.directory
        options.build = options.lib
        super().__init__(options)
        runner.library_copy(self)

    def path(self, program):
        return os.path.join(self.directory, program)


def variants_of(bench):
    """Variant of a program -> what the compiler is told."""
    variants = {"malloc": [], "leak": ["-DBENCH_HEAP_LEAK"]}
    if os.path.exists(bench.archive):
        variants["gcalloc"] = ["-DBENCH_HEAP_GCALLOC", "-I" + os.path.join(ROOT, "include"),
                               bench.archive, "-lpthread"]
    variants["libgc"] = ["-DBENCH_HEAP_LIBGC", "-lgc"]
    return variants


def go_build(bench, program):
    """Builds bench/go/PROGRAM; the compiler's cache stays inside build/, nothing is downloaded."""
    env = dict(os.environ, GOCACHE=os.path.join(ROOT, "build", "bench", "gocache"), GOPROXY="off",
               GOFLAGS="-mod=mod", GOTOOLCHAIN="local", CGO_ENABLED="0")
    command = ["go", "build", "-o", bench.path(program + "-go"), "./" + program]
    try:
        done = subprocess.run(command, cwd=os.path.join(BENCH, "go"), env=env, text=True,
                              stderr=subprocess.PIPE, check=False)
    except OSError:
        bench.complain("go: no go command, install golang-go (bench/install.sh --go)")
        return False
    if done.returncode != 0:
        bench.complain("go: %s does not compile: %s" % (program, done.stderr.strip()[-300:]))
    return done.returncode == 0


def programs_build(bench, programs):
    """(program, variant) pairs that exist now."""
    built = set()
    for program in programs:
        for variant, extra in variants_of(bench).items():
            if runner.program_build(program + "-" + variant, program, extra):
                built.add((program, variant))
            else:
                bench.complain("%s-%s does not compile" % (program, variant), variant != "libgc")
        if go_build(bench, program):
            built.add((program, "go"))
    return built


def program_start(bench, subject, command):
    """Runs a command under a subject to its end; Outcome."""
    try:
        done = subprocess.run(command, env=subject.environment(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                              errors="replace", timeout=bench.options.timeout, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(None, "", "no end after %d s" % bench.options.timeout)
    return Outcome(done.returncode, done.stdout, done.stderr)


def outcome_check(bench, subject, what, outcome):
    """Complains unless the program ended well under the malloc it was meant to have."""
    if outcome.status is None:
        bench.complain("%s: %s" % (what, outcome.errors), not subject.is_peer)
    elif outcome.status != 0:
        tail = " / ".join(outcome.errors.strip().splitlines()[-2:])
        bench.complain("%s: exit status %d: %s" % (what, outcome.status, tail[-300:]),
                       not subject.is_peer)
    elif subject.preload and not re.search(
            "^# malloc %s$" % re.escape(subject.preload), outcome.output, re.MULTILINE):
        bench.complain(what + ": the preload did not take", not subject.is_peer)
    else:
        return True
    return False


def packages_install(options):
    if not options.no_install:
        subprocess.run([os.path.join(BENCH, "install.sh"), "--go"], check=False)


def facts_list(bench, load):
    """What the numbers belong to, for the head of the results."""
    facts = report.machine_describe([], runner.compiler(), load, runner.library_describe(bench))
    # The versions of malloc libraries are not of interest here; those of the collectors are.
    facts = [fact for fact in facts if not fact.startswith("- versions")]
    go = subjects.output_of(["go", "version"])
    return facts + ["- libgc %s; %s" % (subjects.package_version("libgc-dev") or "missing",
                                        go or "go missing")]


def problems_list(bench):
    return "Left out, or not as asked:\n\n" + "\n".join("- " + line for line in bench.problems)


def common_options(parser):
    """The options that both drivers have."""
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="up to three minutes (the default)")
    mode.add_argument("--full", action="store_true", help="more rounds, longer runs")
    parser.add_argument("--lib", default=os.path.join(ROOT, "build"), metavar="DIRECTORY",
                        help="where libgcalloc.so and libgcalloc.a are (default: build)")
    parser.add_argument("--rounds", type=int, help="rounds instead of the mode's own number")
    parser.add_argument("--timeout", type=int, default=180, help="seconds for one program run")
    parser.add_argument("--no-install", action="store_true", help="do not call bench/install.sh")


def results_write(bench, name, parts):
    text = "\n\n".join(parts) + "\n"
    print(text)
    path = bench.path(name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    print("written to " + os.path.relpath(path), file=sys.stderr)
