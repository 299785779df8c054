/** Writes docs/benchmarks.md from what was measured: `npm run bench -- --document`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { diagnose } from "../src/cli/doctor.ts";
import { chart, type Group } from "./plot.ts";
import { type Finding, floor, root } from "./rounds.ts";

const intro = `# Benchmarks

\`\`\`sh
npm run bench                      # all; -- --json for programs, -- NAME… for some
npm run bench -- --document        # all, and writes this page
\`\`\`

Each benchmark takes turns with its floor, round by round, and the least of each counts, since cores are shared and clocks
noisy. The floors are measured in the same run: \`bench/floor.zig\` enters a bare VM whose code stores to memory that is not
there (one raw exit), makes, runs once and ends one (the bare ioctls), or copies as many pages as a reset has to; native
processes run the same program. Ratios and exits per operation carry over to other machines, microseconds do not. \`npm run
bench\` is for Pristine itself; to measure guests of your own there is \`pristine-vm/bench\` (docs/api.md).
What isolation for each request costs an HTTP server has [a page of its own](benchmarks-isolation.md), and so have
[calls between machines](benchmarks-remotes.md).

**The peer** is TinyKVM as its authors' programs measure it on software KVM with a raw exit of 25.3 µs: a fork 402 µs (15.9
raw exits), a first write 51 µs, a rewriting reset 5.4 µs and 0.13 µs a page, a full reset with the next request 5.8 ms at 113
pages and 29.8 ms at 580. Beside a figure of this page its own are scaled by the raw exit where they are times.
`;

const notes = `
## What the figures say

- Processors differ: on a Xeon, software KVM spends 19 µs on \`syscall\` itself, on an EPYC 1.1 µs, where a raw exit costs 24 µs.
  There an empty call was 1.06 raw exits, a system call by exit 1.08, one answered in the guest 1.10 µs, a matrix product
  1.006 × native, a sort 1.05 ×.
- A system call spends some of its time in software KVM on \`syscall\` itself, before any exit. Sorting touches 3,000 pages for
  the first time, at 3 to 20 µs each on shadow paging against 0.25 µs natively; a first write to a page of a fork is the same
  thing. Where requests write the same pages again, forks get their copies of them beforehand.
- Making a machine is cheaper than the bare ioctls because VMs are kept: one whose machine is gone is stripped of its memory,
  its processor is put back as after power-on, and the next machine takes it. A fork that never runs has no VM at all.
- A rewriting reset compares every page that is private. Requests that write another part of a large set each time keep many
  pages private that they did not write, which is what that figure shows; a page that 16 requests left alone is given back.
- The first reset of a fork reads the host's page tables, and finds pages in no cache; the floor beside it is a first copy of
  new pages.
- The command's start is Bun's own, the first VM with its probing, loading the modules, and ending.
`;

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

const isolationIntro = `# Benchmarks of isolation for each request

\`\`\`sh
npm run bench -- --document isolation handlers alternatives    # measures, and writes this page and its charts
\`\`\`

One unmodified server (\`bench/servers/serve.mjs\`: a page of 200 rows that React renders, and a line) as a native process; in a machine with the
host's sockets and no reset (\`pristine run\`); and by \`pristine serve\` with one fork and either reset. Clients are in the benchmark's
process, on the same cores. Subjects take turns, round by round: ratios are of the least p50 of a round, the percentiles beside them
of all rounds. "A CPU second" is one of the serving process, guests included, whatever the client takes of the machine.

![React page](benchmarks-page.svg)
![One line](benchmarks-hello.svg)
`;

const isolationNotes = `
## What the figures say

- A request to a fork is handed to a native thread and its answer back: two wake-ups between cores, some 60 µs each on a machine that is
  itself virtual, and about as much again for TypeScript's two HTTP stacks, the client's and the guest's.
- In the guest the page takes 0.9 to 1.4 times what it takes natively: each fork begins with the code that the warm-up compiled, and
  compiles no further. At which instant the server was frozen matters as much (serve.md, "Warm-up").
- A full reset drops all memory of a fork; the next request gets it back page by page, at 3 to 20 µs each on shadow paging. It is what a
  fault or a time-out costs the request behind it, and what \`--reset full\` costs every one.
- The reset is behind the answer: with 2 ms between requests it is over before the next one. One after the other without a pause, the
  next request waits for it, unless another fork is free.
`;

const snapshotsIntro = `# Benchmarks of saved snapshots

\`\`\`sh
npm run bench -- --document snapshots    # measures, and writes this page
\`\`\`

A server is booted, warmed by 20 requests, frozen and saved; then its file is opened in this process and asked once, which takes turns
with a start of the same server as a native process, up to its first answer. The least of each counts. "Plain" is the file as it was
saved, "recorded" the same behind three requests that were recorded; "full" reads and compares all of it first, "lazy" what is hot, and
"trusted" compares nothing but the header. "Cold" has the file dropped from the page cache before.

**The peer** (kvmserver, as its authors' program measures it on such a machine) loads Deno in 3 ms and answers 156 ms after its process
was started.
`;

const snapshotsNotes = `
## What the figures say

- Opening reads what requests use (page tables, and the pages of the recorded requests) and copies it into memory that is then sealed;
  the rest comes behind, so that it costs a first answer little. A page costs some 3 µs, of which most is the host's kernel giving it
  memory. Private files (the program's own caches) are copied too.
- A first answer behind it is 4 to 10 ms for Deno, by the instant at which it was frozen (0.14 to 0.26 of a native start in three runs): the
  pages that a fork touches are mapped one by one, at 5 to 20 µs each on shadow paging.
- A file holds what is mapped of the program too, whether it was ever used or not: a native process has that in the page cache alone.
- Cold figures drop the file alone from the page cache; the disk here is a fast one.
- Saving waits for the disk.
`;

const remotesIntro = `# Benchmarks of remote calls

\`\`\`sh
npm run bench -- --document remotes    # measures, and writes this page
\`\`\`

A program in one machine calls a function of another ([remotes.md](remotes.md)), measured in the caller by its own clock. The first rows
have an argument that is passed and hardly read, beside two raw exits in the same rounds. Those behind them are asking and answering as
between two processes (\`bench/pingpong.zig\`: Unix sockets, pipes, a futex in shared memory): the caller writes all of its argument, and the
other side adds it up. "Busy" is with two processes on each core that compute all the time.
`;

const remotesNotes = `
## What the figures say

- Two exits are what a call costs: the caller's system call, and the remote's return. Both are made without the instruction
  \`syscall\` where that stays in ring 3 anyway. What comes on top is changing the root table twice, behind which the processor has no
  translation left.
- A call without exits is two exceptions of the guest's own. On software KVM ring 0 is emulated: such an exception takes some 5 µs, and each of
  its handler's 8 and 10 instructions 0.6 µs. On hardware all of it is the processor's:
  under QEMU's emulated AMD-V, where times say little of any processor, it is 0.14 x two raw exits with nested paging, and 0.9 x with shadow
  paging, which has the host look at each change of the root table.
- Processes that wake each other on one core are quicker than two exits of software KVM. What a call never does is wait for the scheduler:
  on a busy machine the others' slowest answers are those for which somebody had to be given a processor, while a caller loses its own
  processor as any process does.
- A peer's remote calls on such a machine are 2.4 to 2.5 raw exits in each of its four modes (TinyKVM, as its authors' programs measure it).
`;

/** The page as text. */
export function document(findings: readonly Finding[], head = intro, foot = notes): string {
  const cpu = /model name\s*:\s*(.*)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "an unknown processor";
  const cores = navigator.hardwareConcurrency;
  const date = new Date().toLocaleDateString("en", { day: "numeric", month: "long", year: "numeric" });
  const { kind } = diagnose(false);
  const raw = (floor().floor_raw_exit(2000) / 1000).toFixed(1);
  const rows = findings.map(({ name, value, unit, detail, floor: compared, target, reached, exits }) => {
    const figure = `${value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0)} ${unit}${detail ? ` (${detail})` : ""}`;
    return `| ${[name, figure, compared, `${target}${reached ? "" : ": **not reached**"}`, exits === undefined ? "" : `${exits}`].map(cell).join(" | ")} |`;
  });
  return `${head}
Measured on ${date} on ${cores} cores of an ${cpu.trim()} with KVM of this kind: ${kind}. A raw exit costs ${raw} µs:

| | figure | floor | aim | exits |
|---|---|---|---|---|
${rows.join("\n")}
${foot}`;
}

const titles: Record<string, string> = {
  page: "A React page of 200 rows, kept-alive: p50 in µs, with p90 and p99",
  hello: "One line, kept-alive: p50 in µs, with p90 and p99",
};

/** The charts of what was measured, by their names. */
function charts(findings: readonly Finding[]): Map<string, string> {
  const groups = new Map<string, Group[]>();
  for (const { plot } of findings)
    if (plot) groups.set(plot.chart, [...(groups.get(plot.chart) ?? []), { name: plot.group, bars: plot.bars }]);
  return new Map([...groups].map(([name, all]) => [name, chart(titles[name] ?? name, all)]));
}

export async function writeDocument(findings: readonly Finding[]): Promise<void> {
  for (const [name, svg] of charts(findings)) await Bun.write(join(root, `docs/benchmarks-${name}.svg`), svg);
  // A page is written when something of it was measured.
  const isolated = findings.filter(({ page }) => page === "isolation");
  const others = findings.filter(({ page }) => page === undefined);
  if (isolated.length > 0) await Bun.write(join(root, "docs/benchmarks-isolation.md"), document(isolated, isolationIntro, isolationNotes));
  const saved = findings.filter(({ page }) => page === "snapshots");
  if (saved.length > 0) await Bun.write(join(root, "docs/benchmarks-snapshots.md"), document(saved, snapshotsIntro, snapshotsNotes));
  const called = findings.filter(({ page }) => page === "remotes");
  if (called.length > 0) await Bun.write(join(root, "docs/benchmarks-remotes.md"), document(called, remotesIntro, remotesNotes));
  if (others.length > 0) await Bun.write(join(root, "docs/benchmarks.md"), document(others));
}
