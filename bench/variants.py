"""variants -- builds the collector programs, in C against each heap and in Go."""
import os
import subprocess

import driver


def variants_of(bench):
    """Variant of a program -> what the compiler is told."""
    variants = {"malloc": [], "leak": ["-DBENCH_HEAP_LEAK"], "bump": ["-DBENCH_HEAP_BUMP"]}
    if os.path.exists(bench.archive):
        variants["gcalloc"] = ["-DBENCH_HEAP_GCALLOC", "-I" + os.path.join(driver.ROOT, "include"),
                               bench.archive, "-lpthread"]
    variants["libgc"] = ["-DBENCH_HEAP_LIBGC", "-lgc"]
    return variants


def go_build(bench, program):
    """Builds bench/go/PROGRAM; the compiler's cache stays inside build/, nothing is downloaded."""
    cache = os.path.join(driver.ROOT, "build", "bench", "gocache")
    env = dict(os.environ, GOCACHE=cache, GOPROXY="off", GOFLAGS="-mod=mod", GOTOOLCHAIN="local",
               CGO_ENABLED="0")
    command = ["go", "build", "-o", bench.path(program + "-go"), "./" + program]
    try:
        done = subprocess.run(command, cwd=os.path.join(driver.BENCH, "go"), env=env, text=True,
                              stderr=subprocess.PIPE, check=False)
    except OSError:
        bench.complain("go: no go command, install golang-go (bench/install.sh --go)")
        return False
    if done.returncode != 0:
        bench.complain("go: %s does not compile: %s" % (program, done.stderr.strip()[-300:]))
    return done.returncode == 0


USUAL = ("malloc", "leak", "gcalloc", "libgc", "go")


def programs_build(bench, programs, wanted=USUAL):
    """(program, variant) pairs that exist now."""
    built = set()
    for program in programs:
        for variant, extra in variants_of(bench).items():
            if variant not in wanted:
                continue
            if driver.program_build(bench, program + "-" + variant, program, extra):
                built.add((program, variant))
            else:
                bench.complain("%s-%s does not compile" % (program, variant), variant != "libgc")
        if "go" in wanted and go_build(bench, program):
            built.add((program, "go"))
    return built
