#!/usr/bin/env python3
"""throughput -- collectors beside malloc/free: time, peak memory, and the trade between the two.

Usage: bench/throughput.py [--quick | --full] [--lib DIRECTORY] [--only gcbench,...] [--no-curve]
Runs binarytrees, gcbench and gcchurn (C sources in bench/, Go sources in bench/go/) round robin
under malloc/free, gc_alloc, libgc and Go; then each collector at several settings of its heap
growth. The tables go to build/bench/throughput/throughput.md, the curve to curve.svg, every figure
to throughput.json beside it.
"""
import argparse
import collections
import os
import sys

sys.dont_write_bytecode = True
import driver  # noqa: E402
import gccurve  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402
import variants  # noqa: E402

# Program, case.
PASSES = [("binarytrees", "trees_1thr"), ("binarytrees", "trees_2thr"), ("gcbench", "gcbench"),
          ("gcchurn", "churn_1thr"), ("gcchurn", "churn_2thr")]

# A column of the tables, or a point of a curve: the subject and the variant of the program.
Column = collections.namedtuple("Column", "subject variant")
Point = collections.namedtuple("Point", "line label subject variant")

GROWTHS = ["25", "50", "100", "200", "400"]
DIVISORS = ["1", "2", "3", "4", "6", "8"]
DEFAULTS = {"libgc": "3", "Go": "100"}


def columns_find(bench):
    """Who is in the main tables."""
    def ours(name, variant, **settings):
        preload = None if variant == "gcalloc" else bench.library
        return Column(subjects.Subject(name, preload, settings, is_peer=False), variant)

    # What needs no more memory than bench/gcheap.h has.
    bump = [Column(subjects.Subject("no heap"), "bump")] if bench.options.scale <= 1 else []
    return bump + [
        Column(subjects.Subject("glibc"), "malloc"),
        ours("ours manual", "malloc", GCALLOC_MODE="manual"),
        ours("ours collect", "malloc", GCALLOC_MODE="collect"),
        ours("ours leak", "leak", GCALLOC_MODE="collect"),
        ours("gc_alloc", "gcalloc"),
        Column(subjects.Subject("libgc"), "libgc"),
        Column(subjects.Subject("Go"), "go"),
    ]


def points_find():
    """The points of the curves. The minimum heap grows with GOGC as Go's does."""
    points = [Point("glibc malloc/free", "", subjects.Subject("curve glibc"), "malloc")]
    for growth in GROWTHS:
        least = "%dKiB" % (4096 * int(growth) // 100)
        settings = {"GCALLOC_GOGC": growth, "GCALLOC_HEAPMIN": least}
        points.append(Point("gc_alloc", growth, subjects.Subject(
            "curve gc_alloc " + growth, settings=settings, is_peer=False), "gcalloc"))
    for growth in GROWTHS:
        points.append(Point("Go", growth, subjects.Subject(
            "curve Go " + growth, settings={"GOGC": growth}), "go"))
    for divisor in DIVISORS:
        points.append(Point("libgc", divisor, subjects.Subject(
            "curve libgc " + divisor, settings={"GC_FREE_SPACE_DIVISOR": divisor}), "libgc"))
    return points


def passes_run(bench, built, columns, rounds, what):
    """Round robin over the passes; every round starts with another column."""
    arguments = ["--scale=%g" % bench.options.scale]
    for number in range(rounds):
        shift = number % len(columns)
        for program, case in PASSES:
            if bench.options.only and program not in bench.options.only:
                continue
            driver.progress("%s, round %d/%d %s" % (what, number + 1, rounds, case))
            for column in columns[shift:] + columns[:shift]:
                if (program, column.variant) in built:
                    driver.program_run(bench, column.subject, program + "-" + column.variant,
                                       ["--only=" + case] + arguments)


def value(bench, program, case, unit, name):
    return table.median(bench.results.get((program, case, unit), {}).get(name))


def point_values(bench, point, program, case):
    """(MiB, ms, ms of processor time) of a point in a pass, or None."""
    name = point.subject.name
    mib = value(bench, program, "peak_rss " + case, "MiB", name)
    ms = value(bench, program, case, "ms", name)
    cpu_ms = value(bench, program, case + "_cpu", "ms", name)
    return (mib, ms, cpu_ms) if mib and ms else None


def main_tables(bench, names):
    """Medians of every column: wall time, processor time, peak memory, collections."""
    def rows(unit, wants):
        return {key: row for key, row in bench.select(unit).items() if wants(key[1])}

    return ["## Time: ms of wall time, and half the spread of the rounds",
            table.median_table(rows("ms", lambda case: not case.endswith("_cpu")), names, "ms"),
            "## Processor time, the collectors' threads included",
            table.median_table(rows("ms", lambda case: case.endswith("_cpu")), names, "ms"),
            "## Peak memory",
            table.median_table(bench.select("MiB"), names, "MiB", with_spread=False),
            "## Collections",
            table.median_table(bench.select("cycles"), names, "cycles", with_spread=False)]


def ratios_table(bench, mine):
    """Speed and memory of one of our columns over each peer's, pass by pass."""
    header = ["case"]
    for peer in ("libgc", "Go", "glibc"):
        header += ["speed x " + peer, "RSS / " + peer]
    rows, sums = [], collections.defaultdict(list)
    for program, case in PASSES:
        row = [case]
        for peer in ("libgc", "Go", "glibc"):
            times = [value(bench, program, case, "ms", name) for name in (peer, mine)]
            sizes = [value(bench, program, "peak_rss " + case, "MiB", name)
                     for name in (mine, peer)]
            for kind, (above, below) in (("speed", times), ("rss", sizes)):
                quotient = above / below if above and below else None
                sums[kind, peer].append(quotient)
                row.append(table.ratio(quotient))
        if any(cell != "-" for cell in row[1:]):
            rows.append(row)
    means = [table.ratio(table.geomean(sums[kind, peer]))
             for peer in ("libgc", "Go", "glibc") for kind in ("speed", "rss")]
    return table.markdown(header, rows + [["**geometric mean**"] + means])


def curve_panels(bench, points):
    """case -> line -> [(label, MiB, ms, ms of processor time)]."""
    panels = collections.OrderedDict()
    for program, case in PASSES:
        for point in points:
            found = point_values(bench, point, program, case)
            if found:
                lines = panels.setdefault(case, collections.OrderedDict())
                lines.setdefault(point.line, []).append((point.label,) + found)
    return panels


def curve_table(panels):
    header = ["case", "collector", "setting", "peak RSS MiB", "ms", "ms of CPU"]
    return table.markdown(header, [
        [case, line, label, table.number(mib), table.number(ms), table.number(cpu_ms)]
        for case, lines in panels.items() for line, found in lines.items()
        for label, mib, ms, cpu_ms in found])


def equal_memory_table(panels):
    """Each peer at its default; our fastest point that needs no more memory than it."""
    rows = []
    for case, lines in panels.items():
        for peer, default in DEFAULTS.items():
            for label, mib, ms, _ in lines.get(peer, []):
                if label != default:
                    continue
                within = [(my_ms, my_mib, mine)
                          for mine, my_mib, my_ms, _ in lines.get("gc_alloc", []) if my_mib <= mib]
                cells = ["none", "-", "-", "-"]
                if within:
                    my_ms, my_mib, mine = min(within)
                    cells = [mine, table.number(my_mib), table.number(my_ms),
                             table.ratio(ms / my_ms)]
                rows.append([case, peer, table.number(mib), table.number(ms)] + cells)
    return table.markdown(["case", "peer at its default", "its peak MiB", "its ms",
                           "our GOGC within its memory", "our peak MiB", "our ms",
                           "speed x peer"], rows)


def curve_parts(bench, points):
    panels = curve_panels(bench, points)
    path = bench.path("curve.svg")
    gccurve.svg_write(path, {case: {line: [point[:3] for point in found]
                                    for line, found in lines.items()}
                             for case, lines in panels.items()})
    return ["## The same memory: our fastest setting that needs no more than the peer",
            equal_memory_table(panels),
            "## The trade of memory for time (plotted in %s)" % os.path.relpath(path, driver.ROOT),
            "gc_alloc and Go: GOGC, with a minimum heap of 11 and 4 MiB x GOGC / 100; libgc: "
            "GC_FREE_SPACE_DIVISOR.",
            curve_table(panels)]


def options_parse():
    parser = argparse.ArgumentParser(description="Collectors beside malloc/free, libgc and Go.")
    driver.common_options(parser)
    parser.add_argument("--scale", type=float, help="work times this")
    driver.only_option(parser, "programs to run")
    parser.add_argument("--no-curve", action="store_true", help="no settings of heap growth")
    options = parser.parse_args()
    rounds, scale = (7, 4.0) if options.full else (3, 1.0)
    options.curve_rounds = min(options.rounds or rounds, 3 if options.full else 1)
    options.rounds = options.rounds or rounds
    options.scale = options.scale or scale
    return options


def main():
    options = options_parse()
    bench = driver.Bench(options, "throughput")
    driver.packages_install(options, "--go")
    driver.library_copy(bench)
    built = variants.programs_build(bench, list(dict.fromkeys(program for program, _ in PASSES)),
                                    variants.USUAL + ("bump",))
    columns = [column for column in columns_find(bench)
               if column.subject.preload is None or os.path.exists(column.subject.preload)]
    points = [] if options.no_curve else points_find()
    passes_run(bench, built, columns, options.rounds, "main")
    if points:
        passes_run(bench, built, points, options.curve_rounds, "curve")
    facts = driver.machine_facts(bench) + driver.collector_facts() + [
        "- rounds: %d (curve: %d), scale %g, %.0f s" % (
            options.rounds, options.curve_rounds, options.scale, driver.elapsed_s())]
    parts = main_tables(bench, [column.subject.name for column in columns])
    parts += ["## gc_alloc beside its peers (speed: more is better; RSS: less)",
              ratios_table(bench, "gc_alloc")]
    if points:
        parts += curve_parts(bench, points)
    return driver.finish(bench, "throughput", "Throughput", facts, parts,
                         driver.results_raw(bench))


if __name__ == "__main__":
    sys.exit(main())
