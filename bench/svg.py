"""svg -- what the plots share: axes, text, frames, a legend; the standard library is enough."""
import html
import math

COLORS = ["#7f7f7f", "#0072b2", "#e69f00", "#009e73", "#56b4e9", "#cc79a7", "#8c564b", "#bcbd22"]
OUR_COLORS = {"manual": "#d55e00", "collect": "#000000"}


def text(x, y, content, anchor="middle", size=11, extra=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d"%s>%s</text>' % (
        x, y, anchor, size, extra, html.escape(content))


def polyline(points, color, width=1.0, extra=""):
    return '<polyline points="%s" fill="none" stroke="%s" stroke-width="%g"%s/>' % (
        " ".join("%.1f,%.1f" % point for point in points), color, width, extra)


class LogAxis:
    """A logarithmic axis over the values, from pixel start to pixel end."""

    def __init__(self, values, start, end, margin=1.15):
        self.low, self.high = min(values) / margin, max(values) * margin
        self.start, self.end = start, end

    def at(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, factors=(1, 2, 5)):
        """Factors times powers of ten within the axis."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ticks = [factor * 10 ** power for power in powers for factor in factors]
        return [(tick, self.at(tick)) for tick in ticks if self.low <= tick <= self.high]


class LinearAxis:
    """A linear axis from 0 to most, from pixel start to pixel end."""

    def __init__(self, most, start, end):
        self.most, self.start, self.end = most or 1, start, end

    def at(self, value):
        return self.start + (self.end - self.start) * min(value, self.most * 1.02) / self.most

    def ticks(self, wanted=8):
        step = next(factor * 10 ** power for power in range(-3, 9) for factor in (1, 2, 5)
                    if self.most <= wanted * factor * 10 ** power)
        return [(i * step, self.at(i * step)) for i in range(int(self.most / step) + 1)]


def grid_draw(x, y, x_ticks, y_ticks):
    """Lines and labels; ticks: [(label, pixel)]. The frame is that of the two axes."""
    parts = []
    for label, at in x_ticks:
        parts.append('<path d="M%.1f %.1fV%.1f" stroke="#ddd"/>' % (at, y.end, y.start))
        parts.append(text(at, y.start + 15, label, size=10))
    for label, at in y_ticks:
        parts.append('<path d="M%.1f %.1fH%.1f" stroke="#ddd"/>' % (x.start, at, x.end))
        parts.append(text(x.start - 5, at + 4, label, "end", 10))
    parts.append('<path d="M%.1f %.1fV%.1fH%.1f" stroke="#000" fill="none"/>' % (
        x.start, y.end, y.start, x.end))
    return parts


def legend_draw(colors, x, y):
    parts = []
    for number, (name, color) in enumerate(colors.items()):
        parts.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (
            x, y + 20 * number, color))
        parts.append(text(x + 18, y + 11 + 20 * number, name, "start", 12))
    return parts


def moved(parts, x, y):
    return ['<g transform="translate(%d %d)">' % (x, y)] + parts + ["</g>"]


def write(path, width, height, parts):
    head = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'font-family="sans-serif">' % (width, height),
            '<rect width="100%" height="100%" fill="#fff"/>']
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(head + parts + ["</svg>"]) + "\n")
