/** `pristine doctor`: what this machine offers, what is missing, how to mend it. */
import { core, resultText } from "../ffi/library.ts";
import { ABI_VERSION } from "../ffi/table.ts";
import { split } from "./grammar.ts";

interface Check {
  id: string;
  title: string;
  status: "pass" | "warn" | "fail";
  detail: string;
  hint: string;
}

interface Diagnosis {
  kind: string;
  checks: Check[];
}

const neededBun = "1.4.5";
const selfTestFlag = 1;

function isOlder(version: string, than: string): boolean {
  return Bun.semver.order(version, than) < 0;
}

/** Everything there is to know, required things first. */
export function diagnose(selfTest: boolean): Diagnosis {
  const bun: Check = {
    id: "bun",
    title: "Bun",
    status: isOlder(Bun.version, neededBun) ? "fail" : "pass",
    detail: Bun.version,
    hint: `use Bun ${neededBun} or later`,
  };
  try {
    const library: Check = { id: "library", title: "core library", status: "pass", detail: `ABI version ${ABI_VERSION}`, hint: "" };
    core().pristine_doctor(selfTest ? selfTestFlag : 0);
    const { kind, checks } = JSON.parse(resultText()) as Diagnosis;
    return { kind, checks: [bun, library, ...checks] };
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return { kind: "none", checks: [bun, { id: "library", title: "core library", status: "fail", detail, hint: "run `npm run build`" }] };
  }
}

export async function doctor(words: readonly string[]): Promise<number> {
  const { options } = split(words, [
    { name: "json", arity: "none" },
    { name: "selftest", arity: "none" },
    { name: "help", arity: "none", short: "h" },
  ]);
  if (options.has("help")) return (await import("./help.ts")).help("doctor");
  const { kind, checks } = diagnose(options.has("selftest"));
  const failed = checks.some((check) => check.status === "fail");
  if (options.has("json")) {
    process.stdout.write(`${JSON.stringify({ ok: !failed, kind, checks }, null, 2)}\n`);
  } else {
    for (const { status, title, detail, hint } of checks) {
      process.stdout.write(`${status.padEnd(4)}  ${title}: ${detail}${status === "pass" ? "" : ` (${hint})`}\n`);
    }
  }
  return failed ? 1 : 0;
}
