#!/usr/bin/env python3
"""spawn -- what the library costs a process that does next to nothing.

Usage: bench/spawn.py [--quick | --full] [--runs N] [options] [peer.so | name=peer.so ...]
A preloaded library is loaded into every command of a shell script. Runs `true`, `ls`, `git status`
and a program with one malloc under every allocator, in turns of ten runs each, and measures wall
time, processor time and peak RSS of every run from outside, with bench/launch.c. The tables go to
build/bench/spawn/spawn.md, the medians to spawn.json beside it.
"""
import argparse
import collections
import os
import shutil
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
import driver  # noqa: E402
import programs  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402

TURN = 10           # runs of one allocator before the next one's turn
REPOSITORY_FILES = 200

Command = collections.namedtuple("Command", "name arguments")


def repository_make(bench):
    """A small repository for `git status`: the same on every machine."""
    path = bench.path("repository")
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    for number in range(REPOSITORY_FILES):
        with open(os.path.join(path, "file%03d" % number), "w", encoding="ascii") as file:
            file.write("%d\n" % number)
    for arguments in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", "-C", path] + arguments, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    return path


def commands_find(bench):
    found = [Command("true", ["true"]), Command("ls", ["ls", "/usr/bin"])]
    if shutil.which("git"):
        found.append(Command("git status", ["git", "-C", repository_make(bench), "status"]))
    else:
        bench.complain("git status: git is not installed")
    return found + [Command("one malloc", [bench.path("startup")])]


def turn_run(bench, subject, command, runs):
    """Some runs of one command; [(wall s, cpu s, KiB, status)] or [] after a complaint."""
    report = bench.path("spawn.report")
    what = "%s: %s" % (subject.name, command.name)
    try:
        done = subprocess.run(
            programs.launcher_command(bench, report, runs, command.arguments), check=False,
            env=subject.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, timeout=bench.options.timeout)
    except subprocess.TimeoutExpired:
        bench.complain(what + ": no end", not subject.is_peer)
        return []
    if done.returncode != 0:
        bench.complain("%s: %s" % (what, done.stderr.strip()[-200:]), not subject.is_peer)
        return []
    return programs.report_read(report)


def measure(bench, columns, runs):
    """Records ("spawn", command, unit) for every column: us, us of CPU, MiB; one value a run."""
    for command in commands_find(bench):
        for turn in range((runs + TURN - 1) // TURN):
            shift = turn % len(columns)
            for subject in columns[shift:] + columns[:shift]:
                for wall, cpu, kib, _ in turn_run(bench, subject, command, min(TURN, runs)):
                    bench.record("spawn", subject.name, [
                        (command.name, "spawn-us", wall * 1e6),
                        (command.name, "spawn-cpu-us", cpu * 1e6),
                        (command.name, "spawn-MiB", kib / 1024)])


def middle_half(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]


def spawn_table(rows, names, unit, scale):
    """Median (middle half), and the difference to glibc's median."""
    lines = []
    for (_, command), row in rows.items():
        base = statistics.median(row["glibc"]) if "glibc" in row else None
        cells = []
        for name in names:
            if name not in row:
                cells.append("-")
                continue
            middle = statistics.median(row[name])
            low, high = middle_half(row[name])
            text = "%.2f (%.2f-%.2f)" % (middle / scale, low / scale, high / scale)
            if base is not None and name != "glibc":
                text += " %+.2f" % ((middle - base) / scale)
            cells.append(text)
        lines.append([command] + cells)
    return table.markdown(["command, " + unit] + names, lines)


def report(bench, names):
    """The tables, or nothing when nothing was measured."""
    if not bench.select("spawn-us"):
        return []
    runs = max(len(values) for row in bench.select("spawn-us").values() for values in row.values())
    return ["## Start-up: small commands, %d runs each" % runs,
            "Median (middle half of the runs), and the difference to glibc.",
            spawn_table(bench.select("spawn-us"), names, "ms of wall time", 1000),
            spawn_table(bench.select("spawn-cpu-us"), names, "ms of processor time", 1000),
            spawn_table(bench.select("spawn-MiB"), names, "MiB of peak RSS", 1)]


def options_parse():
    parser = argparse.ArgumentParser(description="The cost of start-up.")
    driver.common_options(parser, timeout=60)
    driver.peer_options(parser)
    parser.add_argument("--runs", type=int, help="runs of each command (default 100; full 1000)")
    options = parser.parse_args()
    options.runs = options.runs or (1000 if options.full else 100)
    return options


def main():
    bench = driver.Bench(options_parse(), "spawn")
    driver.packages_install(bench.options)
    driver.library_copy(bench)
    programs.launcher_build(bench)
    driver.program_build(bench, "startup", "startup")
    columns = subjects.columns_find(bench)
    measure(bench, columns, bench.options.runs)
    facts = driver.machine_facts(bench) + driver.peer_facts(columns) + [
        "- %.0f s in all" % driver.elapsed_s()]
    return driver.finish(bench, "spawn", "Start-up", facts,
                         report(bench, [subject.name for subject in columns]),
                         driver.results_raw(bench))


if __name__ == "__main__":
    sys.exit(main())
