#!/usr/bin/env python3
"""Fails when a file includes a room that its own room may not see.

The rooms and their arrows are read from CMakeLists.txt (llm_room ... USES ...), so that what links and what
includes are one table. `--self-test` plants violations in every room and expects to find each.
"""
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Rooms without an llm_room line: the backends, which CMake builds with their own flags.
BACKEND_USES = ["core", "quant", "backends"]
BACKENDS = {"cpu": "backends/cpu", "cuda": "backends/cuda", "vulkan": "backends/vulkan"}

# Third-party headers and the one room that includes each.
HOME = {
    "httplib.h": "net", "openssl/": "net", "CLI/": "cli", "histedit.h": "cli",
    "utf8proc.h": "chat", "pcre2.h": "text",
    "nlohmann/": "core", "xxhash.h": "core", "cuda_": "cuda", "vulkan/": "vulkan",
    "immintrin.h": "cpu", "x86intrin.h": "cpu",
}
SOURCES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^">]+)[">]')
ROOM = re.compile(r"^llm_room\((\w+)\s+([\w/]+)((?:\s+USES(?:\s+(?!LIBRARIES)\w+)+)?)", re.M)


def read_rooms(cmake_text):
    """{room: (folder, rooms it may include)}; a room may always include itself."""
    rooms = {}
    for name, folder, uses in ROOM.findall(cmake_text):
        rooms[name] = (folder, uses.split()[1:])
    for name, folder in BACKENDS.items():
        rooms[name] = (folder, BACKEND_USES)
    return rooms


def room_of(path, rooms):
    """The room whose folder holds `path` (relative to the root); None when there is none."""
    holders = [(len(folder), name) for name, (folder, _) in rooms.items()
               if path.as_posix().startswith(folder + "/")]
    return max(holders)[1] if holders else None


def violations(root, rooms):
    files = sorted(f for folder in ("engine", "backends", "quant", "gguf")
                   for f in (root / folder).rglob("*") if f.suffix in SOURCES)
    for file in files:
        here = room_of(file.relative_to(root), rooms)
        for number, line in enumerate(file.read_text().splitlines(), 1):
            include = INCLUDE.match(line)
            if not include:
                continue
            kind, target = include.groups()
            place = f"{file.relative_to(root)}:{number}"
            if here is None:
                yield f"{place}: this folder is no room of CMakeLists.txt"
            elif kind == "<":
                home = next((room for prefix, room in HOME.items() if target.startswith(prefix)), here)
                if home != here:
                    yield f"{place}: <{target}> belongs to {home}, not {here}"
            else:
                exists = (root / target).exists()
                there = room_of(pathlib.PurePosixPath(target), rooms) if exists else None
                if there != here and there not in rooms[here][1]:
                    yield f"{place}: {here} may not include {target}"


def self_test(rooms):
    """Plants in each room: an include of a forbidden room, of a foreign library, of nothing."""
    for name, (folder, uses) in rooms.items():
        forbidden = next((r for r in rooms if r != name and r not in uses))
        foreign = next(h for h, home in HOME.items() if home != name)
        with tempfile.TemporaryDirectory() as temporary:
            root = pathlib.Path(temporary)
            for room_folder, _ in rooms.values():
                (root / room_folder).mkdir(parents=True, exist_ok=True)
                (root / room_folder / "a.h").write_text("")
            for allowed in [name, *uses]:
                (root / folder / f"{allowed}.cpp").write_text(f'#include "{rooms[allowed][0]}/a.h"\n')
            assert not list(violations(root, rooms)), f"{name}: an allowed include was refused"
            (root / folder / "bad.cpp").write_text(
                f'#include "{rooms[forbidden][0]}/a.h"\n#include <{foreign}>\n#include "no/such.h"\n')
            found = list(violations(root, rooms))
            assert len(found) == 3, f"{name}: planted 3 violations, found {found}"
    print(f"self-test: every violation planted in {len(rooms)} rooms was found")


def main():
    rooms = read_rooms((ROOT / "CMakeLists.txt").read_text())
    if sys.argv[1:] == ["--self-test"]:
        self_test(rooms)
        return 0
    bad = list(violations(ROOT, rooms))
    print("\n".join(bad) if bad else f"includes follow the arrows of {len(rooms)} rooms")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
