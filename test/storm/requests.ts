/** Many requests at once of which 1 % end their server, 1 % get no answer in time and 1 % are left by their client. */
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";

/** `STORM=100000` makes it a long one. */
export const requestCount = (short: number) => Number(process.env.STORM ?? short);
export const connections = 16;
export const memoryGrowthMax = 48 * 2 ** 20;
/** Of a loaded host even a good handler is late sometimes. */
export const lateShareMax = 0.05;

const faults = ["exit", "abort", "throw"] as const;
const silences = ["hang", "spin"] as const;
export type Kind = (typeof faults)[number] | (typeof silences)[number] | "leave" | "echo" | "post";

/** What each request is, the order from a seed. Faults and silences are of the kinds that the server knows. */
export function plan(seed: number, count: number, known: readonly Kind[]): Kind[] {
  const perMille = (share: number, kinds: readonly Kind[]) => ({ weight: share, arbitrary: fc.constantFrom(...kinds) });
  const arbitrary = fc.oneof(
    perMille(
      10,
      faults.filter((kind) => known.includes(kind)),
    ),
    perMille(
      10,
      silences.filter((kind) => known.includes(kind)),
    ),
    perMille(10, ["leave"]),
    perMille(770, ["echo"]),
    perMille(200, ["post"]),
  );
  return fc.sample(arbitrary, { numRuns: count, seed });
}

export function seedOf(): number {
  const seed = Number(process.env.STORM_SEED ?? Date.now() % 2 ** 31);
  console.log(`STORM_SEED=${seed}`);
  return seed;
}

async function leaves(url: string, number: number): Promise<string> {
  const abort = new AbortController();
  setTimeout(() => abort.abort(), number % 18);
  return fetch(`${url}/nap?${number}`, { signal: abort.signal }).then(
    () => "left",
    () => "left",
  );
}

/** What a request came to: `ok` if its answer is its own. */
async function ask(url: string, kind: Kind, number: number): Promise<string> {
  if (kind === "leave") return leaves(url, number);
  const body = kind === "post" ? `${number}`.repeat(1 + (number % 500)) : undefined;
  const path = kind === "post" ? "echo" : kind;
  const response = await fetch(`${url}/${path}?${number}`, body === undefined ? {} : { method: "POST", body });
  const text = await response.text();
  if (response.status !== 200) return String(response.status);
  return text === `${number} ${body ?? ""}` ? "ok" : `mixed: ${number} got ${text.slice(0, 40)}`;
}

const wanted: Record<Kind, string> = {
  ...{ exit: "500", abort: "500", throw: "500", hang: "504", spin: "504" },
  ...{ leave: "left", echo: "ok", post: "ok" },
};

export type Outcomes = Map<string, number>;

/** Every request of a plan over some connections; how often they came to what. `late X`: a 504 in place of X. */
export async function storm(url: string, order: readonly Kind[], outcomes: Outcomes): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < order.length) {
      const number = next++;
      const kind = order[number] as Kind;
      const came = await ask(url, kind, number).catch((error) => `lost: ${error}`);
      const told = came === wanted[kind] ? came : came === "504" ? `late ${wanted[kind]}` : `${kind}: ${came}`;
      outcomes.set(told, (outcomes.get(told) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
}

/** Counts those that were late with what they would have come to; how many they are. */
export function forgiveLate(outcomes: Outcomes): number {
  let late = 0;
  for (const [told, count] of [...outcomes]) {
    if (!told.startsWith("late ")) continue;
    const instead = told.slice("late ".length);
    outcomes.delete(told);
    outcomes.set(instead, (outcomes.get(instead) ?? 0) + count);
    late += count;
  }
  return late;
}

/** How often requests come to what each ought to. */
export function expected(order: readonly Kind[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of order) counts[wanted[kind]] = (counts[wanted[kind]] ?? 0) + 1;
  return counts;
}

export interface Footprint {
  readonly descriptors: number;
  readonly memory: number;
  readonly threads: number;
}

export function footprint(pid: number): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, memory: field("VmRSS") * 1024, threads: field("Threads") };
}
