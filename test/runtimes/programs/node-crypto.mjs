// What the pool's threads compute.
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  generateKeyPair,
  pbkdf2,
  randomBytes,
  scrypt,
  sign,
  verify,
  webcrypto,
} from "node:crypto";
import { promisify } from "node:util";

console.log(createHash("sha256").update("text").digest("hex"), createHmac("sha512", "key").update("text").digest("hex").slice(0, 32));
const keys = await Promise.all(Array.from({ length: 6 }, (_, i) => promisify(pbkdf2)("secret", `salt-${i}`, 2000, 16, "sha512")));
console.log(keys.map((key) => key.toString("hex")).join(" "));
console.log((await promisify(scrypt)("secret", "salt", 32, { N: 1024 })).toString("hex"));
const { publicKey, privateKey } = await promisify(generateKeyPair)("ed25519");
const signature = sign(null, Buffer.from("message"), privateKey);
console.log(
  signature.length,
  verify(null, Buffer.from("message"), publicKey, signature),
  verify(null, Buffer.from("other"), publicKey, signature),
);
const rsa = await promisify(generateKeyPair)("rsa", { modulusLength: 1024 });
console.log(rsa.publicKey.asymmetricKeyDetails);
const cipher = createCipheriv("aes-256-gcm", Buffer.alloc(32, 1), Buffer.alloc(12, 2));
const sealed = Buffer.concat([cipher.update("plain text"), cipher.final()]);
const opener = createDecipheriv("aes-256-gcm", Buffer.alloc(32, 1), Buffer.alloc(12, 2)).setAuthTag(cipher.getAuthTag());
console.log(sealed.toString("hex"), opener.update(sealed, undefined, "utf8") + opener.final("utf8"));
console.log(Buffer.from(await webcrypto.subtle.digest("SHA-384", Buffer.from("text"))).toString("base64"));
console.log(new Set(Array.from({ length: 100 }, () => randomBytes(16).toString("hex"))).size);
