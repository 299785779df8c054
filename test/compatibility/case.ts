/** What a case of the compatibility run is, and how tables of them are written. */
import { basename } from "node:path";

import type { Size } from "../../src/index.ts";

/** One command that must do the same natively and in a machine. */
export interface Case {
  /** What is run, for people; no two cases have the same program and name. */
  readonly name: string;
  /** Debian's package that has the program. */
  readonly package: string;
  /** The program's path; one that starts with `./` lies in the folder of the run. */
  readonly path: string;
  readonly args: readonly string[];
  /** A file of the package, where the program itself is not of it. */
  readonly needs?: string;
  /** Standard input; without it there is none to read. */
  readonly stdin?: string;
  /** Variables besides those that every run has. */
  readonly env?: Readonly<Record<string, string>>;
  /** It may write to the folder: each run has a copy of its own, and what is in it afterwards is compared too. */
  readonly writes?: boolean;
  /** Files whose bytes are not compared, since even two native runs differ in them. */
  readonly unstableFiles?: readonly string[];
  /** Standard error is not compared, since even two native runs differ in it. */
  readonly unstableStderr?: boolean;
  /** Host paths it may read besides those that all cases may. */
  readonly read?: readonly string[];
  /** It listens on the loopback device and connects to it. */
  readonly loopback?: boolean;
  /** Memory of its machine; without it the default. */
  readonly memory?: Size;
  /** Light enough for the emulated lane. */
  readonly light?: boolean;
  /** Why it does not do the same. A case that has a reason must differ, so that no reason outlives its cause. */
  readonly difference?: string;
  /** Whether it differs depends on the host (its user, its processors), so that it need not. */
  readonly dependsOnHost?: boolean;
}

/** What is not there, and programs need. */
export const noProcesses = "there are no child processes yet";

export type Options = Partial<Omit<Case, "package" | "path" | "args">>;
export type Row = readonly [args: readonly string[], options?: Options];

/** Cases of one program. */
export function program(debianPackage: string, path: string, rows: readonly Row[]): Case[] {
  return rows.map(([args, options = {}]) => ({
    name: [basename(path), ...args].join(" "),
    package: debianPackage,
    path,
    args,
    ...options,
  }));
}

/** Cases of several programs of one package in one folder: each row's first word is the program. */
export function programs(debianPackage: string, folder: string, rows: readonly Row[]): Case[] {
  return rows.flatMap(([[name = "", ...args], options]) => program(debianPackage, `${folder}/${name}`, [[args, options]]));
}
