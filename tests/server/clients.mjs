// Many stock socket.io-clients: node clients.mjs <path of node_modules> <url> <count> <transports or "default">
// Prints a JSON line once all are connected (and, by default, upgraded), and one for every line on its standard input:
// "check" asks each client's server who it is ("check 5": after 5 connections were lost); "quit" ends. Each client's
// events use its own connection.
import {createRequire} from "node:module";
import readline from "node:readline";

const [, , modules, url, count, transports] = process.argv;
const {io} = createRequire(modules + "/")("socket.io-client");
const options = {forceNew: true, reconnectionDelay: 200, reconnectionDelayMax: 500, timeout: 10000};
if (transports !== "default") options.transports = transports.split(",");

// Clients at a time: their timeouts then cover a bounded amount of work, however slow the machine is.
const SLICE = 25;

const stats = {connects: 0, errors: 0, drops: 0};
const clients = [];

function connect() {
  const socket = io(url, options);
  socket.on("connect", () => stats.connects++);
  socket.on("connect_error", () => stats.errors++);
  socket.on("disconnect", () => stats.drops++);
  clients.push(socket);
}

const wanted = transports === "polling" ? "polling" : "websocket";
const ready = (socket) => socket.connected && socket.io.engine.transport.name === wanted;

async function until(condition, milliseconds) {
  const end = Date.now() + milliseconds;
  while (!condition() && Date.now() < end) await new Promise((done) => setTimeout(done, 10));
}

// Every client sends 20 numbered events at once; each must come back once and in order.
function check(socket) {
  return new Promise((done) => {
    const got = [];
    const late = setTimeout(() => finish("missing: " + got.length), 30000);
    const finish = (result) => {
      clearTimeout(late);
      socket.off("echo");
      socket.off("who");
      done(result);
    };
    socket.on("echo", (number) => {
      got.push(number);
      if (number === 19) {
        if (got.every((value, index) => value === index) && got.length === 20) socket.emit("who");
        else finish("wrong order: " + got);
      }
    });
    socket.on("who", (pid) => finish(pid));
    for (let number = 0; number < 20; number++) socket.emit("echo", number);
  });
}

while (clients.length < Number(count)) {
  for (let i = 0; i < SLICE && clients.length < Number(count); i++) connect();
  await until(() => clients.every(ready), 30000);
}
console.log(JSON.stringify({ready: clients.filter(ready).length, ...stats}));

for await (const line of readline.createInterface({input: process.stdin})) {
  if (line === "quit") break;
  const drops = Number(line.split(" ")[1] || 0);
  await until(() => stats.drops >= drops && clients.every(ready), 30000);
  const pids = await Promise.all(clients.map(check));
  console.log(JSON.stringify({ready: clients.filter(ready).length, pids, ...stats}));
}
process.exit(0);
