"""report -- the parts of run.py's results, from a finished run: what is in which table."""
import os

import driver
import spawn
import table

COLLECTOR_PROGRAMS = ["binarytrees", "markrate", "newborn"]
WANTED = 1.15       # times the best peer; a row above it wants a reason
CLIFF = 2.0         # between neighbouring sizes, which differ by 1.14 to 1.25
REASONS = os.path.join(driver.BENCH, "reasons.txt")


def time_select(bench):
    """The rows of time: patterns in ns per operation, real programs in ms of processor time."""
    patterns = {key: row for key, row in bench.select("ns").items()
                if key[0] not in COLLECTOR_PROGRAMS}
    return {**patterns, **bench.select("ms", ["real"])}


def peak_select(bench):
    """Peak RSS of the preloaded programs."""
    return {key: row for key, row in bench.select("MiB").items()
            if "peak_rss" in key[1] and key[0] not in COLLECTOR_PROGRAMS}


def sweep_select(bench, kind):
    """Size -> subject -> values, in the order of the sizes."""
    rows = {int(case.split("_")[1]): row for (_, case), row in bench.select("sweep-ns").items()
            if case.startswith(kind + "_")}
    return dict(sorted(rows.items()))


def sweep_rows(bench, kind, sizes=None):
    """Rows for table.py; by default every size."""
    return {("sweep", "%s %s" % (kind, size_name(size))): row
            for size, row in sweep_select(bench, kind).items() if sizes is None or size in sizes}


def size_name(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return "%g %s" % (size / unit, name)
    return "%d B" % size


def summary_report(bench, counts, names, peers):
    """One line per kind of row: geometric means over all of them."""
    kinds = [("time", time_select(bench)), ("peak RSS", peak_select(bench)),
             ("RSS over requested", bench.select("x")), ("instructions", counts),
             ("size sweep, touch", sweep_rows(bench, "touch")),
             ("size sweep, grow", sweep_rows(bench, "grow"))]
    lines, notes = [], []
    for kind, rows in kinds:
        if not rows:
            continue
        columns = zip(*[table.row_ratios(row, names, peers) for row in rows.values()])
        columns = dict(zip(names, columns))
        means = {name: table.geomean(column) for name, column in columns.items()}
        lines.append(["%s, %d rows" % (kind, len(rows))] +
                     [table.ratio(means[name]) + ("*" if None in columns[name] else "")
                      for name in names])
        best = min(((mean, name) for name, mean in means.items() if name in peers and mean),
                   default=None)
        if means.get("manual") and best:
            notes.append("%s %.2f of %s" % (kind, means["manual"] / best[0], best[1]))
    if not lines:
        return []
    parts = ["## Summary: geometric means of the ratios to the best peer of each row",
             table.markdown(["kind"] + names, lines)]
    if notes:
        parts.append("Manual beside the best single peer (its geometric mean over the peer's): " +
                     "; ".join(notes) + ".")
    overhead = table.column_geomean(time_select(bench), "collect", "manual")
    if overhead:
        parts.append("Mode collect over mode manual, geometric mean of time: %.3f" % overhead)
    return parts


def ratios_report(bench, counts, names, peers):
    """The one table of ratios."""
    sections = [("time, ns per operation; real programs ms of processor time", time_select(bench)),
                ("peak RSS, MiB", peak_select(bench)),
                ("RSS over requested bytes", bench.select("x")),
                ("instructions per malloc+free, the loop subtracted", counts)]
    if not any(rows for _, rows in sections):
        return []
    return ["## Ratios to the best peer of each row (less is better)",
            "`~`: rounds differ by more than %d %%; `*`: some rows missing." % (
                100 * table.NOISY_SPREAD),
            table.ratio_table(sections, names, peers)]


def reasons_read():
    """Case -> why it is above WANTED, from reasons.txt."""
    reasons = {}
    with open(REASONS, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                case, _, reason = line.partition(":")
                reasons[case.strip()] = reason.strip()
    return reasons


def weakest_report(bench, peers):
    """Rows where manual is above WANTED, the worst first, each with its reason."""
    reasons, found = reasons_read(), []
    for kind, rows in (("time", time_select(bench)), ("memory", peak_select(bench)),
                       ("memory", bench.select("x"))):
        for (_, case), row in rows.items():
            name, _ = table.best_peer(row, peers)
            ratio = table.row_ratios(row, ["manual"], peers)[0]
            if ratio and ratio > WANTED:
                found.append((ratio, [case, kind, table.ratio(ratio), name,
                                      reasons.get(case, "-")]))
    if not found:
        return []
    found.sort(key=lambda item: -item[0])
    return ["## Where mode manual is above %.2f times the best peer" % WANTED,
            "Reasons are read from the code where no figure is named.",
            table.markdown(["case", "kind", "ratio", "best peer", "reason"],
                           [line for _, line in found])]


def details_report(bench, names):
    """Medians and spreads, and what has no ratio."""
    parts = []
    if time_select(bench):
        parts += ["## Time: medians, and half the spread of the rounds",
                  table.median_table(time_select(bench), names, "ns or ms")]
    left = {key: row for key, row in bench.select("MiB").items() if "peak_rss" not in key[1]}
    left.update(bench.select("KiB"))
    left.update(bench.select("MiB-256"))
    if left:
        parts += ["## Memory: left after everything was freed (MiB), grown by thread churn (KiB), "
                  "with 256 threads alive (MiB)",
                  table.median_table(left, names, "MiB or KiB", with_spread=False)]
    cycles = {key: row for key, row in bench.select("cycles").items()
              if key[0] not in COLLECTOR_PROGRAMS}
    if cycles:
        parts += ["## Collections in mode collect, per run of the program",
                  table.median_table(cycles, ["collect"], "cycles", with_spread=False)]
    return parts + spawn.report(bench, names)


def cliffs_find(bench, kind, names):
    """[(subject, size, next size, ns, ns)]: steps of more than CLIFF upwards."""
    rows = list(sweep_select(bench, kind).items())
    found = []
    for name in names:
        for (size, row), (next_size, next_row) in zip(rows, rows[1:]):
            low, high = table.median(row.get(name)), table.median(next_row.get(name))
            if low and high and high > CLIFF * low:
                found.append((name, size, next_size, low, high))
    return found


def sweep_report(bench, names, peers):
    """The sizes that are powers of two, and every step that is too high."""
    if not bench.select("sweep-ns"):
        return []
    parts = ["## Size sweep, 1 B to 64 MiB: ratios at the powers of two (all sizes: sweep.svg)",
             "touch: malloc, a byte written per 4 KiB, free. grow: malloc of half of it, realloc "
             "to this size, free."]
    powers = {1 << shift for shift in range(27)}
    parts.append(table.ratio_table([(kind + ", ns", sweep_rows(bench, kind, powers))
                                    for kind in ("touch", "grow")], names, peers))
    cliffs = [[kind, name, "%s -> %s" % (size_name(size), size_name(next_size)),
               "%s -> %s" % (table.number(low), table.number(high)), "%.1f" % (high / low)]
              for kind in ("touch", "grow")
              for name, size, next_size, low, high in cliffs_find(bench, kind, names)]
    return parts + ["### Steps of more than %g times between neighbouring sizes" % CLIFF,
                    table.markdown(["sweep", "allocator", "sizes", "ns", "times"], cliffs)
                    if cliffs else "None."]


def hardened_report(hardened, counts):
    """hardened=1 beside plain mode manual; in counts, instructions of the same pairs."""
    rows = hardened.select("ns")
    if not rows:
        return []
    kinds = [(case + ", ns", row) for (_, case), row in rows.items()]
    kinds += [(case + ", instructions", row) for (_, case), row in counts.items()]
    lines = [[label, table.number(table.median(row.get("manual"))),
              table.number(table.median(row.get("hardened"))),
              table.ratio(table.row_ratios(row, ["hardened"], ["manual"])[0])]
             for label, row in kinds]
    mean = table.ratio(table.column_geomean(rows, "hardened", "manual"))
    lines.append(["**%d ROWS OF TIME**" % len(rows), "", "", "**%s**" % mean])
    return ["## The price of hardened=1 (mode manual)",
            table.markdown(["case", "manual", "hardened", "ratio"], lines)]


def collector_report(bench, names):
    parts = []
    heaps = names + ["gc_alloc", "libgc", "libgc 64M"]
    trees = bench.select("ms", ["binarytrees"])
    if trees:
        heaps = [name for name in heaps if any(name in row for row in trees.values())]
        peak = bench.select("MiB", ["binarytrees"])
        parts += ["## Collectors: binary-trees, wall and processor time in ms (less is better)",
                  "malloc/free under each allocator, then the same program with a collector.",
                  table.median_table(trees, heaps, "ms"),
                  table.median_table(peak, heaps, "MiB", with_spread=False),
                  table.median_table(bench.select("cycles", ["binarytrees"]), heaps,
                                     "collections", with_spread=False)]
    marks = dict(bench.select("ms", ["markrate"]))
    for unit in ("MiB-live", "Mobj/s", "MiB/s", "MiB"):
        marks.update(bench.select(unit, ["markrate"]))
    if marks:
        rows = dict(sorted(marks.items(), key=lambda item: "random" in item[0][1]))
        columns = [n for n in ["gc_alloc", "libgc", "libgc 1 marker", "plain walk"]
                   if any(n in row for row in rows.values())]
        parts += ["## Collectors: marking a tree of 64-byte nodes",
                  "ms per full collection (less is better); Mobj/s of wall time (rate) and of "
                  "processor time (core), MiB/s of wall time (bytes): more is better. "
                  "Peak RSS in MiB.",
                  table.median_table(rows, columns, "mark")]
    parts += newborn_report(bench)
    return parts


def newborn_report(bench):
    times, counts = (bench.select(unit, ["newborn"]) for unit in ("ns", "instructions"))
    if not times:
        return []
    columns = [n for n in ["gc_alloc", "libgc 64M", "manual", "collect"]
               if any(n in row for row in times.values())]
    return ["## Collectors: an object that nobody keeps",
            "ns of processor time, collections included; manual and collect free it at once.",
            table.median_table(times, columns, "ns"),
            "Instructions of 500 objects before any collection, each; refills included.",
            table.median_table(counts, columns, "instructions", with_spread=False)]


def counts_report(counts, names):
    if not counts:
        return []
    return ["## Instructions per malloc+free, the loop subtracted",
            table.median_table(counts, names, "instructions", with_spread=False)]
