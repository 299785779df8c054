/** All cases of the compatibility run. `packages.txt` names the Debian packages they need. */
import type { Case } from "./case.ts";
import { coreutils } from "./cases/coreutils.ts";
import { development } from "./cases/development.ts";
import { languages } from "./cases/languages.ts";
import { shells } from "./cases/shells.ts";
import { text } from "./cases/text.ts";
import { busybox, musl } from "./cases/without-glibc.ts";

export const cases: readonly Case[] = [...coreutils, ...text, ...busybox, ...musl, ...shells, ...languages, ...development];
