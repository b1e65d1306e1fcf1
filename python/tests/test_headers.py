# SPDX-License-Identifier: BSD-3-Clause
"""What the module declares is what the C headers say.

    test_headers.py INCLUDE_DIRECTORY COMPILER
"""

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import unittest

from cte import _ffi, errors

include, compiler = sys.argv[1], sys.argv[2]


def headers():
    """The public headers without comments, and without what they declare by macros."""
    text = ""
    for name in sorted(os.listdir(os.path.join(include, "cte"))):
        if name not in ("hdf5.h", "mpiio.h"):
            with open(os.path.join(include, "cte", name)) as file:
                text += file.read()
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


class Headers(unittest.TestCase):
    def test_structs(self):
        lines, expected = [], []
        for name, struct in _ffi.STRUCTS.items():
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            expected.append(f"{name} {ctypes.sizeof(struct)}")
            for field, _ in struct._fields_:
                lines.append(f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), '
                             f"sizeof((({name} *)0)->{field}));")
                descriptor = getattr(struct, field)
                expected.append(f"{name}.{field} {descriptor.offset} {descriptor.size}")
        program = ("#include <stddef.h>\n#include <stdio.h>\n#include <cte/store.h>\n"
                   "#include <cte/task.h>\nint main(void)\n{\n" + "\n".join(lines) + "\n}\n")
        with tempfile.TemporaryDirectory(prefix="cte-python.") as folder:
            source, binary = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
            with open(source, "w") as file:
                file.write(program)
            subprocess.run([compiler, "-I", include, "-o", binary, source], check=True)
            printed = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
        self.assertEqual(printed.splitlines(), expected)

    def test_all_fields(self):
        """No field at the end of a struct is left out: sizes alone would hide it in padding."""
        text = headers()
        for name, struct in _ffi.STRUCTS.items():
            body = re.search(r"typedef struct " + name + r" \{(.*?)\n?\} " + name + ";", text, re.S)[1]
            body = re.sub(r"struct \{.*?\} (\w+)", r"nested \1", body, flags=re.S)
            fields = re.findall(r"(\w+)(?:\[[^]]*\])?\s*[;,]", body)
            self.assertEqual(fields, [field for field, _ in struct._fields_], name)

    def test_functions(self):
        text = headers()
        for name, (result, parameters) in _ffi.FUNCTIONS.items():
            found = re.search(r"([\w ]+[ *])" + name + r"\(([^;]*)\);", text, re.S)
            self.assertIsNotNone(found, name)
            inner = re.sub(r"\([^()]*\)", "", found[2])  # parameters of parameters
            count = 0 if inner.strip() == "void" else inner.count(",") + 1
            self.assertEqual(count, len(parameters), name)
            if found[1].strip() == "cte_status":
                self.assertIs(result, ctypes.c_int, name)

    def test_statuses(self):
        with open(os.path.join(include, "cte", "status.h")) as file:
            codes = re.findall(r"X\((\w+), (-\d+), ", file.read())
        self.assertEqual({(name, int(code)) for name, code in codes},
                         {(name, code) for code, (name, _) in errors.OWN.items()})
        self.assertEqual(errors.OWN[errors.CONFIG][0], "CTE_ERR_CONFIG")
        self.assertEqual(errors.OWN[errors.DRAIN][0], "CTE_ERR_DRAIN")
        self.assertEqual(errors.OWN[errors.NOT_FOUND][0], "CTE_ERR_NOT_FOUND")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
