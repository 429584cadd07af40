// Writes one key after the other through PORT, and tells each that was acknowledged.
const Redis = require("ioredis");

const redis = new Redis({
  host: "127.0.0.1",
  port: Number(process.env.PORT),
  password: process.env.PASSWORD,
  retryStrategy: () => 20,
  maxRetriesPerRequest: null,
});
redis.on("error", () => {});

async function run() {
  for (let number = 0; ; number += 1) {
    const key = `node:${number}`;
    const said = await redis.set(key, "x").catch(() => "");
    if (said === "OK") console.log(key);
    await new Promise((done) => setTimeout(done, 5));
  }
}
run();
