#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A producer and a consumer on one node share blobs, without a copy in Python.

    python_blobs.py [STEPS]

Needs the module cte: installed, or PYTHONPATH=python CTE_LIBRARY=build/lib/libcte.so.0.
"""

import array
import multiprocessing
import sys

import cte

CELLS = 100_000


def produce(steps):
    """Puts one array a step, all under way at once."""
    with cte.Client() as client, client.tag("heat") as tag:
        fields = [array.array("d", (step + cell / CELLS for cell in range(CELLS)))
                  for step in range(steps)]
        tasks = [tag.put_async(f"step-{step}", field) for step, field in enumerate(fields)]
        for task in tasks:
            task.result()


def consume(steps):
    """Reads each array into the same memory, and a part of one."""
    with cte.Client() as client, client.tag("heat", create=False) as tag:
        field = array.array("d", bytes(8 * CELLS))
        for step in range(steps):
            assert tag.get_into(f"step-{step}", field) == 8 * CELLS
            assert field[0] == step, field[0]
            print(f"step {step}: mean {sum(field) / CELLS:.3f}")
        last = memoryview(field)[:10]
        tag.get_into("step-0", last, offset=8 * (CELLS - 10))
        print(f"end of step 0: {last[9]:.5f}")
    with cte.Client() as client:
        client.delete_tag("heat")


def main():
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    # The tag outlives the process that made it.
    producer = multiprocessing.get_context("spawn").Process(target=produce, args=(steps,))
    producer.start()
    producer.join()
    if producer.exitcode != 0:
        sys.exit("the producer failed")
    consume(steps)


if __name__ == "__main__":
    main()
