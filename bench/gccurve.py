"""gccurve -- the trade of memory for time: points (peak RSS, time) per collector, as an SVG.

One panel per program; in each a line per collector, its points labelled with the setting. Down and
to the left is better. Nothing outside Python's standard library.
"""
import html
import math

PANEL_WIDTH, PANEL_HEIGHT = 460, 330
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 34, 46
COLUMNS = 2
COLORS = ["#0072b2", "#d55e00", "#009e73", "#7f7f7f", "#cc79a7", "#e69f00"]


def ticks_find(low, high):
    """1, 2, 5 times powers of ten inside [low, high]."""
    ticks = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        ticks += [factor * 10 ** power for factor in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


class Axis:
    """A logarithmic axis from pixel `start` to pixel `end`."""

    def __init__(self, values, start, end):
        self.low, self.high = min(values) / 1.15, max(values) * 1.15
        self.start, self.end = start, end

    def at(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        return [(tick, self.at(tick)) for tick in ticks_find(self.low, self.high)]


def text(x, y, content, anchor="middle", size=11, extra=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d"%s>%s</text>' % (
        x, y, anchor, size, extra, html.escape(content))


def axes_draw(x_axis, y_axis, title):
    right, bottom = PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM
    parts = [text((LEFT + right) / 2, 20, title, size=13),
             text((LEFT + right) / 2, PANEL_HEIGHT - 10, "peak RSS, MiB"),
             text(14, (TOP + bottom) / 2, "ms", size=11)]
    for tick, x in x_axis.ticks():
        parts.append('<path d="M%.1f %dV%d" stroke="#ddd"/>' % (x, TOP, bottom))
        parts.append(text(x, bottom + 15, "%g" % tick, size=10))
    for tick, y in y_axis.ticks():
        parts.append('<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, y, right))
        parts.append(text(LEFT - 5, y + 4, "%g" % tick, "end", 10))
    parts.append('<path d="M%d %dV%dH%d" stroke="#000" fill="none"/>' % (LEFT, TOP, bottom, right))
    return parts


def line_draw(points, color, x_axis, y_axis):
    """points: (label, MiB, ms), in the order of the setting."""
    places = [(x_axis.at(mib), y_axis.at(ms)) for _, mib, ms in points]
    parts = ['<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>' % (
        " ".join("%.1f,%.1f" % place for place in places), color)]
    for (label, _, _), (x, y) in zip(points, places):
        parts.append('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, color))
        parts.append(text(x + 5, y - 4, label, "start", 9, ' fill="%s"' % color))
    return parts


def panel_draw(title, lines, colors):
    points = [point for line in lines.values() for point in line]
    if not points:
        return []
    x_axis = Axis([mib for _, mib, _ in points], LEFT, PANEL_WIDTH - RIGHT)
    y_axis = Axis([ms for _, _, ms in points], PANEL_HEIGHT - BOTTOM, TOP)
    parts = axes_draw(x_axis, y_axis, title)
    for name, line in lines.items():
        parts += line_draw(line, colors[name], x_axis, y_axis)
    return parts


def legend_draw(colors, x, y):
    parts = []
    for number, (name, color) in enumerate(colors.items()):
        parts.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (
            x, y + 20 * number, color))
        parts.append(text(x + 18, y + 11 + 20 * number, name, "start", 12))
    return parts


def svg_write(path, panels):
    """panels: title -> collector name -> [(label, MiB, ms)]."""
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    cells = len(panels) + 1
    height = (cells + COLUMNS - 1) // COLUMNS * PANEL_HEIGHT
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
             'font-family="sans-serif">' % (COLUMNS * PANEL_WIDTH, height),
             '<rect width="100%" height="100%" fill="#fff"/>']
    for number, (title, lines) in enumerate(panels.items()):
        parts.append('<g transform="translate(%d %d)">' % (
            number % COLUMNS * PANEL_WIDTH, number // COLUMNS * PANEL_HEIGHT))
        parts += panel_draw(title, lines, colors) + ["</g>"]
    last = len(panels)
    parts += legend_draw(colors, last % COLUMNS * PANEL_WIDTH + LEFT,
                         last // COLUMNS * PANEL_HEIGHT + TOP)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts + ["</svg>"]) + "\n")
