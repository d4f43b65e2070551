#!/usr/bin/env python3
"""Sizes: functions of at most 80 lines, files of at most 1,000; prints the medians, which should stay near 12.

A function is what starts with a brace in the first column and ends with one there, which is how this project writes them."""
import os
import re
import subprocess
import sys

FUNCTION_MAX = 80
FILE_MAX = 1000
NAME = re.compile(r"(\w+)\s*\(")


def functions(lines):
    """Yields (line number, name, lines of the body)."""
    start = None
    for i, line in enumerate(lines):
        if line.startswith("{") and i and not lines[i - 1].rstrip().endswith((";", "=")):
            start = i
        elif line.startswith("}") and start is not None:
            if line.rstrip() == "}":
                first = start
                while first and not NAME.match(lines[first - 1].split("(")[0][-1:] or " ") and lines[first - 1][:1].isspace():
                    first -= 1
                head = " ".join(lines[max(first - 1, 0):start])
                m = NAME.search(head)
                yield start + 1, m.group(1) if m else "?", i - start - 1
            start = None


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))] if values else 0


def main():
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.c", "*.h"],
                           check=True, capture_output=True, text=True).stdout.split()
    bad = False
    function_sizes = []
    file_sizes = []
    for name in names:
        if not os.path.exists(name):
            continue
        with open(name, encoding="utf-8") as f:
            lines = f.read().splitlines()
        file_sizes.append(len(lines))
        if len(lines) > FILE_MAX:
            print(f"{name}:{FILE_MAX + 1}: the file has {len(lines)} lines, more than {FILE_MAX}")
            bad = True
        for number, function, size in functions(lines):
            function_sizes.append(size)
            if size > FUNCTION_MAX:
                print(f"{name}:{number}: {function}() has {size} lines, more than {FUNCTION_MAX}")
                bad = True
    print(f"  {len(function_sizes)} functions: median {percentile(function_sizes, 50)}, p95 {percentile(function_sizes, 95)}, "
          f"longest {max(function_sizes, default=0)}; {len(file_sizes)} files, {sum(file_sizes)} lines: "
          f"p95 {percentile(file_sizes, 95)}, longest {max(file_sizes, default=0)}")
    sys.exit(bad)


main()
