#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the MPI-IO tests of MPICH and ROMIO plain and with a library preloaded, and compares.

Exit status, output (lines in any order, without figures that are times) and the files left must be the same.
"""
import argparse
import collections
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile

Program = collections.namedtuple("Program", "binary ranks arguments large")

# ROMIO's tests have no list but a script: ranks and arguments as it gives them.
NAMED = ["-fname", "testfile"]
ROMIO = [("simple", 4), ("async", 4), ("async-multiple", 4), ("atomicity", 4), ("coll_test", 4), ("excl", 4),
         ("file_info", 4), ("i_noncontig", 2), ("noncontig", 2), ("noncontig_coll", 2), ("noncontig_coll2", 4),
         ("misc", 4), ("shared_fp", 4), ("ordered_fp", 4), ("split_coll", 4), ("psimple", 4), ("error", 1),
         ("status", 1), ("creat_excl", 4), ("perf", 4), ("coll_perf", 4), ("fmisc", 4), ("fcoll_test", 4),
         ("pfcoll_test", 4), ("fperf", 4), ("external32", 1)]
ROMIO_POSITIONAL = [("aggregation1", 4, ["-h", "-f", "testfile"]), ("aggregation2", 4, ["testfile"]),
                    ("hindexed", 4, ["testfile"]), ("types_with_zeros", 2, ["testfile"]),
                    ("darray_read", 4, ["testfile"])]
ROMIO_LARGE = [("big_extents", 1, ["testfile"]), ("large_file", 1, NAMED), ("large_array", 1, NAMED)]
# Ranks write in any order, or memory that nobody has set: the files differ from run to run.
ANY_FILES = ("romio.atomicity", "romio.shared_fp", "romio.status", "f77.atomicityf", "f90.atomicityf90",
             "f08.atomicityf90")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True, help="what build_suite has made")
    parser.add_argument("--preload", required=True, help="the library under test")
    parser.add_argument("--shim", required=True, help="preloaded in both runs")
    parser.add_argument("--mpiexec", default="mpiexec.mpich")
    parser.add_argument("--timeout", type=int, default=1500,
                        help="seconds for a program; ranks that wait in rings take minutes where cores are few")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="set in both runs")
    parser.add_argument("--env-with", action="append", default=[], metavar="NAME=VALUE",
                        help="set in the run with the library only")
    parser.add_argument("--large", action="store_true", help="also those that need gigabytes")
    parser.add_argument("--untracked", action="store_true",
                        help="programs of several ranks, which may have no file tracked; else some must")
    parser.add_argument("--only", help="programs whose name matches this expression")
    return parser.parse_args()


def listed(suite, binding):
    """The programs of a testlist: name, ranks, arguments."""
    directory = os.path.join(suite, "source/test/mpi", {"c": "io"}.get(binding, binding + "/io"))
    for line in open(os.path.join(directory, "testlist.in")):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        options = dict(word.split("=", 1) for word in words[2:])
        arguments = [options["arg"]] if "arg" in options else []
        yield Program("%s.%s" % (binding, words[0]), int(words[1]), arguments, "mem" in options)


def all_programs(suite):
    programs = [p for binding in ("c", "f77", "f90", "f08") for p in listed(suite, binding)]
    programs += [Program("romio." + name, ranks, NAMED, False) for name, ranks in ROMIO]
    programs += [Program("romio." + name, ranks, arguments, False) for name, ranks, arguments in ROMIO_POSITIONAL]
    programs += [Program("romio." + name, ranks, arguments, True) for name, ranks, arguments in ROMIO_LARGE]
    return [p for p in programs if os.path.exists(os.path.join(suite, "bin", p.binary))]


def run(options, program, directory, preload, extra):
    os.makedirs(directory)
    env = dict(os.environ, UCX_LOG_LEVEL="error", UCX_HANDLE_ERRORS="none", LD_PRELOAD=preload, **extra)
    command = [options.mpiexec, "-n", str(program.ranks), os.path.join(options.suite, "bin", program.binary)]
    # Each run has a process group of its own, which ends with it.
    process = subprocess.Popen(["timeout", "-k", "10", str(options.timeout)] + command + program.arguments,
                               cwd=directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate()[0].decode(errors="replace")
    return process.returncode, output


def comparable(output):
    """Lines in any order; the library's own messages and measured figures do not count."""
    lines = [line for line in output.splitlines() if not line.startswith("cte: info")]
    return sorted(re.sub(r"[0-9.]+(e[-+]?[0-9]+)? *(Mbytes|MB|s\b|sec)", "#", line) for line in lines)


def different_files(plain, other):
    names = sorted(set(os.listdir(plain)) | set(os.listdir(other)))
    _, different, failed = filecmp.cmpfiles(plain, other, names, shallow=False)
    return different + failed


def compare(options, program, work, name):
    """What differs, or None; and whether the library was at work."""
    extra = dict(value.split("=", 1) for value in options.env)
    only_with = dict(value.split("=", 1) for value in options.env_with)
    plain = run(options, program, work + "/plain", options.shim, extra)
    other = run(options, program, work + "/with", options.shim + ":" + options.preload,
                dict(extra, CTE_STORE_NAME=name, CTE_LOG_LEVEL="info", **only_with))
    tracked = "is tracked" in other[1]
    problems = []
    if plain[0] != other[0]:
        problems.append("exit status %d, with the library %d" % (plain[0], other[0]))
    if comparable(plain[1]) != comparable(other[1]):
        problems.append("output:\n--- plain\n%s--- with the library\n%s" % (plain[1][:3000], other[1][:3000]))
    files = [] if program.binary in ANY_FILES else different_files(work + "/plain", work + "/with")
    if files:
        problems.append("files: " + " ".join(files))
    shutil.rmtree(work + "/plain")
    shutil.rmtree(work + "/with")
    left = [entry for entry in os.listdir("/dev/shm") if name in entry]
    for entry in left:
        shutil.rmtree(os.path.join("/dev/shm", entry), ignore_errors=True)
    if left:
        problems.append("left in /dev/shm: " + " ".join(left))
    return problems, tracked, plain[0]


def main():
    options = parse_arguments()
    programs = [p for p in all_programs(options.suite) if options.large or not p.large]
    programs = [p for p in programs if p.ranks > 1 or not options.untracked]
    programs = [p for p in programs if not options.only or re.search(options.only, p.binary)]
    work = tempfile.mkdtemp(prefix="mpich-suite-")
    counts = collections.Counter()
    try:
        for program in programs:
            problems, tracked, code = compare(options, program, work, os.path.basename(work))
            counts["tracked" if tracked else "untracked"] += 1
            counts["plain fails"] += code != 0
            counts["different"] += bool(problems)
            print("%-32s %d ranks: %s%s%s" % (program.binary, program.ranks, "differs" if problems else "same",
                                              "" if tracked else ", nothing tracked",
                                              ", plain fails (%d)" % code if code else ""), flush=True)
            for problem in problems:
                print("  " + problem, flush=True)
    finally:
        shutil.rmtree(work)
    print(", ".join("%d %s" % (counts[key], key) for key in sorted(counts)))
    wrong = counts["tracked"] if options.untracked else not counts["tracked"]
    return 1 if counts["different"] or wrong or not programs else 0


if __name__ == "__main__":
    sys.exit(main())
