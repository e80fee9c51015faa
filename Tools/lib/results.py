"""Where results go: raw samples as JSON under docs/bench with commit and machine, and a table for people."""
import datetime
import json
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def environment():
    cpu = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown")
    git = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True,
                         text=True, check=False)
    return {"processor": cpu, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "load_average": os.getloadavg()[0], "commit": git.stdout.strip() or "unknown",
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")}


def shown(value):
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows):
    """Markdown of rows made by stats.compare or stats.limit, with a 'what' each."""
    lines = ["| what | ours | theirs | ratio (interval) | wanted | verdict |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row['ratio']:.3f} ({row['low']:.3f}-{row['high']:.3f})" if "ratio" in row else ""
        lines.append(f"| {row['what']} | {shown(row['ours'])} | {shown(row.get('theirs', ''))} | {ratio} | "
                     f"{row['bound']} | {row['verdict']} |")
    return "\n".join(lines)


def write(name, rows, before, folder=None, **extra):
    """Prints the table and writes NAME.json and NAME.md. `before` is environment() from before the run."""
    folder = pathlib.Path(folder or ROOT / "docs" / "bench")
    folder.mkdir(parents=True, exist_ok=True)
    after = os.getloadavg()[0]
    document = {"environment": {**before, "load_average_after": after}, "rows": rows, **extra}
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    where = (f"{before['processor']}, {before['cores']} cores, Linux {before['kernel']}, commit {before['commit']}, "
             f"{before['date']}, load {before['load_average']:.1f} before and {after:.1f} after")
    text = f"{table(rows)}\n\n{where}\n"
    (folder / f"{name}.md").write_text(text)
    print(text)
    return 0 if all(row["verdict"] != "fail" for row in rows) else 1
