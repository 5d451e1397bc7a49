"""plots -- run.py's results as SVG files: ratios, the size sweep, scaling, fragmentation."""
import os
import shutil

import report
import svg
import table

WIDTH = 1000
LABELS = 190            # px for the names of the rows
ROW = 15
RATIO_LOW, RATIO_HIGH = 0.4, 20


def colors_of(names):
    """Ours always in the same colours, the peers in the order of the columns."""
    peers = [name for name in names if name not in svg.OUR_COLORS]
    colors = {name: svg.COLORS[i % len(svg.COLORS)] for i, name in enumerate(peers)}
    colors.update({name: svg.OUR_COLORS[name] for name in names if name in svg.OUR_COLORS})
    return colors


def series_lines(series, colors, x, y):
    """series: name -> [(x, y)]; ours are drawn last and thick."""
    parts = []
    for name in sorted(series, key=lambda name: name in svg.OUR_COLORS):
        points = [(x.at(a), y.at(b)) for a, b in series[name]]
        width = 2 if name in svg.OUR_COLORS else 1
        parts.append(svg.polyline(points, colors[name], width))
    return parts


# --- ratios per row -------------------------------------------------------------------------

def mark_draw(x, y, name, color, is_off):
    """Ours filled, peers hollow; what does not fit lies on the edge as a triangle."""
    if is_off:
        return '<path d="M%.1f %.1fl6 4l-6 4z" fill="%s"/>' % (x - 3, y - 4, color)
    fill = color if name in svg.OUR_COLORS else "none"
    return '<circle cx="%.1f" cy="%.1f" r="4" fill="%s" stroke="%s" stroke-width="1.5"/>' % (
        x, y, fill, color)


def ratio_row_draw(label, ratios, names, colors, x, y):
    parts = ['<path d="M%d %dH%d" stroke="#eee"/>' % (x.start, y, x.end),
             svg.text(LABELS - 8, y + 4, label, "end", 10)]
    for name, ratio in sorted(zip(names, ratios), key=lambda pair: pair[0] in svg.OUR_COLORS):
        if ratio:
            inside = max(RATIO_LOW, min(RATIO_HIGH, ratio))
            parts.append(mark_draw(x.at(inside), y, name, colors[name], ratio > RATIO_HIGH))
    return parts


def ratios_plot(path, title, rows, names, peers):
    """A line per row, a mark per subject, on a logarithmic axis around the best peer."""
    colors = colors_of(names)
    top, bottom = 60, 60 + ROW * len(rows)
    x = svg.LogAxis([RATIO_LOW, RATIO_HIGH], LABELS, WIDTH - 130, margin=1)
    parts = [svg.text(WIDTH / 2, 22, title, size=14)]
    for ratio in (0.5, 0.7, 1, 1.15, 1.5, 2, 3, 5, 10, 20):
        color = {1: "#000", 1.15: "#d55e00"}.get(ratio, "#ccc")
        parts.append('<path d="M%.1f %dV%d" stroke="%s"/>' % (x.at(ratio), top - 10, bottom, color))
        parts.append(svg.text(x.at(ratio), top - 16, "%g" % ratio, size=10))
    for number, ((_, case), row) in enumerate(rows.items()):
        parts += ratio_row_draw(case, table.row_ratios(row, names, peers), names, colors, x,
                                top + ROW * number + ROW // 2)
    parts += svg.legend_draw(colors, WIDTH - 110, top)
    svg.write(path, WIDTH, max(bottom, top + 20 * len(names)) + 20, parts)


# --- lines ------------------------------------------------------------------------------------

def lines_panel(title, series, colors, x, y, x_ticks, y_ticks):
    return ([svg.text((x.start + x.end) / 2, y.end - 10, title, size=13)] +
            svg.grid_draw(x, y, x_ticks, y_ticks) + series_lines(series, colors, x, y))


def number_ticks(axis):
    return [("%g" % value, at) for value, at in axis.ticks()]


def time_ticks(axis):
    """Of an axis of nanoseconds: powers of ten."""
    units = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns"))
    ticks = []
    for value, at in axis.ticks((1,) if axis.high > 1000 * axis.low else (1, 2, 5)):
        factor, unit = next(pair for pair in units if value >= pair[0] or pair[1] == "ns")
        ticks.append(("%g %s" % (value / factor, unit), at))
    return ticks


def panels_plot(path, panels, names):
    """panels: (title, series, x axis of values, labels of x, y axis of values, labels of y)."""
    colors, parts, height = colors_of(names), [], 380
    for number, (title, series, x_of, x_ticks_of, y_of, y_ticks_of) in enumerate(panels):
        values = [b for points in series.values() for _, b in points]
        x = x_of(70, WIDTH - 140)
        y = y_of(values, height - 40, 40)
        parts += svg.moved(lines_panel(title, series, colors, x, y, x_ticks_of(x),
                                       y_ticks_of(y)), 0, number * height)
    parts += svg.legend_draw(colors, WIDTH - 120, 40)
    svg.write(path, WIDTH, height * len(panels) + 10, parts)


def log_axis(values, start, end):
    return svg.LogAxis(values, start, end)


def sweep_plot(path, bench, names):
    """Time over size, both logarithmic."""
    def size_ticks(axis):
        return [(report.size_name(1 << shift), axis.at(1 << shift)) for shift in range(0, 27, 2)]

    panels = []
    for kind, title in (("touch", "malloc, write a byte per 4 KiB, free: time over size"),
                        ("grow", "realloc that doubles a buffer to this size: time over size")):
        rows = report.sweep_select(bench, kind)
        series = {name: [(size, table.median(row[name])) for size, row in rows.items()
                         if name in row] for name in names}
        panels.append((title, {name: points for name, points in series.items() if points},
                       lambda start, end, sizes=tuple(rows): svg.LogAxis(sizes, start, end),
                       size_ticks, log_axis, time_ticks))
    panels_plot(path, panels, names)


def scaling_plot(path, bench, names):
    """Time over threads, both logarithmic."""
    rows = {int(case.split("_")[1]): row for (_, case), row in
            bench.select("ns", ["scaling"]).items()}
    series = {name: [(threads, table.median(row[name])) for threads, row in sorted(rows.items())
                     if name in row] for name in names}
    panels_plot(path, [("scaling: wall time per replacement, all threads together, over "
                        "the number of threads",
                        {name: points for name, points in series.items() if points},
                        lambda start, end: svg.LogAxis(list(rows), start, end),
                        lambda axis: [(str(threads), axis.at(threads)) for threads in rows],
                        log_axis, time_ticks)], names)


def fragment_plot(path, samples, names):
    """RSS and live bytes over the samples, both linear."""
    series = {name: [(number, rss) for number, _, rss in samples[name]]
              for name in names if name in samples}
    count = max(len(points) for points in series.values())

    def phase_ticks(axis):
        return [("phase %d" % (number // 10 + 1), axis.at(number + 5))
                for number in range(0, count - 5, 10)]

    panels_plot(path, [("fragment: MiB of RSS while 64 MiB are alive, sizes changing by phase",
                        series, lambda start, end: svg.LinearAxis(count, start, end), phase_ticks,
                        lambda values, start, end: svg.LinearAxis(max(values), start, end),
                        number_ticks)], names)


def plots_write(bench, directory, names, peers, samples):
    """Writes every plot whose rows were measured; [(title, file name)]."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    written = []

    def plot(name, title, wanted, function, *arguments):
        if wanted:
            function(os.path.join(directory, name), *arguments)
            written.append((title, name))

    time_rows, peak_rows = report.time_select(bench), report.peak_select(bench)
    memory_rows = {**peak_rows, **bench.select("x")}
    plot("time.svg", "time, ratios", time_rows, ratios_plot,
         "Time over that of the best peer of each row", time_rows, names, peers)
    plot("memory.svg", "memory, ratios", memory_rows, ratios_plot,
         "Peak RSS, and RSS over requested bytes, over those of the best peer", memory_rows,
         names, peers)
    plot("sweep.svg", "size sweep", bench.select("sweep-ns"), sweep_plot, bench, names)
    plot("scaling.svg", "scaling", bench.select("ns", ["scaling"]), scaling_plot, bench, names)
    plot("fragment.svg", "fragmentation", samples, fragment_plot, samples, names)
    return written
