/** Random numbers in all the ways that a runtime gives them. */
import nodeCrypto, { randomBytes, randomFillSync, randomInt, randomUUID } from "node:crypto";
import { promisify } from "node:util";

const hex = (bytes: ArrayBuffer | Uint8Array) => Buffer.from(bytes as Uint8Array).toString("hex");
const der = (key: nodeCrypto.KeyObject) => hex(key.export({ format: "der", type: "pkcs8" }) as Uint8Array);

const cheap: Record<string, () => string> = {
  "Math.random": () => String(Math.random()),
  "crypto.randomUUID": () => crypto.randomUUID(),
  "crypto.getRandomValues": () => hex(crypto.getRandomValues(new Uint8Array(8))),
  "crypto.getRandomValues of 1 KiB": () => hex(crypto.getRandomValues(new Uint8Array(1024))),
  "node:crypto randomUUID": () => randomUUID(),
  "node:crypto randomBytes": () => hex(randomBytes(8)),
  "node:crypto randomFillSync": () => hex(randomFillSync(new Uint8Array(8))),
  "node:crypto randomInt": () => String(randomInt(2 ** 47)),
  "node:crypto default": () => nodeCrypto.randomUUID(),
  "node:crypto webcrypto": () => nodeCrypto.webcrypto.randomUUID(),
};

const dear: Record<string, () => string | Promise<string>> = {
  "randomBytes later": async () => hex(await promisify(randomBytes)(8)),
  "randomInt later": () => new Promise((resolve, reject) => randomInt(2 ** 47, (error, n) => (error ? reject(error) : resolve(String(n))))),
  "AES key": async () => {
    const key = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, true, ["encrypt"]);
    return hex(await crypto.subtle.exportKey("raw", key));
  },
  "ECDSA key": async () => {
    const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
    return hex(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  },
  generateKeyPairSync: () => der(nodeCrypto.generateKeyPairSync("ed25519").privateKey),
  generateKeyPair: async () => der((await promisify(nodeCrypto.generateKeyPair)("ec", { namedCurve: "P-256" })).privateKey),
  generateKeySync: () => hex(nodeCrypto.generateKeySync("hmac", { length: 128 }).export()),
  ECDH: () => {
    const exchange = nodeCrypto.createECDH("prime256v1");
    exchange.generateKeys();
    return exchange.getPrivateKey("hex");
  },
};

/** One kind on its own, which is then the first of the request; or all. */
export default async (request: Request): Promise<Response> => {
  const { searchParams } = new URL(request.url);
  const kinds: typeof dear = searchParams.has("dear") ? dear : cheap;
  const only = searchParams.get("kind");
  const drawn: Record<string, string> = {};
  for (const [name, draw] of Object.entries(kinds)) if (only === null || only === name) drawn[name] = await draw();
  return Response.json(drawn);
};
