"""table -- turns measurements into markdown: ratios to the best peer, medians, spreads.

A measurement is results[(program, case)][subject name] = list of values, one per round. Every
value is "less is better"; the rates of the collectors have tables of their own.
"""
import math
import statistics

# A row whose rounds differ by more than this is marked: its ratio may be noise.
NOISY_SPREAD = 0.15


def median(values):
    return statistics.median(values) if values else None


def spread(values):
    """Largest minus smallest round, relative to the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def geomean(values):
    usable = [value for value in values if value and value > 0]
    if not usable:
        return None
    return math.exp(sum(math.log(value) for value in usable) / len(usable))


def number(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return "-"
    magnitude = abs(value)
    if magnitude >= 100:
        return "%.0f" % value
    return ("%.1f" if magnitude >= 10 else "%.2f") % value


def ratio(value):
    return "-" if value is None else "%.2f" % value if value < 100 else "%.0f" % value


def markdown(header, rows):
    """A markdown table whose columns are also aligned as plain text."""
    table = [header] + rows
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]

    def line(row):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (w + 1) + ":" for w in widths[1:]]) + "|"
    return "\n".join([line(header), rule] + [line(row) for row in rows])


def best_peer(row, peers):
    """(name, median) of the peer with the smallest median, or (None, None)."""
    medians = [(median(row[name]), name) for name in peers if row.get(name)]
    medians = [pair for pair in medians if pair[0]]
    return (min(medians)[1], min(medians)[0]) if medians else (None, None)


def row_ratios(row, names, peers):
    """Each subject's median over the best peer's; None where there is no value."""
    _, best = best_peer(row, peers)
    return [median(row[name]) / best if best and row.get(name) else None for name in names]


def ratio_cells(row, names, peers):
    cells = []
    for name, value in zip(names, row_ratios(row, names, peers)):
        is_noisy = row.get(name) and spread(row[name]) > NOISY_SPREAD
        cells.append(ratio(value) + ("~" if is_noisy else ""))
    return cells


def geomean_row(label, ratio_rows, extra_columns=1):
    """Geometric mean of each column; a * marks a column that lacks some of the rows."""
    cells = []
    for column in zip(*ratio_rows):
        present = [value for value in column if value is not None]
        mark = "*" if len(present) < len(column) else ""
        cells.append("**" + ratio(geomean(present)) + "**" + mark)
    return ["**" + label + "**"] + [""] * extra_columns + cells


def ratio_rows(results, names, peers):
    """Ratios to the best peer of each row, a geometric mean per program and one over all rows."""
    rows, all_ratios = [], []
    programs = list(dict.fromkeys(program for program, _ in results))
    for program in programs:
        program_ratios = []
        for (owner, case), row in results.items():
            if owner != program:
                continue
            name, best = best_peer(row, peers)
            rows.append([case, "%s %s" % (name, number(best))] + ratio_cells(row, names, peers))
            program_ratios.append(row_ratios(row, names, peers))
        if len(programs) > 1 and len(program_ratios) > 1:
            rows.append(geomean_row(program, program_ratios))
        all_ratios += program_ratios
    if all_ratios:
        rows.append(geomean_row("ALL %d ROWS" % len(all_ratios), all_ratios))
    return rows


def ratio_table(sections, names, peers):
    """One table; sections: [(title with the unit, results)], each with its own means."""
    rows = []
    for title, results in sections:
        if results:
            rows.append(["**%s**" % title] + [""] * (len(names) + 1))
            rows += ratio_rows(results, names, peers)
    return markdown(["case", "best peer"] + names, rows)


def median_table(results, names, unit, with_spread=True):
    header = ["case, " + unit] + names
    rows = []
    for (_, case), row in results.items():
        cells = []
        for name in names:
            values = row.get(name)
            text = number(median(values)) if values else "-"
            if values and with_spread and len(values) > 1:
                text += " ±%.0f%%" % (100 * spread(values) / 2)
            cells.append(text)
        rows.append([case] + cells)
    return markdown(header, rows)


def column_geomean(results, name, base):
    """Geometric mean over all rows of one subject's median over another's."""
    values = [median(row[name]) / median(row[base]) for row in results.values()
              if row.get(name) and row.get(base) and median(row[base])]
    return geomean(values)
