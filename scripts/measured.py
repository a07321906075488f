"""What the measuring scripts write beside their numbers, and how: rows appended to a CSV file."""
import csv
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE).stdout.strip()
    except OSError:
        return ""


def cores():
    return len(os.sched_getaffinity(0))


def machine_name():
    model = "unknown processor"
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                model = " ".join(line.partition(":")[2].split())
                break
    except OSError:
        pass
    return f"{model}, {cores()} cores"


def here_and_now():
    """The columns that every file has."""
    changed = "+" if output_of("git", "status", "--porcelain", "--untracked-files=no") else ""
    return {"date": output_of("date", "-u", "+%Y-%m-%d"),
            "commit": (output_of("git", "rev-parse", "--short=12", "HEAD") or "unknown") + changed,
            "machine": machine_name()}


def append_rows(path, columns, rows):
    new = not path.exists() or path.stat().st_size == 0
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
