# SPDX-License-Identifier: BSD-3-Clause
"""The Python module on a real store."""

import array
import errno
import gc
import io
import os
import resource
import subprocess
import sys
import tempfile
import threading
import unittest

import cte


class StoreTest(unittest.TestCase):
    """Each test has a directory and a store of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="cte-python.")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.mkdir(self.path("store"))
        for name in list(os.environ):
            if name.startswith("CTE_") and name not in ("CTE_LIBRARY",):
                self.addCleanup(os.environ.__setitem__, name, os.environ.pop(name))
        self.config = cte.Config.defaults()
        self.config["store.name"] = "python"
        self.config["store.directory"] = self.path("store")
        self.config.add_target("ram", "16MiB")
        self.client = cte.Client(self.config)
        self.addCleanup(self.client.close)

    def path(self, name):
        return os.path.join(self.folder, name)

    def fill(self, count, seed=1):
        return bytes((i * seed + i // 251) % 256 for i in range(count))


class Blobs(StoreTest):
    def test_bytes_come_back(self):
        with self.client.tag("tag") as tag:
            for size in (0, 1, 511, 4096, 100000, 3000000):
                data = self.fill(size)
                tag.put("blob", data)
                self.assertEqual(tag.get("blob"), data)
                self.assertEqual(tag.info("blob").size, size)

    def test_parts(self):
        with self.client.tag("tag") as tag:
            tag.put("b", b"hello world")
            tag.put("b", b"WORLD", offset=6)
            self.assertEqual(tag.append("b", b"!!"), 11)
            self.assertEqual(tag["b"], b"hello WORLD!!")
            self.assertEqual(tag.get("b", 6, 5), b"WORLD")
            self.assertEqual(tag.get("b", 11, 100), b"!!")
            self.assertEqual(tag.get("b", 100), b"")
            self.assertEqual(tag.get("b", 0, 0), b"")
            tag.put("b", b"x", offset=20)
            self.assertEqual(tag["b"], b"hello WORLD!!" + bytes(7) + b"x")
            tag.put("b", b"new")
            self.assertEqual(tag["b"], b"new")
            self.assertEqual(tag.size, 3)

    def test_buffers_without_copies(self):
        with self.client.tag("tag") as tag:
            numbers = array.array("d", range(1000))
            tag.put("numbers", numbers)
            again = array.array("d", bytes(8000))
            self.assertEqual(tag.get_into("numbers", again), 8000)
            self.assertEqual(again, numbers)
            window = memoryview(bytearray(100))[10:20]
            self.assertEqual(tag.get_into("numbers", window, 8), 10)
            self.assertEqual(bytes(window), numbers.tobytes()[8:18])
            tag.put("view", memoryview(numbers)[10:20])
            self.assertEqual(tag["view"], numbers[10:20].tobytes())
            short = bytearray(b"?" * 10)
            tag.put("small", b"abc")
            self.assertEqual(tag.get_into("small", short), 3)
            self.assertEqual(short[:3], b"abc")
            short.extend(b"resizable again")
            with self.assertRaises((TypeError, BufferError)):
                tag.get_into("small", b"read only")
            with self.assertRaises(BufferError):
                tag.put("small", memoryview(bytearray(100))[::2])
            self.assertEqual(tag["small"], b"abc")

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("there is no numpy")
        with self.client.tag("tag") as tag:
            grid = numpy.arange(10000, dtype=numpy.float32).reshape(100, 100)
            tag.put("grid", grid)
            again = numpy.zeros_like(grid)
            self.assertEqual(tag.get_into("grid", again), grid.nbytes)
            self.assertTrue((grid == again).all())
            with self.assertRaises((BufferError, ValueError)):
                tag.put("grid", grid[:, ::2])

    def test_types_and_values(self):
        with self.client.tag("tag") as tag:
            for wrong in (lambda: tag.put("b", "text"), lambda: tag.put(7, b""),
                          lambda: tag.put("b", 7), lambda: tag.put("b", b"", score="hot"),
                          lambda: tag.put("b", b"", offset=1.5), lambda: tag.put("b", None),
                          lambda: tag.put("b", b"", score=True), lambda: tag.get("b", None),
                          lambda: tag.move("b", "other"), lambda: self.client.tag(3)):
                self.assertRaises(TypeError, wrong)
            for wrong in (lambda: tag.put("b", b"", score=1.5), lambda: tag.put("a\0b", b""),
                          lambda: tag.put("b", b"", offset=-1), lambda: tag.put("", b""),
                          lambda: tag.put("b", b"", score=float("nan")),
                          lambda: tag.put("n" * 2000, b""), lambda: tag.list("("),
                          lambda: self.client.flush("forever")):
                self.assertRaises(ValueError, wrong)
            self.assertEqual(len(tag), 0)

    def test_names(self):
        with self.client.tag("tag") as tag:
            for name in ("plain", "ünï", b"bytes\xff", "with space\n"):
                tag.put(name, b"1")
                self.assertIn(name, tag)
            self.assertIn(os.fsdecode(b"bytes\xff"), tag.list())
            self.assertEqual(sorted(tag), sorted(tag.list()))
            self.assertEqual(tag.list("^pla"), ["plain"])
            self.assertEqual(len(tag.list(limit=2)), 2)
            self.assertNotIn("none", tag)
            tag.rename("plain", "renamed")
            with self.assertRaises(cte.ExistsError) as caught:
                tag.rename("renamed", "ünï")
            self.assertIsInstance(caught.exception, FileExistsError)
            self.assertEqual(caught.exception.name, "EEXIST")
            tag.rename("renamed", "ünï", replace=True)
            with self.client.tag("other") as other:
                tag.move("ünï", other)
                self.assertEqual(other.list(), ["ünï"])
            del tag[b"bytes\xff"]
            self.assertEqual(tag.list(), ["with space\n"])

    def test_errors(self):
        with self.client.tag("tag") as tag:
            with self.assertRaises(cte.NotFoundError) as caught:
                tag.get("none")
            self.assertIsInstance(caught.exception, LookupError)
            self.assertIsInstance(caught.exception, OSError)
            self.assertEqual(caught.exception.name, "CTE_ERR_NOT_FOUND")
            self.assertEqual(caught.exception.filename, "none")
            self.assertIn("no such tag", str(caught.exception))
            tag.put("b", b"old")
            with self.assertRaises(cte.ExistsError):
                tag.put("b", b"new", exclusive=True)
            with self.assertRaises(cte.NoSpaceError):
                tag.put("b", bytes(64 << 20))
            self.assertEqual(tag["b"], b"old")
            self.assertRaises(cte.NotFoundError, self.client.tag, "absent", create=False)
        self.assertRaises(ValueError, tag.get, "b")
        tag.close()

    def test_places(self):
        self.client.register_target("file", "16MiB", self.path("disk"), score=0.1)
        with self.client.tag("tag") as tag:
            data = self.fill(100000)
            tag.put("b", data)
            self.assertEqual([os.path.basename(b.target) for b in tag.blocks("b")], ["ram.0"])
            report = tag.reorganize("b", 0)
            self.assertEqual(list(report.targets), [self.path("disk")])
            self.assertGreaterEqual(report.bytes_moved, 100000)
            self.assertEqual(tag["b"], data)
            self.assertEqual(tag.info("b").score, 0)
            self.assertEqual(sum(b.size for b in tag.blocks("b")), 100000)
        disk = [t for t in self.client.targets() if t.kind == "file"][0]
        self.assertEqual(disk.state, "active")
        self.assertLess(disk.free_bytes, disk.capacity_bytes)
        self.client.unregister_target(self.path("disk"))
        self.assertEqual([t.kind for t in self.client.targets()], ["ram"])
        with self.client.tag("tag") as tag:
            self.assertEqual(tag["b"], data)

    def test_tags(self):
        with self.client.tag("one") as one, self.client.tag("two", id=(0, 70000)) as two:
            self.assertEqual(two.id, (0, 70000))
            one.put("a", b"1")
            two.put("b", b"2")
            self.assertEqual(sorted(self.client.tags()), ["one", "two"])
            self.assertEqual(self.client.query_tags("^tw"), {"two": (0, 70000)})
            self.assertEqual(sorted(self.client.query_blobs(".", "a|b")), [("one", "a"), ("two", "b")])
            self.assertRaises(cte.ExistsError, self.client.tag, "one", id=(0, 70001))
        self.client.delete_tag("one")
        self.assertRaises(cte.NotFoundError, self.client.delete_tag, "one")
        self.assertEqual(self.client.tags(), ["two"])


class Tasks(StoreTest):
    def test_results(self):
        with self.client.tag("tag") as tag:
            data = self.fill(500000)
            task = tag.put_async("b", data)
            self.assertIsNone(task.result())
            self.assertTrue(task.done())
            target = bytearray(600000)
            self.assertEqual(tag.get_into_async("b", target).result(), 500000)
            self.assertEqual(target[:500000], data)
            self.assertEqual(tag.append_async("b", b"more").result(timeout=60), 500000)
            self.assertEqual(tag.reorganize_async("b", 0.5).result().score, 0.5)
            self.assertEqual(self.client.flush_async("process").result(), 0)
            tag.delete_async("b").result()
            with self.assertRaises(cte.NotFoundError):
                tag.get_into_async("b", target).result()

    def test_many(self):
        with self.client.tag("tag") as tag:
            tasks = [tag.put_async(f"b{i}", self.fill(1000, i)) for i in range(200)]
            self.assertTrue(cte.wait_all(tasks, timeout=100))
            for i in range(200):
                tasks[i].result()
                self.assertEqual(tag[f"b{i}"], self.fill(1000, i))
            tasks = [tag.put_async("x", b"1"), tag.put_async("y", b"2")]
            self.assertIn(cte.wait_any(tasks), tasks)
            self.assertRaises(ValueError, cte.wait_any, [])

    def test_dropped_tasks_are_waited_for(self):
        with self.client.tag("tag") as tag:
            for i in range(50):
                tag.put_async(f"b{i}", bytearray(self.fill(100000, i)))
            gc.collect()
            for i in range(50):
                self.assertEqual(tag[f"b{i}"], self.fill(100000, i))

    def test_buffer_is_held(self):
        with self.client.tag("tag") as tag:
            data = bytearray(1000000)
            task = tag.put_async("b", data)
            with self.assertRaises(BufferError):
                data.extend(b"no")
            task.result()
            data.extend(b"yes")

    def test_what_cannot_start_holds_nothing(self):
        with self.client.tag("tag") as tag:
            data = bytearray(10)
            self.assertRaises(ValueError, tag.put_async, "", data)
            data.extend(b"free")

    def test_cancel(self):
        with self.client.tag("tag") as tag:
            tasks = [tag.put_async("same", bytes(100000)) for _ in range(30)]
            cancelled = [task for task in tasks if task.cancel()]
            self.assertTrue(cte.wait_all(tasks))
            for task in cancelled:
                self.assertRaises(cte.CancelledError, task.result)

    def test_threads(self):
        with self.client.tag("tag") as tag:
            failures = []

            def work(number):
                try:
                    for i in range(50):
                        data = self.fill(5000, number + i)
                        tag.put(f"{number}-{i % 5}", data)
                        if tag[f"{number}-{i % 5}"] != data:
                            failures.append((number, i))
                except Exception as error:
                    failures.append(error)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])


class Files(StoreTest):
    def test_write_and_read(self):
        data = self.fill(3000000)
        with self.client.open(self.path("f"), "w+") as file:
            self.assertTrue(file.tracked)
            self.assertEqual(file.chunk_bytes, 1 << 20)
            self.assertEqual(file.pwrite(data, 0), len(data))
            self.assertEqual(file.pread(1000, 2999500), data[2999500:])
            target = bytearray(1000)
            self.assertEqual(file.pread_into(target, 500), 1000)
            self.assertEqual(target, data[500:1500])
            self.assertEqual(file.size, len(data))
            self.assertEqual(file.stats.bytes_written, len(data))
        with open(self.path("f"), "rb") as plain:
            self.assertEqual(plain.read(), data)

    def test_allocate(self):
        with self.client.open(self.path("f"), "x+") as file:
            file.write(b"text")
            file.allocate(9000)
            file.allocate(5) # never shorter
            self.assertEqual(file.size, 9000)
            file.seek(0)
            self.assertEqual(file.readall(), b"text" + bytes(8996))
        with open(self.path("f"), "rb") as file:
            self.assertEqual(file.read(), b"text" + bytes(8996))

    def test_as_raw_file(self):
        lines = b"".join(b"line %d\n" % i for i in range(10000))
        with self.client.open(self.path("f"), "x+") as file:
            self.assertEqual(file.write(lines), len(lines))
            self.assertEqual(file.tell(), len(lines))
            self.assertEqual(file.seek(-11, os.SEEK_END), len(lines) - 11)
            self.assertEqual(file.read(), b"\nline 9999\n")
            file.seek(0)
            reader = io.BufferedReader(file)
            self.assertEqual(list(reader), lines.splitlines(keepends=True))
            reader.detach()
            file.seek(5)
            self.assertEqual(file.truncate(), 5)
            self.assertEqual(file.size, 5)
            self.assertRaises(ValueError, file.seek, -1)
        self.assertRaises(ValueError, lambda: file.size)
        file.close()
        self.assertRaises(cte.ExistsError, self.client.open, self.path("f"), "x")
        self.assertRaises(FileNotFoundError, self.client.open, self.path("none"))
        with self.client.open(self.path("f")) as file:
            self.assertRaises(io.UnsupportedOperation, file.write, b"x")
            self.assertEqual(file.readall(), b"line ")

    def test_drain(self):
        with self.client.open(self.path("f"), "w", drain="never") as file:
            file.write(b"kept")
            self.assertEqual(os.path.getsize(self.path("f")), 0)
            file.drain()
            self.assertEqual(os.path.getsize(self.path("f")), 4)
            file.pwrite(b"more", 4)
            file.sync()
        found = self.client.files()
        self.assertEqual([(f.path, f.size, f.dirty, f.open, f.drain) for f in found],
                         [(self.path("f"), 8, True, False, "never")])
        self.assertEqual(self.client.drain(), [])
        drained = self.client.drain(force=True)
        self.assertEqual([(d.path, d.error) for d in drained], [(self.path("f"), None)])
        with open(self.path("f"), "rb") as plain:
            self.assertEqual(plain.read(), b"keptmore")

    def test_failed_drain(self):
        with self.client.open(self.path("f"), "w", drain="never") as file:
            file.write(b"kept")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))
        try:
            drained = self.client.drain(force=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertIsInstance(drained[0].error, cte.Error)
        self.assertEqual(drained[0].error.errno, errno.EFBIG)
        self.assertIsNone(self.client.drain(force=True)[0].error)
        with open(self.path("f"), "rb") as plain:
            self.assertEqual(plain.read(), b"kept")

    def test_drain_of_a_file_that_moved(self):
        os.mkdir(self.path("deep"))
        with self.client.open(self.path("deep/f"), "w", drain="never") as file:
            file.write(b"kept")
        os.rename(self.path("deep"), self.path("away"))
        error = self.client.drain(force=True)[0].error
        if error is not None:  # only who may open files by handle finds it
            self.assertIsInstance(error, cte.FileMissingError)
            os.rename(self.path("away"), self.path("deep"))
            self.assertIsNone(self.client.drain(force=True)[0].error)
            os.rename(self.path("deep"), self.path("away"))
        with open(self.path("away/f"), "rb") as plain:
            self.assertEqual(plain.read(), b"kept")

    def test_async(self):
        file = self.client.open(self.path("f"), "w+")
        tasks = [file.pwrite_async(self.fill(100000, i), i * 100000) for i in range(10)]
        self.assertTrue(cte.wait_all(tasks))
        self.assertEqual([task.result() for task in tasks], [100000] * 10)
        target = bytearray(100000)
        self.assertEqual(file.pread_into_async(target, 300000).result(), 100000)
        self.assertEqual(target, self.fill(100000, 3))
        file.pwrite_async(b"end", 1000000)
        file.close()
        self.assertEqual(os.path.getsize(self.path("f")), 1000003)

    def test_values(self):
        for wrong in ({"mode": "a"}, {"mode": "w", "drain": "later"}, {"mode": "w", "policy": "no"},
                      {"mode": "w", "score": 2}, {"mode": "w", "chunk_bytes": 5}):
            self.assertRaises(ValueError, self.client.open, self.path("f"), **wrong)
        with self.client.open(self.path("f"), "w", policy="bypass") as file:
            self.assertFalse(file.tracked)

    def test_closing_the_client_closes_what_is_open(self):
        tag = self.client.tag("tag")
        file = self.client.open(self.path("f"), "w")
        file.write(b"all of it")
        self.client.close()
        self.assertTrue(file.closed)
        self.assertEqual(os.path.getsize(self.path("f")), 9)
        self.assertRaises(ValueError, tag.list)
        self.assertRaises(ValueError, self.client.tags)
        self.client.close()


class Stores(StoreTest):
    def test_store(self):
        self.assertEqual(self.client.store_path, self.config.store_path)
        self.assertTrue(os.path.isdir(self.client.store_path))
        self.assertEqual(self.client.processes(), [])
        self.assertGreater(self.client.usage().segment_bytes, 0)
        self.assertEqual(self.client.cache_stats().limit_bytes, 0)
        self.assertRaises(cte.Error, self.config.destroy_store)
        with self.client.tag("tag") as tag:
            tag.put("b", bytes(10000))
        self.assertGreater(self.client.flush(), 0)
        self.client.close()
        with cte.Client(self.config, existing=True) as again:
            self.assertEqual(again.tags(), ["tag"])
        self.config.destroy_store()
        self.assertRaises(cte.NotFoundError, cte.Client, self.config, existing=True)
        self.assertRaises(cte.NotFoundError, self.config.destroy_store)

    def test_other_processes_see_it(self):
        with self.client.tag("tag") as tag:
            tag.put("b", b"from here")
        program = ("import cte, sys\n"
                   "config = cte.Config(sys.argv[1])\n"
                   "with cte.Client(config, existing=True) as client, client.tag('tag') as tag:\n"
                   "    assert len(client.processes()) == 1\n"
                   "    tag.append('b', b' and there')\n")
        with open(self.path("config.yaml"), "w") as file:
            file.write(f"store: {{name: python, directory: '{self.path('store')}'}}\n"
                       "storage: [{bdev_type: ram, capacity_limit: 16MiB}]\n")
        subprocess.run([sys.executable, "-c", program, self.path("config.yaml")], check=True)
        with self.client.tag("tag") as tag:
            self.assertEqual(tag["b"], b"from here and there")

    def test_telemetry(self):
        self.assertEqual(self.client.telemetry()[0], [])
        self.client.close()
        self.config["telemetry.enabled"] = True
        with cte.Client(self.config) as client, client.tag("tag") as tag:
            tag.put("b", bytes(5000))
            entries, dropped = client.telemetry()
            self.assertEqual(dropped, 0)
            self.assertEqual([e.op for e in entries], ["tag_open", "put"])
            self.assertEqual((entries[1].size, entries[1].pid, entries[1].target, entries[1].status),
                             (5000, os.getpid(), 0, 0))
            self.assertEqual(entries[1].tag_id, tag.id)
            later, _ = client.telemetry(since=entries[0].logical_time)
            # Of durations the last digit differs: the clock's rate is known better with every poll.
            self.assertEqual([(e.logical_time, e.op, e.size, e.tag_id) for e in later],
                             [(e.logical_time, e.op, e.size, e.tag_id) for e in entries[1:]])

    def test_default_client(self):
        program = ("import cte, sys\n"
                   "with cte.open(sys.argv[1], 'w') as file:\n"
                   "    assert file.tracked\n"
                   "    file.write(b'text')\n")
        environment = dict(os.environ, CTE_STORE_NAME="default", CTE_RAM_CAPACITY="8MiB",
                           CTE_STORE_DIRECTORY=self.path("store"))
        subprocess.run([sys.executable, "-c", program, self.path("f")], check=True, env=environment)
        with open(self.path("f"), "rb") as file:
            self.assertEqual(file.read(), b"text")


class Configurations(StoreTest):
    def test_keys(self):
        self.config["file.drain"] = "async"
        self.assertEqual(self.config["file.drain"], "async")
        self.assertEqual(self.config["storage[0].capacity_limit"], "16MiB")
        self.assertEqual(self.config.target_count, 1)
        self.assertIn(("file.drain", "async", "set by the program"), self.config.items())
        self.assertRaises(KeyError, lambda: self.config["file.drian"])
        with self.assertRaises(cte.ConfigError) as caught:
            self.config["file.drain"] = "later"
        self.assertIn("file.drain", str(caught.exception))
        self.assertIsInstance(caught.exception, ValueError)
        self.assertEqual(self.config["file.drain"], "async")
        self.assertRaises(cte.ConfigError, self.config.add_target, "tape", "1GB")

    def test_text_and_files(self):
        text = "file: {drain: never}\nstorage: [{bdev_type: ram, capacity_limit: 4MiB}]\n"
        self.assertEqual(cte.Config.parse(text)["file.drain"], "never")
        with self.assertRaises(cte.ConfigError) as caught:
            cte.Config.parse("nonsense: 1\n", "some.yaml")
        self.assertIn("some.yaml:1:", str(caught.exception))
        with open(self.path("c.yaml"), "w") as file:
            file.write(text)
        self.assertEqual(cte.Config(self.path("c.yaml"))["file.drain"], "never")
        self.assertRaises(cte.ConfigError, cte.Config, self.path("none.yaml"))
        self.assertRaises(cte.ConfigError, cte.Client, self.path("none.yaml"))


if __name__ == "__main__":
    unittest.main()
