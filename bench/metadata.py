#!/usr/bin/env python3
"""metadata -- how much of a heap our own tables are: for blocks of one size, and in real programs.

Usage: bench/metadata.py [--quick | --full] [--lib DIRECTORY] [--only redis,python,...]
Runs bench/metadata.c, and the real programs in mode collect with bench/observe.c preloaded as well.
The table goes to build/bench/metadata/metadata.md, every figure to metadata.json beside it.
"""
import argparse
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import driver  # noqa: E402
import programs  # noqa: E402
import subjects  # noqa: E402
import table  # noqa: E402

WANTED = 2.0
MIB = float(1 << 20)


def observer_build(bench):
    """observe.c -> a library; its one undefined name is ours."""
    path = bench.path("observe.so")
    if not driver.program_build(bench, "observe.so", "observe",
                                ["-shared", "-fPIC", "-I" + os.path.join(driver.ROOT, "include")],
                                harness=False):
        raise SystemExit("bench: cannot compile bench/observe.c")
    return path


def sizes_run(bench):
    """[(block size, percent)]"""
    extra = ["-I" + os.path.join(driver.ROOT, "include"), bench.archive, "-lpthread"]
    if not driver.program_build(bench, "metadata", "metadata", extra):
        raise SystemExit("bench: cannot compile bench/metadata.c")
    text = subprocess.run([bench.path("metadata")], stdout=subprocess.PIPE, text=True, check=True,
                          timeout=bench.options.timeout).stdout
    return [(case.split("_")[1], value) for case, unit, value in driver.output_parse(text)[1]
            if unit == "percent"]


def program_run(bench, program, observer):
    """(heap in use, blocks, their bytes, headers, tables) of its largest process, or None."""
    report = bench.path(program.name + ".observed")
    if os.path.exists(report):
        os.remove(report)
    settings = {"GCALLOC_MODE": "collect", "OBSERVE_FILE": report}
    subject = subjects.Subject("observed", bench.library + " " + observer, settings, is_peer=False)
    if programs.sample_take(bench, program, subject, {}) is None or not os.path.exists(report):
        return None
    with open(report, encoding="ascii") as file:
        return max(tuple(int(word) for word in line.split()) for line in file)


def program_row(name, found):
    inuse, blocks, block_bytes, headers, tables = found
    percent = 100.0 * (headers + tables) / inuse
    return [name, table.number(inuse / MIB), table.number(block_bytes / max(blocks, 1)),
            table.number((headers + tables) / MIB), "%.2f" % percent,
            "yes" if percent < WANTED else "NO"]


def options_parse():
    parser = argparse.ArgumentParser(description="How much of a heap our own tables are.")
    driver.common_options(parser)
    driver.only_option(parser, "programs to run")
    return parser.parse_args()


def main():
    options = options_parse()
    bench = driver.Bench(options, "metadata")
    driver.library_copy(bench)
    programs.launcher_build(bench)
    observer = observer_build(bench)
    sizes = sizes_run(bench)
    found = {program.name: program_run(bench, program, observer)
             for program in programs.programs_usable(bench, 2 if options.full else 1)}
    rows = [program_row(name, one) for name, one in found.items() if one is not None]
    parts = ["Metadata: span headers, with six bits and a state byte for each slot in them, and the page "
             "map. Heap: pages of spans in use. Real programs: when their heap was largest.",
             "## Blocks of one size, 64 MiB of them",
             table.markdown(["bytes"] + [size for size, _ in sizes],
                            [["% of the heap"] + ["%.2f" % percent for _, percent in sizes]]),
             "## Real programs, mode collect",
             table.markdown(["program", "heap, MiB", "bytes a block", "metadata, MiB", "%",
                             "< %.0f %%" % WANTED], rows)]
    raw = {"sizes": sizes, "programs": found}
    return driver.finish(bench, "metadata", "Metadata", driver.machine_facts(bench), parts, raw)


if __name__ == "__main__":
    sys.exit(main())
