#!/usr/bin/env python3
"""Checks the licence of every crate that is linked into what we ship or test with.

A crate passes when its SPDX expression can be satisfied from ALLOWED alone: an OR needs one side, an AND both. A new
licence is a decision, made by adding it here.
"""
import json
import re
import subprocess
import sys

ALLOWED = {
    "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib",
    "0BSD", "BSL-1.0", "CC0-1.0", "Unlicense", "Unicode-3.0", "CDLA-Permissive-2.0",
}
# Copyleft that ends at the crate's own files: linking the crate unmodified asks nothing of us. Named crate by crate.
UNMODIFIED = {"imbl": "MPL-2.0+", "imbl-sized-chunks": "MPL-2.0+", "bitmaps": "MPL-2.0+"}


def satisfied(expression):
    """Whether an SPDX expression can be satisfied. `/` is the old spelling of OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            right = both()
            result = result or right
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            right = one()
            result = result and right
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            tokens.pop(0)
            return result
        if len(tokens) > 1 and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in ALLOWED

    return either()


def main():
    for expression, expected in (
        ("MIT", True), ("GPL-3.0", False), ("GPL-3.0 OR MIT", True), ("MIT AND GPL-3.0", False), ("MIT/Apache-2.0", True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True), ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", True),
    ):
        if satisfied(expression) != expected:
            sys.exit(f"licences.py reads {expression!r} wrongly")
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))
    bad = [
        f"{package['name']} {package['version']}: {package['license'] or 'no licence named'}"
        for package in metadata["packages"]
        if not (package["license"] and satisfied(package["license"]))
        and UNMODIFIED.get(package["name"], "") != package["license"]
    ]
    for line in bad:
        print(f"licence not allowed: {line}")
    print(f"licences: {len(metadata['packages']) - len(bad)} crates pass, {len(bad)} do not")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
