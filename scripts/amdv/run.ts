/**
 * The emulated lane: runs a command on a Linux with AMD-V inside QEMU's emulator, so that what is built for software KVM
 * is proven on hardware virtualization too, on any machine.
 *
 *     npm run test:amdv                    the core suite with nested paging
 *     npm run test:amdv -- --npt=0         the same on shadow paging
 *     npm run test:amdv -- --command "COMMAND"
 *
 * The host's files are the guest's, read-only under a layer in memory, with the checkout at its own path. Needs Debian's
 * packages qemu-system-x86, busybox-static and cpio; the kernel is fetched once with apt-get and kept in .cache.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dir, "../..");
const cache = join(root, ".cache/amdv");
const packages = ["qemu-system-x86", "busybox-static", "cpio"];
const modules = [
  "virtio",
  "virtio_ring",
  "virtio_pci_legacy_dev",
  "virtio_pci_modern_dev",
  "virtio_pci",
  "netfs",
  "fscache",
  "9pnet",
  "9pnet_virtio",
  "9p",
  "overlay",
  "irqbypass",
  "ccp",
  "kvm",
  "kvm-amd",
];

const { values } = parseArgs({
  options: {
    npt: { type: "string", default: "1" },
    command: { type: "string" },
    memory: { type: "string", default: "3072" },
    minutes: { type: "string", default: "40" },
  },
});

function fail(message: string): never {
  console.error(`amdv: ${message}`);
  process.exit(2);
}

function sh(command: string, folder: string): string {
  const done = spawnSync("sh", ["-c", command], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  if (done.status !== 0) fail(`failed: ${command}`);
  return done.stdout.trim();
}

function checkPrograms(): void {
  const missing = ["qemu-system-x86_64", "busybox", "cpio"].filter((name) => spawnSync("sh", ["-c", `command -v ${name}`]).status !== 0);
  if (missing.length > 0) fail(`${missing.join(", ")} not found; install Debian's packages: apt-get install ${packages.join(" ")}`);
}

/** The folder with the unpacked kernel package, fetched once. */
function kernelFolder(): string {
  const folder = join(cache, "kernel");
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, "fetch-"));
  const name = sh("apt-cache depends linux-image-amd64 | awk '/Depends:/ { print $2; exit }'", work);
  if (name === "") fail("no kernel package is known; run `apt-get update`");
  sh(`apt-get download -q ${name} >/dev/null 2>&1 && dpkg -x linux-image-*.deb unpacked`, work);
  // Renamed when complete, so that a fetch cut short is never taken for a kernel.
  if (!existsSync(folder)) renameSync(join(work, "unpacked"), folder);
  rmSync(work, { recursive: true, force: true });
  return folder;
}

/** An initramfs with busybox, the modules, `init` and the job. */
function buildInitramfs(kernel: string, work: string, job: string): string {
  const tree = join(work, "tree");
  for (const name of ["bin", "modules", "proc", "sys", "dev", "host", "layer", "root"]) mkdirSync(join(tree, name), { recursive: true });
  copyFileSync(sh("command -v busybox", work), join(tree, "bin/busybox"));
  const version = readdirSync(join(kernel, "lib/modules"))[0] ?? fail("the kernel package has no modules");
  for (const name of modules) {
    const path = sh(`find lib/modules/${version} -name "${name}.ko" -o -name "${name.replaceAll("_", "-")}.ko" | head -1`, kernel);
    if (path !== "") copyFileSync(join(kernel, path), join(tree, `modules/${name}.ko`));
  }
  copyFileSync(join(import.meta.dir, "init"), join(tree, "init"));
  chmodSync(join(tree, "init"), 0o755);
  writeFileSync(join(tree, "job"), job);
  sh("find . | cpio -o -H newc --quiet | gzip -1 > ../initrd.gz", tree);
  return join(work, "initrd.gz");
}

async function boot(kernel: string, initramfs: string): Promise<string> {
  const name = readdirSync(join(kernel, "boot")).find((file) => file.startsWith("vmlinuz")) ?? fail("the kernel package has no kernel");
  const qemu = Bun.spawn(
    [
      ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "1", "-cpu", "max", "-m", values.memory],
      ["-nographic", "-no-reboot", "-kernel", join(kernel, "boot", name), "-initrd", initramfs],
      ["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"],
      ["-append", `console=ttyS0 quiet panic=-1 mitigations=off hostname=${hostname()} lane_npt=${values.npt}`],
    ].flat(),
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  const stop = () => qemu.kill("SIGKILL");
  const limit = setTimeout(stop, Number(values.minutes) * 60_000);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of qemu.stdout) {
    const part = decoder.decode(chunk, { stream: true });
    text += part;
    process.stdout.write(part);
  }
  clearTimeout(limit);
  await qemu.exited;
  return text;
}

checkPrograms();
const kernel = kernelFolder();
const work = mkdtempSync(join(tmpdir(), "pristine-amdv-"));
try {
  const path = process.env.PATH ?? "";
  const command = values.command ?? `${process.execPath} scripts/run-tests.ts --lane=${values.npt === "0" ? "amdv-shadow" : "amdv"}`;
  const job = `export PATH='${join(root, "node_modules/.bin")}:${path}' HOME=/tmp PRISTINE_LANE=amdv PRISTINE_NPT=${values.npt}\ncd '${root}' && ${command}\n`;
  const text = await boot(kernel, buildInitramfs(kernel, work, job));
  const status = /amdv-status: (\d+)/.exec(text)?.[1];
  if (status === undefined) fail("the emulated machine ended without a status (crashed, or out of time)");
  process.exitCode = Number(status);
} finally {
  rmSync(work, { recursive: true, force: true });
}
