/** All cases of the compatibility run. `packages.txt` names the Debian packages they need. */
import type { Case } from "./case.ts";
import { busybox } from "./cases/busybox.ts";
import { coreutils } from "./cases/coreutils.ts";
import { development } from "./cases/development.ts";
import { languages } from "./cases/languages.ts";
import { shells } from "./cases/shells.ts";
import { text } from "./cases/text.ts";

export const cases: readonly Case[] = [...coreutils, ...text, ...busybox, ...shells, ...languages, ...development];
