"""report -- the parts of the results, from a finished run: what is in which table."""
import os
import platform
import re
import time

import subjects
import table

COLLECTOR_PROGRAMS = ["binarytrees", "markrate"]


def machine_describe(columns, compiler, load, library):
    """What the numbers belong to: machine, kernel, compiler, versions, load."""
    lscpu = subjects.output_of(["lscpu"])
    model = re.search(r"Model name:\s*(.*)", lscpu)
    cache = re.search(r"L3 cache:\s*(.*)", lscpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="ascii") as file:
            huge = re.search(r"\[(\w+)\]", file.read()).group(1)
    except (OSError, AttributeError):
        huge = "unknown"
    here = os.path.dirname(os.path.abspath(__file__))
    revision = subjects.output_of(["git", "-C", here, "describe", "--always", "--dirty"])
    versions = ["%s %s" % (s.name, s.version) for s in columns if s.is_peer]
    libgc = subjects.package_version("libgc-dev")
    return [
        "- machine: %s, %d CPUs, L3 %s, %.0f GiB, Linux %s, THP %s" % (
            model.group(1) if model else platform.machine(), os.cpu_count() or 1,
            cache.group(1) if cache else "unknown", memory, platform.release(), huge),
        "- date: %s; load average at start: %.2f%s" % (
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), load,
            " (**not a quiet machine**)" if load > 0.5 else ""),
        "- compiler: " + (subjects.output_of(compiler + ["--version"]).splitlines() or ["?"])[0],
        "- versions: %s; libgc %s" % ("; ".join(versions), libgc or "missing"),
        "- manual, collect, gc_alloc, hardened: revision %s, %s" % (revision or "?", library),
    ]


def peak_select(run):
    """Peak RSS of the preloaded programs."""
    return {key: row for key, row in run.select("MiB").items()
            if "peak_rss" in key[1] and key[0] not in COLLECTOR_PROGRAMS}


def summary_report(run, counts, names, peers):
    """One line per kind of table: geometric means over all its rows."""
    kinds = [("time", run.select("ns")), ("RSS over requested", run.select("x")),
             ("peak RSS", peak_select(run)), ("instructions", counts)]
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
        best = min((mean, name) for name, mean in means.items() if name in peers and mean)
        if means.get("manual"):
            notes.append("%s %.2f of %s" % (kind, means["manual"] / best[0], best[1]))
    if not lines:
        return []
    parts = ["## Summary: geometric means of the ratios to the best peer of each row",
             table.markdown(["kind"] + names, lines)]
    if notes:
        parts.append("Manual beside the best single peer (its geometric mean over the peer's): " +
                     "; ".join(notes) + ".")
    return parts


def malloc_report(run, names, peers):
    """The tables of time and memory of the preloaded programs."""
    timed = run.select("ns")
    parts = []
    if timed:
        parts += ["## Time: ratio to the best peer of each row (less is better)",
                  "`~`: rounds differ by more than %d %%; `*`: some rows missing." % (
                      100 * table.NOISY_SPREAD),
                  table.ratio_table(timed, names, peers, "ns")]
        overhead = table.column_geomean(timed, "collect", "manual")
        if overhead:
            parts.append("Mode collect over mode manual, geometric mean: %.3f" % overhead)
        parts += ["## Time: medians in ns per operation, and half the spread",
                  table.median_table(timed, names, "ns")]
    sizes = run.select("x")
    if sizes:
        parts += ["## Memory: RSS over requested bytes, ratio to the best peer",
                  table.ratio_table(sizes, names, peers, "x")]
    left = {key: row for key, row in run.select("MiB").items() if "peak_rss" not in key[1]}
    left.update(run.select("KiB"))
    if left:
        parts += ["## Memory: left after everything was freed (MiB), grown by thread churn (KiB)",
                  table.median_table(left, names, "MiB or KiB", with_spread=False)]
    peak = peak_select(run)
    if peak:
        parts += ["## Memory: peak RSS of each program, ratio to the best peer",
                  table.ratio_table(peak, names, peers, "MiB")]
    cycles = {key: row for key, row in run.select("cycles").items()
              if key[0] not in COLLECTOR_PROGRAMS}
    if cycles:
        parts += ["## Collections in mode collect, per run of the program",
                  table.median_table(cycles, ["collect"], "cycles", with_spread=False)]
    started = run.select("us")
    if started:
        parts += ["## Start-up: us from spawn to exit of a process with one malloc",
                  table.median_table(started, names, "us", with_spread=False)]
    return parts


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


def collector_report(run, names):
    parts = []
    heaps = names + ["gc_alloc", "gc_alloc 4M", "libgc", "libgc 64M"]
    trees = run.select("ms", ["binarytrees"])
    if trees:
        heaps = [name for name in heaps if any(name in row for row in trees.values())]
        peak = {key: row for key, row in run.select("MiB", ["binarytrees"]).items()}
        parts += ["## Collectors: binary-trees, wall and processor time in ms (less is better)",
                  "malloc/free under each allocator, then the same program with a collector.",
                  table.median_table(trees, heaps, "ms"),
                  table.median_table(peak, heaps, "MiB", with_spread=False),
                  table.median_table(run.select("cycles", ["binarytrees"]), heaps, "collections",
                                     with_spread=False)]
    marks = dict(run.select("ms", ["markrate"]))
    for unit in ("MiB-live", "Mobj/s", "MiB/s", "MiB"):
        marks.update(run.select(unit, ["markrate"]))
    if marks:
        rows = dict(sorted(marks.items(), key=lambda item: "random" in item[0][1]))
        columns = [n for n in ["gc_alloc", "libgc", "libgc 1 marker", "plain walk"]
                   if any(n in row for row in rows.values())]
        parts += ["## Collectors: marking a tree of 64-byte nodes",
                  "ms per full collection (less is better); Mobj/s of wall time (rate) and of "
                  "processor time (core), MiB/s of wall time (bytes): more is better. "
                  "Peak RSS in MiB.",
                  table.median_table(rows, columns, "mark")]
    return parts


def collector_counts_report(counts):
    if not counts:
        return []
    return ["## Instructions per allocation of a collector, no collections (callgrind)",
            table.median_table(counts, ["gc_alloc", "libgc", "glibc"], "instructions",
                               with_spread=False)]


def counts_report(counts, names, peers):
    if not counts:
        return []
    return ["## Instructions per malloc+free, the loop subtracted (callgrind)",
            table.median_table(counts, names, "instructions", with_spread=False),
            "Ratios to the best peer:", table.ratio_table(counts, names, peers, "instructions")]
