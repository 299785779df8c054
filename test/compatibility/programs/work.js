const fs = require("node:fs");
console.log(fs.readFileSync("csv", "utf8").split("\n").length, require("node:crypto").createHash("sha256").update("x").digest("hex"));
setTimeout(() => console.log("timer"), 10);
