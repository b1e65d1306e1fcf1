# SPDX-License-Identifier: BSD-3-Clause
"""What the scripts that measure share."""
import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def say(text):
    print(os.path.basename(sys.argv[0]) + ": " + text, file=sys.stderr, flush=True)


def die(text):
    say(text)
    sys.exit(2)


def number(value):
    """Three digits or more."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def parse_size(text):
    letters = {"K": 10, "M": 20, "G": 30}
    try:
        return int(text[:-1]) << letters[text[-1]] if text[-1:] in letters else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no size") from None


class Directories:
    """Made for one run, removed afterwards."""

    def __init__(self):
        self.made = []

    def new(self, parent):
        try:
            made = tempfile.mkdtemp(prefix="cte-bench.", dir=parent)
        except OSError as error:
            die(f"cannot write to {parent}: {error.strerror}")
        self.made.append(made)
        return made

    def remove(self):
        for directory in self.made:
            shutil.rmtree(directory, ignore_errors=True)


def summary_says_tracked(path):
    """Whether a file went through the tiers, as the library's run summary tells; None if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return '"tracked": true' in file.read().replace('":t', '": t')
    except OSError:
        return None


def print_text(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        print("  ".join(cells).rstrip())
    print()


def print_markdown(rows, words, file):
    """The first row is a heading; columns whose heading is one of `words` hold no numbers."""
    for i, row in enumerate(rows):
        print("| " + " | ".join(row) + " |", file=file)
        if i == 0:
            print("| " + " | ".join("---" if cell in words else "--:" for cell in row) + " |",
                  file=file)
    print(file=file)


def machine_of(disk):
    kind = subprocess.run(["stat", "-f", "-c", "%T", disk], stdout=subprocess.PIPE, text=True,
                          check=False).stdout.strip()
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
            "cores": os.cpu_count(), "disk": kind, "load": os.getloadavg()[0]}
