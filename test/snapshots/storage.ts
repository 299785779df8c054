/** An S3-compatible server in a process of its own: `storage.ts FOLDER` prints its port. Whoever asks it may block his own thread. */
import S3rver from "s3rver";

const [directory] = process.argv.slice(2) as [string];
const storage = new S3rver({
  ...{ address: "127.0.0.1", port: 0, silent: true, directory },
  configureBuckets: [{ name: "snapshots" }],
});
console.log((await storage.run()).port);
