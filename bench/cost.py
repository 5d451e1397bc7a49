#!/usr/bin/env python3
"""cost -- what mode collect costs programs that free what they allocate, over mode manual.

Usage: bench/cost.py [--quick | --full] [--lib DIRECTORY] [--only redis,python,...]
Runs real programs with the library preloaded, round robin: mode manual, mode manual once more (what
the two differ by is noise), mode collect, and mode collect with a minimum heap of 8 MiB, so
that cycles happen in small programs, too. Measured: processor time of the program and all its
children, the collector's included, and wall time. Cycles are counted in a separate run with
gctrace.
The table goes to build/bench/cost/cost.md, every figure to cost.json beside it.
"""
import argparse
import collections
import os
import re
import statistics
import sys

sys.dont_write_bytecode = True
import driver  # noqa: E402
import programs  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402

WANTED = 1.03


# --- measuring ---------------------------------------------------------------------------------

def columns_find(bench):
    def ours(name, **settings):
        return subjects.Subject(name, bench.library, settings, is_peer=False)

    return [ours("manual", GCALLOC_MODE="manual"), ours("manual again", GCALLOC_MODE="manual"),
            ours("collect", GCALLOC_MODE="collect"),
            ours("collect 8M", GCALLOC_MODE="collect", GCALLOC_HEAPMIN="8MiB")]


def measure(bench, chosen, columns):
    """(program, subject) -> samples, one a round; a round that lacks one of them is left out."""
    results, expected = collections.defaultdict(list), {}
    for number in range(bench.options.rounds):
        for program in chosen:
            # First there, then back: what drifts hits all columns alike.
            order = columns if number % 2 == 0 else columns[::-1]
            driver.progress("round %d/%d, %s" % (number + 1, bench.options.rounds, program.name))
            taken = {c.name: programs.sample_take(bench, program, c, expected) for c in order}
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
    sample = programs.sample_take(bench, program, traced, expected)
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


def ratio_table(results, chosen, field, names):
    header = ["program", "manual, s"] + names
    rows = []
    for program in chosen:
        if results[program.name, "manual"]:
            middle = statistics.median(getattr(s, field) for s in results[program.name, "manual"])
            rows.append([program.name, table.number(middle)] + [
                ratio_cell(ratios(results, program.name, name, "manual", field)) for name in names])
    return table.markdown(header, rows)


def summary_table(results, chosen, cycles):
    header = ["program", "what", "manual CPU s", "collect / manual", "fastest runs", "noise",
              "cycles", "markers, CPU s", "live MB", "peak RSS MiB manual", "collect",
              "<= %.2f" % WANTED]
    rows = []
    for program in chosen:
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


def cycle_table(chosen, cycles, name):
    rows = [[program.name] + ["%d" % cycles[program.name, name][0],
                              "%.2f" % (cycles[program.name, name][1] / 1000)]
            for program in chosen if (program.name, name) in cycles]
    return table.markdown(["program, " + name, "cycles", "markers, CPU s"], rows)


def raw_list(results, cycles):
    return [{"program": program, "subject": name, "cycles": cycles.get((program, name)),
             "cpu_s": [s.cpu for s in samples], "wall_s": [s.wall for s in samples],
             "peak_rss_mib": [s.rss for s in samples]}
            for (program, name), samples in results.items()]


def options_parse():
    parser = argparse.ArgumentParser(description="What mode collect costs over mode manual.")
    driver.common_options(parser)
    driver.only_option(parser, "programs to run")
    options = parser.parse_args()
    options.rounds = options.rounds or (9 if options.full else 3)
    return options


def main():
    options = options_parse()
    bench = driver.Bench(options, "cost")
    driver.library_copy(bench)
    programs.launcher_build(bench)
    chosen = programs.programs_usable(bench, 2 if options.full else 1)
    columns = columns_find(bench)
    results = measure(bench, chosen, columns)
    cycles = {(program.name, column.name): cycles_count(bench, program, column, {})
              for program in chosen for column in columns if column.name.startswith("collect")}
    facts = driver.machine_facts(bench) + ["- %d rounds, %.0f s in all; load at the end %.1f" % (
        options.rounds, driver.elapsed_s(), os.getloadavg()[0])]
    names = [column.name for column in columns[1:]]
    parts = ["CPU is user and system time of the program, its children and the collector. A ratio "
             "is the median over rounds of collect over manual in the same round; fastest runs: "
             "the least of all rounds over the least. noise: the same ratio between two equal "
             "columns. Markers: processor time of the collector's tasks by gctrace.",
             summary_table(results, chosen, cycles),
             "## Processor time over manual: median (middle half of the rounds)",
             ratio_table(results, chosen, "cpu", names),
             "## Wall time over manual", ratio_table(results, chosen, "wall", names),
             "## Cycles with a minimum heap of 8 MiB",
             cycle_table(chosen, cycles, "collect 8M")]
    return driver.finish(bench, "cost", "The price of mode collect for programs that free", facts,
                         parts, raw_list(results, cycles))


if __name__ == "__main__":
    sys.exit(main())
