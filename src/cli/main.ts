#!/usr/bin/env bun
/** The command `pristine`. Each command is loaded only when it is used. */
import { say, status } from "./status.ts";

const finished = ["run", "serve", "snapshot", "resume", "record", "inspect", "doctor", "help"];
const unfinished = ["bench"];

async function main(words: readonly string[]): Promise<number> {
  const [command, ...rest] = words;
  switch (command) {
    case "run":
      return (await import("./run.ts")).run(rest);
    case "serve":
      return (await import("./serve.ts")).serve(rest);
    case "snapshot":
      return (await import("./snapshot.ts")).snapshot(rest);
    case "resume":
      return (await import("./resume.ts")).resume(rest);
    case "record":
      return (await import("./resume.ts")).record(rest);
    case "inspect":
      return (await import("./inspect.ts")).inspect(rest);
    case "doctor":
      return (await import("./doctor.ts")).doctor(rest);
    case undefined:
      return (await import("./help.ts")).help() || status.failed;
    case "help":
    case "--help":
    case "-h":
      return (await import("./help.ts")).help(rest[0]);
    case "--version":
    case "-V":
      process.stdout.write(`${(await import("../../package.json")).default.version}\n`);
      return 0;
    default:
      break;
  }
  if (unfinished.includes(command)) {
    say(`\`pristine ${command}\` is not in this version`, `this version has ${finished.join(", ")}`);
    return status.failed;
  }
  const { nearest } = await import("./grammar.ts");
  const like = nearest(command, [...finished, ...unfinished]);
  say(`there is no command ${command}`, like ? `did you mean \`pristine ${like}\`?` : "see `pristine help`");
  return status.failed;
}

// No await at the top level: the bundle is compiled to bytecode, which has none.
main(process.argv.slice(2))
  .catch(async (error) => (await import("./run.ts")).statusOf(error))
  .then((code) => process.exit(code));
