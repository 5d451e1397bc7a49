"""limit_plot -- heap, goal, limit and RSS over time, and the collector's share of CPU, as an SVG.

One panel per run. Above: RSS as sampled; per cycle a stroke from the heap at its start to the heap
at the end of its marking, a dot for what it found live, the goal as steps, the limit dashed. Below:
the processor time of each cycle over that until the next, and the percentage gctrace gives.
"""
import os

import svg
from svg import polyline, text

WIDTH, HEIGHT, SHARE_HEIGHT = 620, 250, 60
LEFT, RIGHT, TOP, GAP, BOTTOM = 52, 16, 30, 26, 34
COLUMNS = 2
MOST_STROKES = 400      # more cycles than that are a grey area, in a large file
COLORS = {"RSS": "#000", "heap, start to end of marking": "#0072b2", "found live": "#009e73",
          "goal": "#e69f00", "limit": "#d55e00", "collector's share of the CPUs": "#cc79a7",
          "... since the start (gctrace)": "#7f7f7f"}


def axes_draw(x, y, label, with_times):
    parts = []
    for value, at in y.ticks(6):
        parts.append('<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, at, WIDTH - RIGHT))
        parts.append(text(LEFT - 4, at + 4, "%g" % value, "end", 9))
    for value, at in x.ticks(8) if with_times else []:
        parts.append(text(at, y.start + 13, "%g s" % value, size=9))
    parts.append('<path d="M%d %dV%dH%d" stroke="#000" fill="none"/>' % (
        LEFT, y.end, y.start, WIDTH - RIGHT))
    parts.append(text(LEFT + 3, y.end - 3, label, "start", 9))
    return parts


def heap_draw(case, result, x, y):
    parts, steps = [], []
    every = len(result.cycles) // MOST_STROKES + 1
    for number, cycle in enumerate(result.cycles):
        steps += [(x.at(steps_at(result, number)), y.at(cycle.goal)),
                  (x.at(cycle.at), y.at(cycle.goal))]
        if number % every:
            continue
        end = x.at(cycle.at + cycle.ms / 1000)
        parts.append('<path d="M%.1f %.1fL%.1f %.1f" stroke="%s" stroke-width="1.5"/>' % (
            x.at(cycle.at), y.at(cycle.before), end, y.at(cycle.after),
            COLORS["heap, start to end of marking"]))
        parts.append('<circle cx="%.1f" cy="%.1f" r="1.5" fill="%s"/>' % (
            end, y.at(cycle.live), COLORS["found live"]))
    if steps:
        parts.insert(0, polyline(steps, COLORS["goal"]))
    if case.limit:
        parts.append(polyline([(LEFT, y.at(case.limit)), (WIDTH - RIGHT, y.at(case.limit))],
                              COLORS["limit"], 1.5, ' stroke-dasharray="6 3"'))
    return parts + [polyline([(x.at(at), y.at(rss)) for at, rss in result.samples], COLORS["RSS"])]


def steps_at(result, number):
    return result.cycles[number - 1].at if number else 0


def share_draw(result, x, y):
    shares, told = [], []
    for number, cycle in enumerate(result.cycles):
        before = steps_at(result, number)
        gap = max(cycle.at - before, 1e-3) * os.cpu_count()
        spent = result.cycles[number - 1].cpu_ms / 1000 if number else 0
        shares.append((x.at(cycle.at), y.at(100 * spent / gap)))
        told.append((x.at(cycle.at), y.at(cycle.percent)))
    if not shares:
        return []
    return [polyline(shares, COLORS["collector's share of the CPUs"], 0.7),
            polyline(told, COLORS["... since the start (gctrace)"], 1.5)]


def panel_draw(case, result):
    seconds = max([at for at, _ in result.samples] + [0.1])
    tallest = max([rss for _, rss in result.samples] + [cycle.after for cycle in result.cycles] +
                  [case.limit or 0])
    bottom = TOP + HEIGHT - 60
    x = svg.LinearAxis(seconds, LEFT, WIDTH - RIGHT)
    heap = svg.LinearAxis(tallest * 1.05, bottom, TOP)
    share = svg.LinearAxis(100, bottom + GAP + SHARE_HEIGHT, bottom + GAP)
    title = case.name + (": " + result.failure if result.failure else "")
    return ([text(WIDTH / 2, 14, title, size=12)] + axes_draw(x, heap, "MiB", False) +
            heap_draw(case, result, x, heap) +
            axes_draw(x, share, "% of all CPUs", True) + share_draw(result, x, share))


def legend_draw():
    parts = []
    for number, (name, color) in enumerate(COLORS.items()):
        parts.append('<rect x="%d" y="%d" width="14" height="4" fill="%s"/>' % (
            LEFT, 24 + 20 * number, color))
        parts.append(text(LEFT + 22, 30 + 20 * number, name, "start", 12))
    return parts


def svg_write(path, results):
    """results: [(case, result)], see limit.py."""
    tall = HEIGHT + SHARE_HEIGHT + GAP + BOTTOM - 20
    rows = (len(results) + 1 + COLUMNS - 1) // COLUMNS
    parts = []
    panels = [panel_draw(case, result) for case, result in results] + [legend_draw()]
    for number, panel in enumerate(panels):
        parts += svg.moved(panel, number % COLUMNS * WIDTH, number // COLUMNS * tall)
    svg.write(path, COLUMNS * WIDTH, rows * tall, parts)
