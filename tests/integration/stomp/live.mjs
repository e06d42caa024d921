// `node live.mjs run|refused|reconnects <url> <word or login> [<passcode>]`; ends with "done".

import { Client } from "@stomp/stompjs";
import { WebSocket } from "ws";
import { reconnects, refused, run } from "./client.mjs";

globalThis.WebSocket = WebSocket;
const [what, url, word, passcode] = process.argv.slice(2);
const say = async (line) => console.log(line);
if (what === "run") await run(Client, url, word);
else if (what === "refused") console.log(JSON.stringify(await refused(Client, url, word, passcode)));
else await reconnects(Client, url, word, say);
console.log("done");
