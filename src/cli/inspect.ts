/** `pristine inspect`: what a snapshot's file holds, and whether it holds a secret. */

import { fs } from "../lazy.ts";
import { objectOf, withCopy } from "../object-storage.ts";
import { inspectSnapshot, type SnapshotFacts } from "../saved.ts";
import { type OptionSpec, split, UsageError } from "./grammar.ts";

const inspectOptions: readonly OptionSpec[] = [
  { name: "json", arity: "none" },
  { name: "secrets", arity: "required", repeats: true },
  { name: "help", arity: "none", short: "h" },
];

const chunkBytes = 2 ** 20;
/** The longest that is found where one chunk ends and the next begins. */
const overlapBytes = 4096;
const matchesMax = 1000;
const found = 1;

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

interface Match {
  readonly section: string;
  /** From the start of the file. */
  readonly offset: number;
  readonly pattern: string;
}

function parsePattern(pattern: string): RegExp {
  try {
    return new RegExp(pattern, "g");
  } catch (error) {
    throw new UsageError(`${pattern} is not a pattern (${(error as Error).message})`, "give --secrets a regular expression");
  }
}

/** Bytes as characters of Latin-1, so that a pattern's places are those of the bytes. */
function search(path: string, facts: SnapshotFacts, patterns: readonly RegExp[]): Match[] {
  const matches = new Map<string, Match>();
  const file = fs().openSync(path, "r");
  const chunk = Buffer.alloc(chunkBytes + overlapBytes);
  try {
    for (const { name, offset, bytes } of facts.sections) {
      for (let at = 0; at < bytes; at += chunkBytes) {
        const count = fs().readSync(file, chunk, 0, Math.min(chunk.length, bytes - at), offset + at);
        const characters = chunk.toString("latin1", 0, count);
        for (const pattern of patterns) {
          for (const { index } of characters.matchAll(pattern)) {
            const match = { section: name, offset: offset + at + index, pattern: pattern.source };
            matches.set(`${match.offset} ${match.pattern}`, match);
            if (matches.size >= matchesMax) return [...matches.values()];
          }
        }
      }
    }
  } finally {
    fs().closeSync(file);
  }
  return [...matches.values()];
}

function print(path: string, facts: SnapshotFacts): void {
  const { memory } = facts;
  const lines = [
    `${path}: format ${facts.format.major}.${facts.format.minor}, ${mebibytes(facts.fileBytes)}, saved ${new Date(facts.savedAt).toISOString()}`,
    `program     ${facts.command.join(" ")} (${facts.state}, in ${facts.workingDirectory})`,
    `processor   ${facts.processor}`,
    `memory      ${mebibytes(memory.bytes)} of ${mebibytes(memory.extent)}, ${memory.mappings} mappings, ceiling ${mebibytes(memory.ceiling)}`,
    `threads     ${facts.threads.map(({ id, name, state }) => `${id} ${name} (${state})`).join(", ")}`,
    ...facts.listeners.map(({ address, inside }) => `listens     ${address}${inside ? " inside the machine" : ""}`),
    ...facts.descriptors.map(({ fd, kind, path }) => `descriptor  ${fd} ${kind} ${path}`.trimEnd()),
    ...facts.files.map(({ path, bytes, copied }) => `file        ${path} (${bytes} bytes${copied ? ", copied" : ""})`),
    `private     ${facts.privateFiles.count} files, ${facts.privateFiles.bytes} bytes`,
    `user        ${facts.userBytes} bytes`,
  ];
  console.log(lines.join("\n"));
}

export async function inspect(words: readonly string[]): Promise<number> {
  const { options, rest } = split(words, inspectOptions);
  if (options.has("help")) return (await import("./help.ts")).help("inspect");
  const [path, more] = rest;
  if (path === undefined || more !== undefined) throw new UsageError("one snapshot is to be given", "pristine inspect [options] FILE");
  const patterns = ((options.get("secrets") ?? []) as string[]).map(parsePattern);
  const isJson = options.has("json");
  const object = objectOf(path);
  const show = async (at: string) => showFile(path, at, patterns, isJson);
  return await (object ? withCopy(object, show) : show(path));
}

/** @param at - where it is read */
function showFile(path: string, at: string, patterns: readonly RegExp[], isJson: boolean): number {
  const facts = inspectSnapshot(at);
  const secrets = patterns.length > 0 ? search(at, facts, patterns) : undefined;
  if (isJson) console.log(JSON.stringify(secrets ? { ...facts, secrets } : facts, undefined, 2));
  else if (!secrets) print(path, facts);
  else for (const { section, offset, pattern } of secrets) console.log(`${section} at ${offset}: ${pattern}`);
  return secrets && secrets.length > 0 ? found : 0;
}
