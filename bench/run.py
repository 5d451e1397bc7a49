#!/usr/bin/env python3
"""run -- the allocators side by side: our own programs, real programs, start-up, instructions.

Usage: bench/run.py [--quick | --full | --smoke] [options] [[name[:version]=]peer.so ...]
Writes build/bench/results.md (the tables), build/bench/results.json (every measurement) and
build/bench/plots/*.svg; with --publish also bench/RESULTS.md and bench/plots/.
See bench/README.md for what the programs ask and how to read the tables.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import sys

sys.dont_write_bytecode = True
import driver  # noqa: E402
import plots  # noqa: E402
import programs  # noqa: E402
import report  # noqa: E402
import spawn  # noqa: E402
import subjects  # noqa: E402
import variants  # noqa: E402

# What runs under each preloaded allocator, once per round.
MALLOC_PROGRAMS = ["pairs", "batch", "churn", "prodcons", "asymmetric", "larson", "turnover",
                   "smallbatches", "exitleak", "threadchurn", "falseshare", "scaling", "growth",
                   "large"]
# Slow, and steady enough to be run less often: program, arguments.
MEMORY_RUNS = [("rss", ["--only=rss24"]), ("rss", ["--only=rssmix"]), ("fragment", []),
               ("sweep", [])]
HARDENED_PROGRAMS = ["pairs", "batch", "churn"]
PROGRAMS = MALLOC_PROGRAMS + ["rss", "fragment", "sweep", "startup"]
COLLECTOR_PASSES = {"binarytrees": [["--only=trees_1thr"], ["--only=trees_2thr"]],
                    "markrate": [["--only=mark_ordered"], ["--only=mark_random"]],
                    "newborn": [[], ["--only=new_16", "--count=500"],
                                ["--only=new_64", "--count=500"],
                                ["--only=bytes_64", "--count=500"]]}

# What a mode does: rounds of our programs, of the slow ones and of the real ones, iterations
# times scale, work of the real programs times real, runs of each small command, and rounds of
# and scale of the collector programs.
MODES = {
    "quick": dict(rounds=3, memory_rounds=1, real_rounds=1, scale=0.5, real=0.5, spawns=50,
                  collector_rounds=1, collector_scale=1.0),
    "full": dict(rounds=5, memory_rounds=3, real_rounds=3, scale=1.0, real=1.0, spawns=1000,
                 collector_rounds=2, collector_scale=2.0),
    "smoke": dict(rounds=1, memory_rounds=1, real_rounds=1, scale=0.02, real=0.05, spawns=2,
                  collector_rounds=1, collector_scale=0.02),
}

# Program, case, the case that is the bare loop with its program, iterations to count.
COUNT_CASES = [
    ("pairs", "pair_64", "pair_none", 200),
    ("pairs", "live_64", "pair_none", 200),
    ("pairs", "live_1024", "pair_none", 200),
    ("pairs", "pair_16384", "pair_none", 200),
    ("batch", "batch1k_lifo_64", "batch1k_none", 1),
    ("batch", "batch1k_rand_64", "batch1k_none", 1),
    ("batch", "batch1k_fifo_1024", "batch1k_none", 1),
    ("growth", "calloc_64", "pair_none", 200),
    ("growth", "calloc_1024", "pair_none", 200),
]
# What hardened mode costs does not depend on noise: these rows also show that it is on at all.
HARDENED_COUNTS = [case for case in COUNT_CASES if case[1] in ("live_64", "batch1k_rand_64")]


class Run(driver.Bench):
    """driver.Bench with the samples of fragment: subject name -> [(number, live MiB, RSS MiB)]."""

    def __init__(self, options):
        super().__init__(options)
        self.samples = {}

    def wants(self, program):
        return not self.options.only or program in self.options.only


# --- our programs ----------------------------------------------------------------------------

def programs_build(run):
    """Builds what every subject shares, and one variant of the collector programs per heap."""
    counted = set() if run.options.no_counts else {case[0] for case in COUNT_CASES}
    hardened = set() if run.options.no_hardened else set(HARDENED_PROGRAMS)
    for program in PROGRAMS:
        if not (run.wants(program) or program in counted | hardened | {"startup"}):
            continue
        if not driver.program_build(run, program, program):
            raise SystemExit("bench/run.py: cannot compile bench/%s.c" % program)
    programs.launcher_build(run)
    if run.options.no_collectors:
        return set()
    return variants.programs_build(run, report.COLLECTOR_PROGRAMS, ("malloc", "gcalloc", "libgc"))


def samples_take(run, subject, text):
    found = re.findall(r"^# sample (\d+) ([\d.]+) ([\d.]+)$", text, re.MULTILINE)
    run.samples[subject.name] = [(int(number), float(live), float(rss))
                                 for number, live, rss in found]


def rounds_run(run, columns, runs, rounds, arguments):
    """Round robin: every round runs every program under every subject, starting elsewhere."""
    for number in range(rounds):
        for program, own_arguments in runs:
            if not run.wants(program):
                continue
            driver.progress("round %d/%d %s" % (number + 1, rounds, program))
            shift = number % len(columns)
            for subject in columns[shift:] + columns[:shift]:
                done = driver.program_run(run, subject, program, own_arguments + arguments)
                if done and program == "fragment":
                    samples_take(run, subject, done.stdout)


# --- real programs ---------------------------------------------------------------------------

def cycles_record(run, subject, case, errors):
    if subject.is_traced():
        run.record("real", subject.name, [
            (case + "_cycles", "cycles", driver.cycles_count(errors))])


def real_run(run, columns):
    """Processor time and peak RSS of real programs; the output must be the same under all."""
    chosen, expected = programs.programs_usable(run, run.options.real), {}
    for number in range(run.options.real_rounds):
        shift = number % len(columns)
        for program in chosen:
            driver.progress("round %d/%d %s" % (number + 1, run.options.real_rounds,
                                                program.name))
            for subject in columns[shift:] + columns[:shift]:
                sample = programs.sample_take(run, program, subject, expected)
                if sample:
                    run.record("real", subject.name, [
                        (program.name, "ms", sample.cpu * 1000),
                        (program.name + "_wall", "wall-ms", sample.wall * 1000),
                        ("peak_rss " + program.name, "MiB", sample.rss)])
                    cycles_record(run, subject, program.name, sample.errors)


# --- collector programs ----------------------------------------------------------------------

def heaps_of(program, columns, built):
    """(subject, variant of the program) for each column of a collector program's table."""
    wanted = subjects.collectors_find(program)
    heaps = [(subject, variant) for subject, variant in wanted if (program, variant) in built]
    if program == "newborn":
        return heaps + [(subject, "malloc") for subject in columns if not subject.is_peer]
    if program == "markrate":
        # The walk is by the program itself, not by malloc: one allocator is enough.
        return heaps + [(subjects.Subject("plain walk"), "malloc")]
    return [(subject, "malloc") for subject in columns] + heaps


def collectors_run(run, columns, built):
    """The collector programs: malloc versions under each allocator, then each collector."""
    scale = ["--scale=%g" % run.options.collector_scale]
    for number in range(run.options.collector_rounds):
        for program in report.COLLECTOR_PROGRAMS:
            if not run.wants(program):
                continue
            driver.progress("round %d/%d %s" % (number + 1, run.options.collector_rounds, program))
            for subject, variant in heaps_of(program, columns, built):
                for own in COLLECTOR_PASSES[program]:
                    driver.program_run(run, subject, program + "-" + variant, own + scale)


# --- instruction counts ----------------------------------------------------------------------

def count_run(run, subject, program, case, iterations):
    """Instructions per operation of a case, its loop included; None after a complaint."""
    what = "%s: instructions of %s" % (subject.name, case)
    done = driver.command_run(run, subject, [
        run.path(program), "--only=" + case, "--count=%d" % iterations], what)
    if done is None:
        return None
    _, lines = driver.output_parse(done.stdout)
    return next(value for name, unit, value in lines if name == case and unit == "instructions")


def counts_run(run, columns, cases):
    """case -> subject -> instructions per operation, the bare loop subtracted."""
    driver.progress("instruction counts")
    plain, loops, jobs, counts = subjects.Subject("none"), {}, {}, {}
    for program, _, loop, iterations in cases:
        if loop not in loops:
            owner = "pairs" if loop == "pair_none" else program
            loops[loop] = count_run(run, plain, owner, loop, iterations)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for program, case, loop, iterations in cases:
            for subject in columns:
                jobs[pool.submit(count_run, run, subject, program, case, iterations)] = (
                    program, case, loop, subject)
    for job, (program, case, loop, subject) in jobs.items():
        if job.result() is not None and loops[loop] is not None:
            row = counts.setdefault((program, case), {})
            row[subject.name] = [job.result() - loops[loop]]
    return counts


# --- all of it -------------------------------------------------------------------------------

def hardened_run(run, arguments):
    """A run of its own beside plain mode manual, with a table of its own."""
    hardened = Run(run.options)
    counts = {}
    if os.path.exists(run.library):
        columns = [subjects.manual_find(run.library), subjects.hardened_find(run.library)]
        rounds_run(hardened, columns, [(program, []) for program in HARDENED_PROGRAMS],
                   min(run.options.rounds, 3), arguments)
        if not run.options.no_counts:
            counts = counts_run(hardened, columns, HARDENED_COUNTS)
    run.problems += [line for line in hardened.problems if line not in run.problems]
    run.ours_failed = run.ours_failed or hardened.ours_failed
    return report.hardened_report(hardened, counts)


def everything_run(run, columns, built):
    """Runs all parts; returns (instruction counts, the tables of the collectors)."""
    options = run.options
    arguments = ["--scale=%g" % options.scale] + (["--reps=1"] if options.smoke else [])
    rounds_run(run, columns, [(program, []) for program in MALLOC_PROGRAMS], options.rounds,
               arguments)
    rounds_run(run, columns, MEMORY_RUNS, options.memory_rounds,
               ["--scale=%g" % min(2 * options.scale, 1.0)] + arguments[1:])
    real_run(run, columns)
    if run.wants("spawn"):
        driver.progress("start-up")
        spawn.measure(run, columns, options.spawns)
    hardened = [] if options.no_hardened else hardened_run(run, arguments)
    if not options.no_collectors:
        collectors_run(run, columns, built)
    cases = COUNT_CASES[:1] if options.smoke else COUNT_CASES
    counts = {} if options.no_counts else counts_run(run, columns, cases)
    names = [subject.name for subject in columns]
    return counts, hardened + report.collector_report(run, names)


def report_make(run, columns, counts, others):
    """All tables, and the plots beside them."""
    names = [subject.name for subject in columns]
    peers = [subject.name for subject in columns if subject.is_peer]
    written = plots.plots_write(run, run.path("plots"), names, peers, run.samples)
    parts = report.summary_report(run, counts, names, peers)
    parts += report.weakest_report(run, peers)
    parts += report.ratios_report(run, counts, names, peers)
    parts += ["![%s](plots/%s)" % plot for plot in written]
    parts += report.sweep_report(run, names, peers)
    parts += report.details_report(run, names)
    return parts + report.counts_report(counts, names) + others


def publish(run):
    """Puts the results where they are kept: only on request, for it changes the source tree."""
    shutil.copy2(run.path("results.md"), os.path.join(driver.BENCH, "RESULTS.md"))
    kept = os.path.join(driver.BENCH, "plots")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(run.path("plots"), kept)


def options_parse():
    parser = argparse.ArgumentParser(description="Benchmarks of libgcalloc beside its peers.")
    mode = driver.common_options(parser, timeout=120)
    mode.add_argument("--smoke", action="store_true", help="few iterations: does everything run?")
    driver.peer_options(parser)
    driver.only_option(parser, "programs to run (`real`: all real programs; spawn: start-up)")
    parser.add_argument("--scale", type=float, help="iterations times this")
    parser.add_argument("--no-counts", action="store_true", help="no instruction counts")
    parser.add_argument("--no-hardened", action="store_true", help="no table of hardened=1")
    parser.add_argument("--no-collectors", action="store_true", help="no collector programs")
    parser.add_argument("--publish", action="store_true",
                        help="write bench/RESULTS.md and bench/plots/ as well")
    options = parser.parse_args()
    name = "full" if options.full else "smoke" if options.smoke else "quick"
    for key, value in MODES[name].items():
        if getattr(options, key, None) is None:
            setattr(options, key, value)
    return options


def main():
    run = Run(options_parse())
    driver.packages_install(run.options)
    driver.library_copy(run)
    built = programs_build(run)
    columns = subjects.columns_find(run)
    counts, others = everything_run(run, columns, built)
    parts = report_make(run, columns, counts, others)
    options = run.options
    facts = driver.machine_facts(run) + driver.peer_facts(columns) + [
        "- rounds: %d (slow programs %d, real programs %d), scale %g, %.0f s; load at the end "
        "%.2f" % (options.rounds, options.memory_rounds, options.real_rounds, options.scale,
                  driver.elapsed_s(), os.getloadavg()[0])]
    status = driver.finish(run, "results", "Benchmark results", facts, parts,
                           driver.results_raw(run))
    if options.publish:
        publish(run)
    return status


if __name__ == "__main__":
    sys.exit(main())
