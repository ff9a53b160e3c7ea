// The built client before a real server of the API (NIGHTLOOM_URL, NIGHTLOOM_KEY), and before one that fails as told.
import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";

import { ApiError, Client, UnreachableError } from "../dist/index.js";

const GOOD = [200, {}, JSON.stringify({ items: [], source: "popular", stale: false, next: null })];
const BUSY = [503, {}, JSON.stringify({ error: { code: "busy", message: "Later.", request_id: "r1" } })];

/** A server that gives these answers, in order, and then none; `asked` are the moments of its requests. */
async function scripted(answers, use) {
  const asked = [];
  const server = http.createServer((request, response) => {
    request.resume().on("end", () => {
      asked.push(performance.now());
      const next = answers.shift();
      if (next) response.writeHead(next[0], next[1]).end(next[2]);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${server.address().port}`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("a server in trouble is asked again", async () => {
  await scripted([BUSY, [502, {}, "<html>"], GOOD], async (url, asked) => {
    assert.equal((await new Client(url, { deadlineMs: 30_000, timeoutMs: 10_000 }).popular()).source, "popular");
    assert.equal(asked.length, 3);
  });
});

test("Retry-After is waited for", async () => {
  await scripted([[429, { "Retry-After": "1" }, "{}"], GOOD], async (url, asked) => {
    await new Client(url, { deadlineMs: 30_000, timeoutMs: 10_000 }).popular();
    assert.ok(asked[1] - asked[0] >= 999);
  });
});

test("a wait beyond the deadline is not begun", async () => {
  await scripted([[429, { "Retry-After": "60" }, BUSY[2]], GOOD], async (url, asked) => {
    await assert.rejects(new Client(url).popular(), (error) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.message, "429 busy: Later. (request r1)");
      return true;
    });
    assert.equal(asked.length, 1);
  });
});

test("a silent server ends in the fallback list", async () => {
  await scripted([], async (url, asked) => {
    const fallback = ["1", "2", "3"].map((id) => ({ item_id: id, title: id, score: 0 }));
    const client = new Client(url, { timeoutMs: 200, deadlineMs: 1000, fallback });
    const found = await client.recommendations("u1", { k: 1, exclude: ["1"] });
    assert.deepEqual(found, { items: [fallback[1]], source: "fallback", stale: true, next: null });
    assert.equal((await client.recommendationsOf(["a", "b"])).length, 2);
    assert.ok(asked.length >= 2);
  });
});

test("without a fallback an absent server is an error", async () => {
  let address = "";
  await scripted([], (url) => void (address = url));
  await assert.rejects(new Client(address, { tries: 2 }).popular(), UnreachableError);
});

test("an address without a scheme is named", () => {
  assert.throws(() => new Client("localhost:8000"), /found the address 'localhost:8000'/);
});

const url = process.env.NIGHTLOOM_URL;
const options = { key: process.env.NIGHTLOOM_KEY, timeoutMs: 20_000, deadlineMs: 60_000 };

test("lists, items, pages and events of a real server", { skip: !url && "NIGHTLOOM_URL is not set" }, async () => {
  const client = new Client(url, options);
  const own = await client.recommendations("u1", { k: 3 });
  assert.deepEqual([own.source, own.slate_version, own.stale], ["personal", "v000001", false]);
  assert.deepEqual(own.items[0], { item_id: "i0", title: "1 i0", score: 1 });
  const following = await client.recommendations("u1", { k: 3, page: own.next });
  assert.deepEqual(following.items.map((item) => item.item_id), ["i3", "i4", "i5"]);
  assert.equal((await client.recommendations("a/b ?#%", { k: 2, exclude: ["i0"] })).source, "popular");
  assert.equal((await client.similar("i3", { k: 2 })).source, "similar");
  assert.equal((await client.popular({ segment: "market=DE", k: 2 })).source, "segment");
  const both = await client.recommendationsOf(["u2", "nobody"], { k: 1 });
  assert.deepEqual(both.map((list) => list.source), ["personal", "popular"]);
  assert.equal((await client.item("i3")).title, "1 i3");

  const event = { id: "t1", u: "u1", i: "i1", e: "rating", t: "2024-03-14T09:30:00Z" };
  const result = await client.sendEvents([event, { ...event, id: "t2", t: "yesterday" }]);
  assert.equal(result.accepted, 1);
  assert.deepEqual(result.rejected.map(({ index, field }) => [index, field]), [[1, "t"]]);
  await assert.rejects(client.popular({ k: 10_000 }), /400 bad_request: k is/);
  await assert.rejects(new Client(url, { key: "wrong" }).popular(), /401 unauthorized/);
});
