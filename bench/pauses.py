#!/usr/bin/env python3
"""pauses -- what a mutator thread feels, and how long the collectors stop the program.

Usage: bench/pauses.py [--quick | --full] [--lib DIRECTORY] [--live 64,256,1024] [--seconds N]
                       [--gogc PERCENT] [--subjects TEXT,TEXT]
Runs bench/pauses.c (and bench/go/pauses) under every subject and live size, round robin, and prints
three tables: the summary, the histogram of operations, the histogram of stops. They are written to
build/bench/pauses/pauses.md, every figure to pauses.json beside it.
"""
import argparse
import collections
import os
import re
import sys

sys.dont_write_bytecode = True
import driver  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402
import variants  # noqa: E402

# A subject, the variant of the program it runs, and the method its gctrace lines must name.
Column = collections.namedtuple("Column", "subject variant method")

# Live MiB up to which a run measures for so many seconds, in quick and in full mode: what a cycle
# costs grows with the live heap, and some cycles are wanted in every run.
SECONDS = {False: [(64, 1.5), (256, 2.5), (1 << 30, 5)], True: [(64, 10), (256, 15), (1 << 30, 40)]}

# One gctrace line, Go's or ours: the two stops around the concurrent part, and our method.
TRACE = re.compile(r"^gc \d+ @[\d.]+s \d+%: ([\d.]+)\+([\d.]+)\+([\d.]+) ms clock,.*?"
                   r"(?:\[([\w ]+)\])?(?: \(forced\))?$", re.MULTILINE)

# Our second line: each stop, stop 2 as often as it was tried.
DETAILS = re.compile(r"^gc \d+: \d+ stops, ([\d. ]+) ms;", re.MULTILINE)

OPERATION_LIMITS = [(10 ** power, name) for power, name in (
    (2, "100 ns"), (3, "1 us"), (4, "10 us"), (5, "100 us"), (6, "1 ms"), (7, "10 ms"),
    (8, "100 ms"))]
STOP_LIMITS = [(0.05, "50 us"), (0.1, "100 us"), (0.2, "200 us"), (0.5, "500 us"), (1, "1 ms"),
               (2, "2 ms"), (10, "10 ms"), (100, "100 ms")]


class Cell:
    """All rounds of one subject at one live size."""

    def __init__(self):
        self.histogram = collections.Counter()  # low ns of the bucket -> operations
        self.first, self.second = [], []        # ms of every stop
        self.values = collections.defaultdict(list)
        self.methods = collections.Counter()
        self.cycles = self.abandoned = 0

    def percentile_ns(self, percent):
        """The lower edge of the bucket that holds it: at most 6 % too small."""
        left = sum(self.histogram.values()) * (1 - percent / 100)
        for low, count in sorted(self.histogram.items(), reverse=True):
            left -= count
            if left < 0:
                return low
        return 0

    def lost_percent(self):
        """Share of the writers' time that lay in operations of 1 ms and more."""
        total = sum(low * count for low, count in self.histogram.items())
        late = sum(low * count for low, count in self.histogram.items() if low >= 1000000)
        return 100 * late / total if total else 0


def columns_find(bench):
    """Every subject. All run without a large minimum heap: 4 MiB, as Go and libgc have it."""
    def ours(name, variant, method="", settings=(), debug=""):
        env = {"GCALLOC_DEBUG": "gctrace=2" + debug, "GCALLOC_HEAPMIN": "4MiB",
               "GCALLOC_GOGC": str(bench.options.gogc)}
        env.update(settings)
        preload = None if variant == "gcalloc" else bench.library
        return Column(subjects.Subject(name, preload, env, is_peer=False), variant, method)

    # Where cycles find little the pacer leaves seconds between them; their stops are to be seen.
    collect = {"GCALLOC_MODE": "collect", "BENCH_COLLECT_MS": "300"}
    pages = {"GCALLOC_BARRIER": "pages"}
    divisor = {"GC_FREE_SPACE_DIVISOR": str(max(1, round(300 / bench.options.gogc)))}
    return [
        Column(subjects.Subject("glibc malloc/free"), "malloc", None),
        ours("ours malloc/free, manual", "malloc", None, {"GCALLOC_MODE": "manual"}),
        ours("ours gc_alloc, barrier", "gcalloc"),
        ours("ours gc_alloc, pages", "gcalloc", settings=pages),
        ours("ours gc_alloc, snapshot", "gcalloc", "snapshot", debug=",mark=2"),
        ours("ours gc_alloc, stopped", "gcalloc", "stopped", debug=",mark=3"),
        ours("ours malloc leak", "leak", "userfaultfd", collect),
        ours("ours malloc leak, snapshot", "leak", "snapshot", collect, ",mark=2"),
        ours("ours malloc leak, stopped", "leak", "stopped", collect, ",mark=3"),
        Column(subjects.Subject("libgc", settings=divisor), "libgc", None),
        Column(subjects.Subject("libgc incremental",
                                settings={"BENCH_INCREMENTAL": "1", **divisor}), "libgc", None),
        Column(subjects.Subject("Go", settings={"GODEBUG": "gctrace=1",
                                                "GOGC": str(bench.options.gogc)}), "go", None),
    ]


def trace_take(cell, errors):
    """The stops of the gctrace lines between the two markers."""
    begin, end = errors.find("# measure begin"), errors.find("# measure end")
    measured = errors[begin:end]
    cell.abandoned += measured.count("gc: cycle abandoned")
    found = TRACE.findall(measured)
    cell.cycles += len(found)
    cell.methods.update(method for _, _, _, method in found)
    details = [[float(stop) for stop in stops.split()] for stops in DETAILS.findall(measured)]
    for first, *others in details or [(float(first), float(second)) for first, _, second, _ in found]:
        cell.first.append(first)
        cell.second += others


def output_take(cell, output):
    for line in output.splitlines():
        words = line.split()
        if words[0] == "hist":
            cell.histogram[int(words[1])] += int(words[2])
        elif words[0] == "stop":
            cell.first.append(int(words[1]) / 1e6)
        elif words[0] != "#":
            cell.values[words[0]].append(float(words[2]))


def stops_compare(bench, what, cell):
    """gc_alloc programs also ask the library how long it stopped them: no stop may be hidden."""
    told = sum(cell.values.get("stops_total", []))
    traced = sum(cell.first) + sum(cell.second)
    # The trace is rounded to two digits, and a cycle may lie across the start or the end.
    if told > 1.25 * traced + 2 * max(cell.first + cell.second + [0]) + 1:
        bench.complain("%s: %.1f ms of stops in gc_read_memstats, %.1f in the gctrace lines" % (
            what, told, traced), is_ours=True)


def cell_run(bench, column, live, cell):
    seconds = bench.options.seconds or next(
        seconds for limit, seconds in SECONDS[bench.options.full] if live <= limit)
    command = [bench.path("pauses-" + column.variant), str(live), "%g" % seconds,
               str(bench.options.writers)]
    what = "%s: pauses %d MiB" % (column.subject.name, live)
    done = driver.command_run(bench, column.subject, command, what)
    if done is None:
        return
    output_take(cell, done.stdout)
    if "# measure begin\n" not in done.stderr or "# measure end\n" not in done.stderr:
        bench.complain(what + ": the markers are missing on stderr", not column.subject.is_peer)
        return
    trace_take(cell, done.stderr)
    if column.variant == "libgc":
        cell.cycles += int(cell.values["cycles"][-1])
    stops_compare(bench, what, cell)
    if column.method and set(cell.methods) - {column.method}:
        bench.complain("%s: marked by %s, not by %s" % (
            what, ", ".join(name or "an unnamed method" for name in cell.methods), column.method),
            is_ours=True)


def measure(bench, columns):
    """Round robin over subjects and sizes; (subject name, live MiB) -> Cell."""
    cells = collections.OrderedDict(((column.subject.name, live), Cell())
                                    for live in bench.options.live for column in columns)
    for number in range(bench.options.rounds):
        shift = number % len(columns)
        for live in bench.options.live:
            driver.progress("round %d/%d, %d MiB" % (number + 1, bench.options.rounds, live))
            for column in columns[shift:] + columns[:shift]:
                cell_run(bench, column, live, cells[column.subject.name, live])
    return {key: cell for key, cell in cells.items() if cell.histogram}


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def stop_cells(values):
    if not values:
        return ["-", "-", "-"]
    return ["%.3g" % v for v in (table.median(values), percentile(values, 99), max(values))]


def summary_table(cells):
    header = ["subject", "live MiB", "Mops/s", "op p50 us", "p99", "p99.9", "max ms",
              "% in ops >= 1 ms", "cycles", "stop 1 median ms", "p99", "max",
              "stop 2 median ms", "p99", "max", "peak RSS MiB", "method"]
    rows = []
    for (name, live), cell in cells.items():
        methods = ", ".join("%s %d" % (method or "unnamed", count)
                            for method, count in cell.methods.most_common())
        ours = name.startswith("ours")
        rows.append(
            [name, str(live), table.number(table.median(cell.values["op_rate"]))] +
            ["%.3g" % (cell.percentile_ns(p) / 1000) for p in (50, 99, 99.9)] +
            ["%.3g" % (max(cell.values["op_longest"]) / 1e6), "%.2f" % cell.lost_percent(),
             str(cell.cycles) + (" (+%d abandoned)" % cell.abandoned if cell.abandoned else "")] +
            stop_cells(cell.first) + stop_cells(cell.second) +
            [table.number(table.median(cell.values["peak_rss"])), methods if ours else ""])
    return table.markdown(header, rows)


def histogram_table(cells, limits, values_of):
    """Counts between the limits; values_of: cell -> [(value, count)]."""
    header = ["subject", "live MiB"] + ["< " + name for _, name in limits] + ["more"]
    rows = []
    for (name, live), cell in cells.items():
        counts = [0] * (len(limits) + 1)
        for value, count in values_of(cell):
            counts[sum(value >= limit for limit, _ in limits)] += count
        if sum(counts):
            rows.append([name, str(live)] + [str(count) if count else "" for count in counts])
    return table.markdown(header, rows)


def stops_of(cell):
    return [(value, 1) for value in cell.first + cell.second]


def raw_list(cells):
    return [{"subject": name, "live_mib": live, "histogram_ns": sorted(cell.histogram.items()),
             "stop1_ms": cell.first, "stop2_ms": cell.second, "cycles": cell.cycles,
             "abandoned": cell.abandoned, "methods": cell.methods, "values": cell.values}
            for (name, live), cell in cells.items()]


def options_parse():
    parser = argparse.ArgumentParser(description="Pauses of libgcalloc beside libgc and Go.")
    driver.common_options(parser)
    parser.add_argument("--live", help="live heaps in MiB, separated by commas",
                        default=[64, 256, 1024],
                        type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--seconds", type=float,
                        help="seconds of measuring per run (default: more for larger heaps)")
    parser.add_argument("--gogc", type=int, default=100,
                        help="heap growth of ours and Go; libgc's divisor becomes 300 / this")
    parser.add_argument("--writers", type=int, default=2, help="writer threads (default 2)")
    parser.add_argument("--subjects", type=lambda text: text.split(","),
                        help="only subjects whose name contains one of these")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.full else 1)
    return options


def main():
    options = options_parse()
    bench = driver.Bench(options, "pauses")
    driver.packages_install(options, "--go")
    driver.library_copy(bench)
    built = variants.programs_build(bench, ["pauses"])
    columns = [c for c in columns_find(bench) if ("pauses", c.variant) in built and
               (not options.subjects or any(s in c.subject.name for s in options.subjects)) and
               (c.subject.preload is None or os.path.exists(c.subject.preload))]
    cells = measure(bench, columns)
    facts = driver.machine_facts(bench) + driver.collector_facts() + [
        "- %d rounds, %d writers, GOGC %d, %.0f s in all" % (
            options.rounds, options.writers, options.gogc, driver.elapsed_s())]
    parts = ["## Operations and stops",
              "glibc malloc/free has no collector: what its row shows of slow operations is the "
              "machine's own doing. Percentiles are lower edges of buckets 6 % wide; stops are as "
              "exact as the gctrace lines, two digits. p99 of fewer than 100 stops is their "
              "maximum. libgc has one stop per cycle, or several when incremental: all stand "
              "under stop 1.", summary_table(cells),
              "## Operations by how long they took",
              histogram_table(cells, OPERATION_LIMITS, lambda cell: cell.histogram.items()),
              "## Stops by how long they took",
              histogram_table(cells, STOP_LIMITS, stops_of)]
    return driver.finish(bench, "pauses", "Pauses", facts, parts, raw_list(cells))


if __name__ == "__main__":
    sys.exit(main())
