"""gccurve -- the trade of memory for time: points (peak RSS, time) per collector, as an SVG.

One panel per program; in each a line per collector, its points labelled with the setting. Down and
to the left is better.
"""
import svg

PANEL_WIDTH, PANEL_HEIGHT = 460, 330
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 34, 46
COLUMNS = 2
COLORS = ["#0072b2", "#d55e00", "#009e73", "#7f7f7f", "#cc79a7", "#e69f00"]


def axes_draw(x_axis, y_axis, title):
    right, bottom = PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM
    return [svg.text((LEFT + right) / 2, 20, title, size=13),
            svg.text((LEFT + right) / 2, PANEL_HEIGHT - 10, "peak RSS, MiB"),
            svg.text(14, (TOP + bottom) / 2, "ms", size=11)] + svg.grid_draw(
                x_axis, y_axis, [("%g" % tick, x) for tick, x in x_axis.ticks()],
                [("%g" % tick, y) for tick, y in y_axis.ticks()])


def line_draw(points, color, x_axis, y_axis):
    """points: (label, MiB, ms), in the order of the setting."""
    places = [(x_axis.at(mib), y_axis.at(ms)) for _, mib, ms in points]
    parts = [svg.polyline(places, color, 1.5)]
    for (label, _, _), (x, y) in zip(points, places):
        parts.append('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, color))
        parts.append(svg.text(x + 5, y - 4, label, "start", 9, ' fill="%s"' % color))
    return parts


def panel_draw(title, lines, colors):
    points = [point for line in lines.values() for point in line]
    if not points:
        return []
    x_axis = svg.LogAxis([mib for _, mib, _ in points], LEFT, PANEL_WIDTH - RIGHT)
    y_axis = svg.LogAxis([ms for _, _, ms in points], PANEL_HEIGHT - BOTTOM, TOP)
    parts = axes_draw(x_axis, y_axis, title)
    for name, line in lines.items():
        parts += line_draw(line, colors[name], x_axis, y_axis)
    return parts


def svg_write(path, panels):
    """panels: title -> collector name -> [(label, MiB, ms)]."""
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    parts = []
    for number, (title, lines) in enumerate(panels.items()):
        parts += svg.moved(panel_draw(title, lines, colors), number % COLUMNS * PANEL_WIDTH,
                           number // COLUMNS * PANEL_HEIGHT)
    last = len(panels)
    parts += svg.legend_draw(colors, last % COLUMNS * PANEL_WIDTH + LEFT,
                             last // COLUMNS * PANEL_HEIGHT + TOP)
    rows = (last + 1 + COLUMNS - 1) // COLUMNS
    svg.write(path, COLUMNS * PANEL_WIDTH, rows * PANEL_HEIGHT, parts)
