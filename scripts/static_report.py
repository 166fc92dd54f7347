#!/usr/bin/env python3
"""What nvcc made of the kernels, held against kernels/cuda/budgets.toml.

Compiles every .cu of kernels/cuda for its targets and reads ptxas's report (registers, spills, local memory) and the
PTX (wide loads, cp.async, ldmatrix, mma). From registers and the budget's block size and shared memory follows the
occupancy, by the rules of CUDA's cuda_occupancy.h. Ends with 1 and one line per violation; with 77 and "skipped: nvcc
not found" where there is no nvcc.

Each compiled kernel must have exactly one budget: the first [[kernel]] one of whose patterns (shell wildcards, on
the name without namespaces, "decode_simt<float, 64, 1, PagedSource>") matches. Fields:
  threads, dynamic_shared   of a launch: threads in a block (at most), bytes
  max_registers             per thread
  blocks_per_sm             at least so many blocks resident, per target
  why                       the reason for these numbers
  needs                     of load16, cp_async, ldmatrix, mma: must be in the PTX
"""
import argparse
import concurrent.futures
import dataclasses
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import markdown_section

SKIPPED = 77
REGISTERS_PER_SM = 65536
REGISTER_UNIT = 256  # registers are given to warps in units of this
SUBPARTITIONS = 4    # of an SM, each with a quarter of the registers
SHARED_UNIT = 128
SHARED_RESERVED = 1024  # bytes of every block that the system keeps
KIB = 1024


@dataclasses.dataclass(frozen=True)
class Target:
    """Limits of one multiprocessor (CUDA C++ Programming Guide, compute capabilities)."""
    warps: int
    blocks: int
    shared: int

    def resident_blocks(self, threads, registers, shared):
        warps = -(-threads // 32)
        per_warp = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
        in_registers = REGISTERS_PER_SM // SUBPARTITIONS // per_warp * SUBPARTITIONS // warps
        if per_warp * (-(-warps // SUBPARTITIONS) * SUBPARTITIONS) > REGISTERS_PER_SM:
            in_registers = 0
        per_block = -(-(shared + SHARED_RESERVED) // SHARED_UNIT) * SHARED_UNIT
        return min(self.blocks, self.warps // warps, in_registers, self.shared // per_block)


TARGETS = {
    "sm_80": Target(64, 32, 164 * KIB),
    "sm_86": Target(48, 16, 100 * KIB),
    "sm_89": Target(48, 24, 100 * KIB),
    "sm_90": Target(64, 32, 228 * KIB),
}
PTX_TARGET = "sm_80"  # whose compilation gives the PTX
FEATURES = {
    "load16": re.compile(r"\bld\.global(\.nc)?(\.L[12]::\w+)*\.(v4\.[bufs]32|v2\.[bufs]64)\b"),
    "cp_async": re.compile(r"\bcp\.async\.c[ag]\."),
    "ldmatrix": re.compile(r"\bldmatrix\."),
    "mma": re.compile(r"\bmma\.sync\."),
}


@dataclasses.dataclass
class Use:
    """What ptxas says of one kernel on one target."""
    registers: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    static_shared: int = 0


def find_nvcc():
    found = shutil.which("nvcc")
    if found is None:
        root = pathlib.Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
        found = str(root) if root.exists() else None
    return found


def compile_kernel_file(nvcc, source, root, target, scratch):
    """ptxas's report, and the PTX if the target is the one that gives it."""
    folder = scratch / f"{source.stem}.{target}"
    folder.mkdir()
    command = [nvcc, "-std=c++20", "-O3", f"-I{root}", "-DPAGELAB_CUDA_VARIANT=cuda", f"-arch={target}", "-cubin",
               "-Xptxas", "-v", "--keep", "--keep-dir", str(folder), str(source), "-o", str(folder / "out.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"nvcc failed on {source} for {target}:\n{done.stdout}{done.stderr}")
    ptx = ""
    if target == PTX_TARGET:
        ptx = (folder / f"{source.stem}.ptx").read_text()
    return done.stdout + done.stderr, ptx


def read_ptxas(report):
    """{mangled name: Use}"""
    uses, name = {}, None
    for line in report.splitlines():
        if entry := re.search(r"Compiling entry function '(\S+)'", line):
            name = entry[1]
            uses[name] = Use()
        elif name is None:
            continue
        elif frame := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            use = uses[name]  # summed over the functions that the kernel calls
            use.stack += int(frame[1])
            use.spill_stores += int(frame[2])
            use.spill_loads += int(frame[3])
        elif used := re.search(r"Used (\d+) registers", line):
            uses[name].registers = int(used[1])
            if smem := re.search(r"(\d+) bytes smem", line):
                uses[name].static_shared = int(smem[1])
    return uses


def read_ptx(text):
    """{mangled name: {feature: occurrences}}"""
    counts, name = {}, None
    for line in text.splitlines():
        if entry := re.search(r"\.entry\s+([\w$]+)", line):
            name = entry[1]
            counts[name] = dict.fromkeys(FEATURES, 0)
        elif re.match(r"\s*(\.\w+\s+)*\.func\b", line):
            name = None
        elif name is not None:
            for feature, pattern in FEATURES.items():
                counts[name][feature] += len(pattern.findall(line))
    return counts


def short_names(mangled):
    """{mangled name: name with template arguments, without namespaces and parameters}"""
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if tool is None:
        raise SystemExit("c++filt not found: it comes with binutils")
    done = subprocess.run([tool], input="\n".join(mangled), capture_output=True, text=True, check=True)
    names = {}
    for name, plain in zip(mangled, done.stdout.splitlines()):
        plain = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N_\w*::|\w+::", "", plain).removeprefix("void ")
        plain = re.sub(r"\((?:unsigned |signed )?\w+\)(?=[\w-])", "", plain)  # casts of template arguments
        depth, end = 0, len(plain)
        for index, letter in enumerate(plain):
            depth += (letter == "<") - (letter == ">")
            if letter == "(" and depth == 0:
                end = index
                break
        names[name] = plain[:end]
    return names


def budget_of(name, budgets):
    for budget in budgets:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in budget["patterns"]):
            return budget
    return None


def violations_of(name, target, use, blocks, counts, budget):
    if use.spill_stores or use.spill_loads:
        yield f"spills registers: {use.spill_stores} bytes stored, {use.spill_loads} loaded"
    if use.stack:
        yield f"uses {use.stack} bytes of local memory"
    if use.registers > budget["max_registers"]:
        yield f"{use.registers} registers, of {budget['max_registers']} allowed"
    least = budget["blocks_per_sm"].get(target)
    if least is None:
        yield f"the budget says nothing of {target}"
    elif blocks < least:
        yield f"{blocks} blocks resident on an SM, {least} wanted ({budget['why']})"
    for feature in budget.get("needs", []):
        if counts[feature] == 0:
            yield f"no {feature} in its PTX"


def check_budgets(budgets):
    for budget in budgets:
        missing = {"patterns", "threads", "dynamic_shared", "max_registers", "blocks_per_sm", "why"} - budget.keys()
        unknown = set(budget.get("needs", [])) - FEATURES.keys()
        if missing or unknown:
            raise SystemExit(f"budget of {budget.get('patterns')}: missing {sorted(missing)}, unknown {sorted(unknown)}")


def span(values):
    """ "7", or "5 to 9"."""
    least, most = min(values), max(values)
    return str(least) if least == most else f"{least} to {most}"


def markdown(rows, targets):
    """A line per budget, over the kernels that it covers."""
    head = ["kernels", "threads", "shared bytes"]
    head += [f"{target}: registers; blocks per SM (warps)" for target in targets]
    yield "| " + " | ".join([*head, "in the PTX", "why"]) + " |"
    yield "|" + "---|" * (len(head) + 2)
    by_budget = {}
    for name, by_target, counts, budget in rows:
        by_budget.setdefault(id(budget), (budget, []))[1].append((by_target, counts))
    for budget, kernels in by_budget.values():
        names = ", ".join(f"`{pattern}`" for pattern in budget["patterns"])
        cells = [names, str(budget["threads"]), str(budget["dynamic_shared"])]
        for target in targets:
            registers = [by_target[target][0].registers for by_target, _ in kernels]
            blocks = [by_target[target][1] for by_target, _ in kernels]
            warps = min(blocks) * -(-budget["threads"] // 32)
            cells.append(f"{span(registers)}; {span(blocks)} ({100 * warps // TARGETS[target].warps} %)")
        present = [feature for feature in FEATURES if all(counts[feature] > 0 for _, counts in kernels)]
        yield "| " + " | ".join([*cells, ", ".join(present), budget["why"]]) + " |"


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="sm_86 and sm_89 too")
    parser.add_argument("--into", type=pathlib.Path, metavar="FILE", help="put the table into this markdown file")
    parser.add_argument("--budgets", default=root / "kernels/cuda/budgets.toml", type=pathlib.Path)
    parser.add_argument("--jobs", default=2, type=int)
    options = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("skipped: nvcc not found")
        return SKIPPED
    targets = list(TARGETS) if options.all else ["sm_80", "sm_90"]
    budgets = tomllib.loads(options.budgets.read_text())["kernel"]
    check_budgets(budgets)

    sources = sorted((root / "kernels/cuda").glob("*.cu"), key=lambda path: -path.stat().st_size)
    uses = {target: {} for target in targets}
    counts = {}
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(compile_kernel_file, nvcc, source, root, target, pathlib.Path(scratch)): target
                for source in sources for target in targets}
        for job in concurrent.futures.as_completed(jobs):
            report, ptx = job.result()
            uses[jobs[job]].update(read_ptxas(report))
            counts.update(read_ptx(ptx))

    # An anonymous namespace has a name of its own for each target: kernels are told apart by their short names.
    names = short_names(sorted({name for by_name in uses.values() for name in by_name}))
    by_short = {target: {names[name]: use for name, use in uses[target].items()} for target in targets}
    short_counts = {names[name]: found for name, found in counts.items()}
    problems, rows, used_budgets = [], [], set()
    for name in sorted(short_counts):
        budget = budget_of(name, budgets)
        if budget is None:
            problems.append(f"{name}: no budget in {options.budgets.name}")
            continue
        used_budgets.add(id(budget))
        by_target = {}
        for target in targets:
            use = by_short[target][name]
            shared = budget["dynamic_shared"] + use.static_shared
            blocks = TARGETS[target].resident_blocks(budget["threads"], use.registers, shared)
            by_target[target] = (use, blocks)
            problems += [f"{name} on {target}: {problem}"
                         for problem in violations_of(name, target, use, blocks, short_counts[name], budget)]
        rows.append((name, by_target, short_counts[name], budget))
    problems += [f"budget of {budget['patterns']}: no kernel has such a name"
                 for budget in budgets if id(budget) not in used_budgets]
    if options.into:
        markdown_section.replace(options.into, "static", "\n".join(markdown(rows, targets)) + "\n")
    for problem in problems:
        print(problem)
    print(f"{len(rows)} kernels on {', '.join(targets)}: {len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
