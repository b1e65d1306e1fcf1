#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs random MPI-IO programs with plain MPICH and with a library preloaded, and compares.

Every call's result, every buffer and every file must be the same.  A program in which plain MPICH
itself departs from what was written (mpiio_fuzz knows) only has to be right, not the same.
The base seed is CTE_TEST_SEED, that of --seed, or the clock: what runs with every change has one that is given,
so that it depends on the change alone; the long form looks for what nobody has met.  CTE_TEST_PROGRAMS overrides
the number of programs.
"""
import argparse
import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CHUNK = 100
ALLOWED_DEVIATIONS_PERCENT = 8
# A program that fails is run again plain so often; more failing programs than this are no accident.
RERUNS = 3
UNSTABLE_MAX = 2
Result = collections.namedtuple("Result", "code output logs deviations")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fuzz", required=True, help="the program mpiio_fuzz")
    parser.add_argument("--preload", help="library under test; none: plain against plain")
    parser.add_argument("--shim", help="library preloaded in both runs")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, help="first seed")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for 100 programs")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="set in the run with the library only")
    parser.add_argument("--proof", metavar="TEXT",
                        help="what the library says at log level info if it is really at work")
    parser.add_argument("--mutations", nargs="+", default=[], metavar="FAULT",
                        help="faults of the library (CTE_TEST_FAULT) that must all be found")
    parser.add_argument("--keep", action="store_true", help="keep directory, files and traces")
    return parser.parse_args()


def base_seed(options):
    if os.environ.get("CTE_TEST_SEED"):
        return int(os.environ["CTE_TEST_SEED"])
    return int(time.time()) % 10**8 * 10 if options.seed is None else options.seed


def environment(options, name, preload, extra):
    env = dict(os.environ, UCX_LOG_LEVEL="error", UCX_HANDLE_ERRORS="none",
               CTE_STORE_NAME=name, **extra)
    env.setdefault("CTE_RAM_CAPACITY", "256MiB")
    env["FUZZ_PRELOAD"] = ":".join(filter(None, [preload, options.shim]))
    return env


def run_chunk(options, directory, seed, count, env):
    """One mpiexec.  Only the ranks preload anything; the whole group dies on a timeout."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    command = ["mpiexec", "-n", str(options.ranks), "env", "LD_PRELOAD=" + env["FUZZ_PRELOAD"],
               options.fuzz] + (["-k"] if options.keep else []) + [directory, str(seed), str(count)]
    process = subprocess.Popen(command, cwd=directory, env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output = process.communicate(timeout=options.timeout)[0]
        code = process.returncode
    except subprocess.TimeoutExpired:
        output, code = stop(process), "no end after %d s" % options.timeout
    logs = [read_lines(directory, "log", rank) for rank in range(options.ranks)]
    models = [read_lines(directory, "model", rank) for rank in range(options.ranks)]
    deviations = collections.defaultdict(list)
    for line in (line for model in models for line in model):
        deviations[seed_of(line)].append(line)
    return Result(code, output.decode(errors="replace"), logs, deviations)


def stop(process):
    """mpiexec passes SIGTERM on to the ranks, which have sessions of their own."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=10)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


def read_lines(directory, name, rank):
    try:
        with open(os.path.join(directory, "%s.%d" % (name, rank))) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def seed_of(line):
    return int(line.split(" ", 1)[0].split("=")[1])


def by_seed(log):
    programs = collections.defaultdict(list)
    for line in log:
        programs[seed_of(line)].append(line)
    return programs


def first_difference(plain, other):
    for a, b in zip(plain + [None] * len(other), other + [None] * len(plain)):
        if a != b:
            return a, b
    return None


def excused(options, plain, other, seed):
    """Plain MPICH was wrong where the other run was right.  Two plain runs: either of them was."""
    wrong = bool(plain.deviations[seed]), bool(other.deviations[seed])
    return wrong == (True, False) or (not options.preload and wrong == (False, True))


def compare_program(options, plain, other, rank, seed, logs):
    """Text of the first difference of one rank in one program, or None."""
    found = first_difference(logs[0][rank][seed], logs[1][rank][seed])
    if not found or (found[1] and excused(options, plain, other, seed)):
        return None
    return "seed %d, rank %d:\n  plain:     %s\n  preloaded: %s" % (seed, rank, *found)


def compare(options, plain, other, seed, count):
    """Texts of all differences; plain runs that go wrong end the test."""
    if plain.code != 0 or plain.output:
        sys.exit("plain MPICH failed (%s):\n%s%s" % (plain.code, plain.output, last_lines(plain)))
    problems = []
    if other.code != 0:
        problems.append("exit status %s\n%s%s" % (other.code, other.output, last_lines(other)))
    elif other.output:
        problems.append("wrote to stdout or stderr:\n" + other.output[:2000])
    logs = [[by_seed(log) for log in run.logs] for run in (plain, other)]
    for program in range(seed, seed + count):
        for rank in range(options.ranks):
            text = compare_program(options, plain, other, rank, program, logs)
            if text:
                problems.append(text)
    return problems


def last_lines(result):
    return "".join("  last call of rank %d: %s\n" % (rank, log[-1] if log else "none")
                   for rank, log in enumerate(result.logs))


def left_behind(name):
    """Whatever of the store is still in /dev/shm; removed, so that the next run starts clean."""
    found = [entry for entry in os.listdir("/dev/shm") if name in entry]
    for entry in found:
        path = os.path.join("/dev/shm", entry)
        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            os.unlink(path)
    return found


def reproduce(options, seed):
    words = ["env -u CTE_TEST_SEED", sys.argv[0], "--fuzz", options.fuzz, "--ranks", str(options.ranks), "--programs", "1",
             "--seed", str(seed), "--keep"]
    for name in ("preload", "shim"):
        if getattr(options, name):
            words += ["--" + name, getattr(options, name)]
    for value in options.env:
        words += ["--env", value]
    return " ".join(words)


def at_work(options, directory, name, seed):
    """A library that does nothing would pass every comparison."""
    env = environment(options, name, options.preload, {"CTE_LOG_LEVEL": "info"})
    output = run_chunk(options, directory + "/proof", seed, 10, env).output
    left_behind(name)
    if options.proof not in output:
        print("the library does not say '%s' but:\n%s" % (options.proof, output))
    return options.proof in output


def seeds_of(problems):
    return sorted({int(p.split()[1].rstrip(",")) for p in problems if p.startswith("seed")})


def is_unstable(options, directory, name, plain, seed):
    """Plain MPICH gives another result when it runs the same program again: there is nothing that
    the preloaded run could be compared with."""
    before = [by_seed(log)[seed] for log in plain.logs]
    for attempt in range(RERUNS):
        again = run_chunk(options, "%s/again-%d-%d" % (directory, seed, attempt), seed, 1,
                          environment(options, name, None, {}))
        if [by_seed(log)[seed] for log in again.logs] != before:
            return True
    return False


def set_aside_unstable(options, directory, name, plain, problems):
    """Problems without those of programs about which plain MPICH contradicts itself."""
    seeds = seeds_of(problems)
    if not seeds or len(seeds) > UNSTABLE_MAX:
        return problems
    unstable = [seed for seed in seeds if is_unstable(options, directory, name, plain, seed)]
    for seed in unstable:
        print("seed %d: set aside, plain MPICH gives different results for it" % seed)
    return [p for p in problems if not (seeds_of([p]) and seeds_of([p])[0] in unstable)]


def check_range(options, directory, name, seed, programs):
    """The comparison proper: 0 if all programs agree."""
    extra = dict(value.split("=", 1) for value in options.env)
    deviating = 0
    if options.proof and not at_work(options, directory, name, seed):
        return 1
    for first in range(seed, seed + programs, CHUNK):
        count = min(CHUNK, seed + programs - first)
        plain = run_chunk(options, directory + "/plain", first, count,
                          environment(options, name, None, {}))
        other = run_chunk(options, directory + "/preloaded", first, count,
                          environment(options, name, options.preload, extra))
        problems = compare(options, plain, other, first, count)
        problems = set_aside_unstable(options, directory, name, plain, problems)
        found = left_behind(name)
        if found:
            problems.append("left in /dev/shm: " + ", ".join(found))
        if problems:
            print("\n".join(problems[:5]))
            seeds = seeds_of(problems)
            print("%d differences.  To repeat:\n  %s" %
                  (len(problems), reproduce(options, seeds[0] if seeds else first)))
            return 1
        deviating += len([p for p in plain.deviations if plain.deviations[p]])
    print("%d programs agree, %d of them only judged by themselves" % (programs, deviating))
    if deviating * 100 > programs * ALLOWED_DEVIATIONS_PERCENT + 300:
        print("plain MPICH went its own way too often: the generator is at fault")
        return 1
    return 0


def check_mutations(options, directory, name, seed, programs):
    """Every seeded fault of the preload must be reported."""
    plain = run_chunk(options, directory + "/plain", seed, programs,
                      environment(options, name, None, {}))
    missed = []
    for fault in ["none"] + options.mutations:
        other = run_chunk(options, directory + "/preloaded", seed, programs,
                          environment(options, name, options.preload, {"CTE_TEST_FAULT": fault}))
        problems = compare(options, plain, other, seed, programs)
        print("%-12s %d differences" % (fault, len(problems)))
        if bool(problems) != (fault != "none"):
            missed.append(fault)
            print("\n".join(problems[:3]))
    if missed:
        print("the comparison is wrong about: " + ", ".join(missed))
    return 1 if missed else 0


def main():
    options = parse_arguments()
    seed = base_seed(options)
    programs = int(os.environ.get("CTE_TEST_PROGRAMS") or options.programs)
    print("base seed %d (set CTE_TEST_SEED to repeat), %d ranks" % (seed, options.ranks), flush=True)
    directory = tempfile.mkdtemp(prefix="mpiio-fuzz-")
    name = os.path.basename(directory)
    try:
        check = check_mutations if options.mutations else check_range
        return check(options, directory, name, seed, programs)
    finally:
        left_behind(name)
        if options.keep:
            print("files, logs and traces are in " + directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
