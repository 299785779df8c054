/** The manifests of docs/kubernetes.yaml: against Kubernetes' own schemas, and their commands with a snapshot. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DaemonSet, Deployment } from "kubernetes-models/apps/v1";
import { PersistentVolumeClaim, Service } from "kubernetes-models/v1";
import { isolate } from "../src/index.ts";
import { freePort } from "./servers/harness.ts";

setDefaultTimeout(60_000);

const root = join(import.meta.dir, "..");
const main = join(root, "src/cli/main.ts");
const kinds = { DaemonSet, Deployment, PersistentVolumeClaim, Service };
// biome-ignore lint/suspicious/noExplicitAny: what a file says is checked by the schemas
const manifests = Bun.YAML.parse(readFileSync(join(root, "docs/kubernetes.yaml"), "utf8")) as any[];
const pod = manifests.find(({ kind }) => kind === "Deployment").spec.template.spec;

test("the manifests are what Kubernetes takes", () => {
  expect(manifests.map(({ kind }) => kind)).toEqual(["DaemonSet", "Deployment", "PersistentVolumeClaim", "Service"]);
  for (const manifest of manifests) new kinds[manifest.kind as keyof typeof kinds](manifest).validate();
  const wrong = structuredClone(manifests[1]);
  wrong.spec.template.spec.containers[0].ports[0].containerPort = "http";
  expect(() => new Deployment(wrong).validate()).toThrow("containerPort");
});

test("all that a pod names is there", () => {
  const [container] = pod.containers;
  const volumes = pod.volumes.map(({ name }: { name: string }) => name);
  for (const { name } of container.volumeMounts) expect(volumes).toContain(name);
  const claim = pod.volumes.find(({ persistentVolumeClaim }: { persistentVolumeClaim?: object }) => persistentVolumeClaim);
  expect(claim.persistentVolumeClaim.claimName).toBe(manifests[2].metadata.name);
  const ports = container.ports.map(({ name }: { name: string }) => name);
  expect(ports).toContain(container.readinessProbe.httpGet.port);
  expect(ports).toContain(manifests[3].spec.ports[0].targetPort);
  for (const part of [manifests[3].spec.selector, manifests[1].spec.selector.matchLabels])
    expect(manifests[1].spec.template.metadata.labels).toMatchObject(part);
});

test("the pod's commands are taken, and its server answers the probe", async () => {
  const doctor = pod.initContainers[0].command.slice(1);
  expect(Bun.spawnSync([process.execPath, main, ...doctor], { cwd: root }).exitCode).toBe(0);
  const folder = mkdtempSync("/tmp/pristine-production-");
  try {
    {
      const program = join(root, "zig-out/guests/raw-server");
      await using pool = await isolate({ program, args: ["8000"], forks: 1, memory: "64MiB", stdout: "ignore" });
      await pool.save(join(folder, "web.snap"));
    }
    const port = await freePort();
    const words = pod.containers[0].args.map((word: string) =>
      word
        .replace("/snapshots/", `${folder}/`)
        .replace("/app", root)
        .replace(":8000", `127.0.0.1:${port}`)
        .replace("0.0.0.0:9090", "127.0.0.1:0"),
    );
    const child = Bun.spawn([process.execPath, main, ...words], { stdout: "pipe", stderr: "inherit" });
    const { path } = pod.containers[0].readinessProbe.httpGet;
    const answer = async () => (await fetch(`http://127.0.0.1:${port}${path}`).catch(() => undefined))?.status;
    for (let tries = 0; tries < 500 && (await answer()) !== 200; tries++) await Bun.sleep(20);
    const status = await answer();
    child.kill("SIGTERM");
    expect([status, await child.exited, await new Response(child.stdout).text()]).toEqual([
      200,
      0,
      expect.stringContaining('"event":"draining"'),
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
